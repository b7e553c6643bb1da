import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { cloudUser } from './clouds.ts';
import { ec2 } from './providers.ts';
import { newUser, ok } from './slipway.ts';
import { hasTmux, openTerminal } from './terminal.ts';
import { expectAnswer } from './trouble.ts';

const canRun = inject('bedReason') === undefined && hasTmux;
const SIZE = { columns: 100, rows: 40 };

describe.skipIf(!canRun)('at a terminal', () => {
  test('slipway asks what is needed, shows its work, and prints the command that repeats it', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await mkdir(join(user.home, '.ssh'));
    for (const end of ['', '.pub'])
      await copyFile(`${host.keyFile}${end}`, join(user.home, '.ssh', `id_ed25519${end}`));
    await using at = await openTerminal(user, SIZE);
    await at.enter('slipway');
    // The local VM comes first; a machine elsewhere is one further down.
    await at.shows('generic: a machine that already answers SSH');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.enter('no/name');
    await at.shows('Use letters, digits, dots and hyphens');
    await at.press(...Array.from({ length: 'no/name'.length }, () => 'BSpace'));
    await at.enter('box');
    await at.shows('Address of the host?');
    await at.enter(host.address);
    await at.shows('Log in as which user?');
    await at.press('Enter');
    await at.shows('With which key?');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Down', 'Enter');
    await at.shows('current context of your docker CLI?');
    await at.enter('y');
    const summary = await at.shows('Go?');
    for (const row of [
      /Machine +box/,
      /Where +a machine that already answers SSH/,
      new RegExp(`IP address +${host.address}`),
      /Costs +nothing/,
    ])
      expect(summary).toMatch(row);
    await at.press('Enter');
    const screen = await at.shows('machines.yaml:');
    expect(screen).toMatch(/machines:\n +box:\n +driver: generic\n +generic:\n +ipAddress: /);
    expect(screen).toContain('✔ Configure the engine and restart it');
    expect(screen).toContain('box is ready: tcp://');
    const command = `slipway create box --driver generic --use --generic-ip-address ${host.address} --engine-source distro`;
    expect(screen.replaceAll('\n', '')).toContain(command);
    expect((await ok(user.docker('context', 'show'))).stdout.trim()).toBe('box');

    await ok(user.slipway('rm', 'box'));
    await ok(user.run('sh', ['-c', command]));
    await ok(user.docker('version'));
  });

  test('a machine in EC2 is chosen from what EC2 offers, with its price, and made', async () => {
    await using cloud = await ec2.start('hosts');
    await using user = await cloudUser(cloud);
    await using at = await openTerminal(user, SIZE);
    await at.enter('slipway');
    await at.shows('ec2: an instance of Amazon EC2');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.press('Enter');
    await at.shows('eu-central-1  Frankfurt');
    await at.press('Enter');
    await at.shows('t3.small   2 vCPU, 2 GiB, about $15.18 a month');
    await at.enter('medium');
    await at.shows('Which image?');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Enter');
    await at.shows('current context of your docker CLI?');
    await at.press('Enter');
    const summary = await at.shows('Make it?');
    expect(summary).toMatch(/Makes +one instance \(t3\.medium\) with a disk of 16 GiB/);
    expect(summary).toMatch(/Costs +about \$31\.65 a month/);
    expect(cloud.alive()).toEqual([]);
    await at.press('Enter');
    expect((await at.shows('machines.yaml:')).replaceAll('\n', '')).toContain(
      'slipway create web --driver ec2 --ec2-region eu-central-1 --ec2-instance-type t3.medium',
    );
    await expectAnswer(user, 'web');
    await ok(user.slipway('rm', 'web'));
    expect(cloud.alive()).toEqual([]);
  });

  test.each(['C-c', 'Escape'])('%s at a question leaves nothing', async (key) => {
    await using user = await newUser();
    await using at = await openTerminal(user, SIZE);
    await at.enter('slipway create; echo "status $?"');
    await at.shows('Where?');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.press(key);
    expect(await at.shows('status 130')).toContain('✗ Stopped before the end, as you asked');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });

  test('a host that ssh knows by name brings its user, port and key; what the summary shows can be refused', async () => {
    await using user = await newUser();
    await mkdir(join(user.home, '.ssh'));
    const config = 'Host far\n  HostName 192.0.2.7\n  User deploy\n  Port 2222\n  IdentityFile ~/.ssh/far\n';
    await writeFile(join(user.home, '.ssh', 'config'), config);
    await using at = await openTerminal(user, SIZE);
    await at.enter('slipway; echo "status $?"');
    await at.shows('Where?');
    await at.press('Down', 'Enter');
    await at.shows('Name of the machine?');
    await at.press('Enter');
    await at.shows('192.0.2.7  far, of your ~/.ssh/config');
    await at.press('Enter');
    await at.shows('install it from where?');
    await at.press('Enter');
    await at.shows('current context of your docker CLI?');
    await at.press('Enter');
    const summary = await at.shows('Go?');
    for (const row of [/IP address +192\.0\.2\.7/, /SSH user +deploy/, /SSH key +\S+\/\.ssh\/far/])
      expect(summary).toMatch(row);
    await at.enter('n');
    await at.shows('status 130');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });
});
