import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { startHost } from '../bed/bed-host.ts';
import { createCloudUser } from './cloud-provider.ts';
import { ec2 } from './providers.ts';
import { createUser, expectSuccess } from './test-user.ts';
import { hasTmux, openTerminal } from './terminal.ts';
import { expectEngineAnswer } from './assertions.ts';

const canRunAtTerminal = inject('bedReason') === undefined && hasTmux;
const SIZE = { columns: 100, rows: 40 };

describe.skipIf(!canRunAtTerminal)('at a terminal', () => {
  test('slipway asks what is needed, shows its work, and prints the command that repeats it', async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await mkdir(join(user.home, '.ssh'));
    for (const end of ['', '.pub'])
      await copyFile(`${host.keyFile}${end}`, join(user.home, '.ssh', `id_ed25519${end}`));
    await using at = await openTerminal(user, SIZE);
    await at.typeLine('slipway');
    // The local VM comes first; the server is one entry below.
    await at.waitFor('generic: a host that you can reach over SSH');
    await at.pressKeys('Down', 'Enter');
    await at.waitFor('Machine name?');
    await at.typeLine('no/name');
    await at.waitFor('Use letters, digits, dots and hyphens');
    await at.pressKeys(...Array.from({ length: 'no/name'.length }, () => 'BSpace'));
    await at.typeLine('box');
    await at.waitFor('Address of the host?');
    await at.typeLine(host.address);
    await at.waitFor('Log in as which user?');
    await at.pressKeys('Enter');
    await at.waitFor('With which key?');
    await at.pressKeys('Enter');
    await at.waitFor('install it from where?');
    await at.pressKeys('Down', 'Enter');
    await at.waitFor('current context of the docker CLI?');
    await at.typeLine('y');
    const summary = await at.waitFor('Continue?');
    for (const row of [
      /Machine +box/,
      /Where +a host that you can reach over SSH/,
      new RegExp(`IP address +${host.address}`),
      /Costs +nothing/,
    ])
      expect(summary).toMatch(row);
    await at.pressKeys('Enter');
    const screen = await at.waitFor('machines.yaml:');
    expect(screen).toMatch(/machines:\n +box:\n +driver: generic\n +generic:\n +ipAddress: /);
    expect(screen).toContain('✔ Configure the engine and restart it');
    expect(screen).toContain('box is ready: tcp://');
    const command = `slipway create box --driver generic --use --generic-ip-address ${host.address} --engine-source distro`;
    expect(screen.replaceAll('\n', '')).toContain(command);
    expect((await expectSuccess(user.docker('context', 'show'))).stdout.trim()).toBe('box');

    await expectSuccess(user.slipway('rm', 'box'));
    await expectSuccess(user.run('sh', ['-c', command]));
    await expectSuccess(user.docker('version'));
  });

  test('a machine in EC2 is chosen from what EC2 offers, with its price, and made', async () => {
    await using cloud = await ec2.start('hosts');
    await using user = await createCloudUser(cloud);
    await using at = await openTerminal(user, SIZE);
    await at.typeLine('slipway');
    await at.waitFor('ec2: an instance of Amazon EC2');
    await at.pressKeys('Down', 'Enter');
    await at.waitFor('Machine name?');
    await at.pressKeys('Enter');
    await at.waitFor('eu-central-1  Frankfurt');
    await at.pressKeys('Enter');
    await at.waitFor('t3.small   2 vCPU, 2 GiB, about $15.18 a month');
    await at.typeLine('medium');
    await at.waitFor('Which image?');
    await at.pressKeys('Enter');
    await at.waitFor('install it from where?');
    await at.pressKeys('Enter');
    await at.waitFor('current context of the docker CLI?');
    await at.pressKeys('Enter');
    const summary = await at.waitFor('Create it?');
    expect(summary).toMatch(/Creates +one instance \(t3\.medium\) with a disk of 16 GiB/);
    expect(summary).toMatch(/Costs +about \$31\.65 a month/);
    expect(cloud.listAlive()).toEqual([]);
    await at.pressKeys('Enter');
    expect((await at.waitFor('machines.yaml:')).replaceAll('\n', '')).toContain(
      'slipway create web --driver ec2 --ec2-region eu-central-1 --ec2-instance-type t3.medium',
    );
    await expectEngineAnswer(user, 'web');
    await expectSuccess(user.slipway('rm', 'web'));
    expect(cloud.listAlive()).toEqual([]);
  });

  test.each(['C-c', 'Escape'])('%s at a question leaves nothing', async (key) => {
    await using user = await createUser();
    await using at = await openTerminal(user, SIZE);
    await at.typeLine('slipway create; echo "status $?"');
    await at.waitFor('Where should the machine run?');
    await at.pressKeys('Down', 'Enter');
    await at.waitFor('Machine name?');
    await at.pressKeys(key);
    expect(await at.waitFor('status 130')).toContain('✗ Canceled');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });

  test('a host that ssh knows by name brings its user, port and key; what the summary shows can be refused', async () => {
    await using user = await createUser();
    await mkdir(join(user.home, '.ssh'));
    const config = 'Host far\n  HostName 192.0.2.7\n  User deploy\n  Port 2222\n  IdentityFile ~/.ssh/far\n';
    await writeFile(join(user.home, '.ssh', 'config'), config);
    await using at = await openTerminal(user, SIZE);
    await at.typeLine('slipway; echo "status $?"');
    await at.waitFor('Where should the machine run?');
    await at.pressKeys('Down', 'Enter');
    await at.waitFor('Machine name?');
    await at.pressKeys('Enter');
    await at.waitFor('192.0.2.7  far, of your ~/.ssh/config');
    await at.pressKeys('Enter');
    await at.waitFor('install it from where?');
    await at.pressKeys('Enter');
    await at.waitFor('current context of the docker CLI?');
    await at.pressKeys('Enter');
    const summary = await at.waitFor('Continue?');
    for (const row of [/IP address +192\.0\.2\.7/, /SSH user +deploy/, /SSH key +\S+\/\.ssh\/far/])
      expect(summary).toMatch(row);
    await at.typeLine('n');
    await at.waitFor('status 130');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });
});
