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

describe.skipIf(!canRunAtTerminal)('the wizard', () => {
  test('asks for what is required, shows progress, and prints the command that does the same', async () => {
    await using user = await createUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    await mkdir(join(user.home, '.ssh'));
    for (const end of ['', '.pub'])
      await copyFile(`${host.keyFile}${end}`, join(user.home, '.ssh', `id_ed25519${end}`));
    await using terminal = await openTerminal(user, SIZE);
    await terminal.typeLine('slipway');
    // The local VM comes first; the server is one entry below.
    await terminal.waitFor('generic: a host that you can reach over SSH');
    await terminal.pressKeys('Down', 'Enter');
    await terminal.waitFor('Machine name?');
    await terminal.typeLine('no/name');
    await terminal.waitFor('Use letters, digits, dots and hyphens');
    await terminal.pressKeys(...Array.from({ length: 'no/name'.length }, () => 'BSpace'));
    await terminal.typeLine('box');
    await terminal.waitFor('Address of the host?');
    await terminal.typeLine(host.address);
    await terminal.waitFor('Log in as which user?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('With which key?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('install it from where?');
    await terminal.pressKeys('Down', 'Enter');
    await terminal.waitFor('current context of the docker CLI?');
    await terminal.typeLine('y');
    const summary = await terminal.waitFor('Continue?');
    for (const row of [
      /Machine +box/,
      /Where +a host that you can reach over SSH/,
      new RegExp(`IP address +${host.address}`),
      /Costs +nothing/,
    ])
      expect(summary).toMatch(row);
    await terminal.pressKeys('Enter');
    const screen = await terminal.waitFor('machines.yaml:');
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

  test('offers regions and instance types of EC2 with prices, and creates the machine', async () => {
    await using cloud = await ec2.start('with hosts');
    await using user = await createCloudUser(cloud);
    await using terminal = await openTerminal(user, SIZE);
    await terminal.typeLine('slipway');
    await terminal.waitFor('ec2: an instance of Amazon EC2');
    await terminal.pressKeys('Down', 'Enter');
    await terminal.waitFor('Machine name?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('eu-central-1  Frankfurt');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('t3.small   2 vCPU, 2 GiB, about $15.18 a month');
    await terminal.typeLine('medium');
    await terminal.waitFor('Which image?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('install it from where?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('current context of the docker CLI?');
    await terminal.pressKeys('Enter');
    const summary = await terminal.waitFor('Create it?');
    expect(summary).toMatch(/Creates +one instance \(t3\.medium\) with a disk of 16 GiB/);
    // Instance, disk and public address.
    expect(summary).toMatch(/Costs +about \$35\.30 a month/);
    expect(summary).toMatch(/Costs extra +CPU time above the baseline of t3\.medium/);
    expect(cloud.listAlive()).toEqual([]);
    await terminal.pressKeys('Enter');
    expect((await terminal.waitFor('machines.yaml:')).replaceAll('\n', '')).toContain(
      'slipway create web --driver ec2 --ec2-region eu-central-1 --ec2-instance-type t3.medium',
    );
    await expectEngineAnswer(user, 'web');
    await expectSuccess(user.slipway('rm', 'web'));
    expect(cloud.listAlive()).toEqual([]);
  });

  test.each(['C-c', 'Escape'])('creates nothing after %s at a question', async (key) => {
    await using user = await createUser();
    await using terminal = await openTerminal(user, SIZE);
    await terminal.typeLine('slipway create; echo "status $?"');
    await terminal.waitFor('Where should the machine run?');
    await terminal.pressKeys('Down', 'Enter');
    await terminal.waitFor('Machine name?');
    await terminal.pressKeys(key);
    expect(await terminal.waitFor('status 130')).toContain('✗ Canceled');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });

  test('offers hosts of ~/.ssh/config with user, port and key, and creates nothing if the summary is declined', async () => {
    await using user = await createUser();
    await mkdir(join(user.home, '.ssh'));
    const config = 'Host far\n  HostName 192.0.2.7\n  User deploy\n  Port 2222\n  IdentityFile ~/.ssh/far\n';
    await writeFile(join(user.home, '.ssh', 'config'), config);
    await using terminal = await openTerminal(user, SIZE);
    await terminal.typeLine('slipway; echo "status $?"');
    await terminal.waitFor('Where should the machine run?');
    await terminal.pressKeys('Down', 'Enter');
    await terminal.waitFor('Machine name?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('192.0.2.7  far, of your ~/.ssh/config');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('install it from where?');
    await terminal.pressKeys('Enter');
    await terminal.waitFor('current context of the docker CLI?');
    await terminal.pressKeys('Enter');
    const summary = await terminal.waitFor('Continue?');
    for (const row of [/IP address +192\.0\.2\.7/, /SSH user +deploy/, /SSH key +\S+\/\.ssh\/far/])
      expect(summary).toMatch(row);
    await terminal.typeLine('n');
    await terminal.waitFor('status 130');
    expect((await user.run('ls', [join(user.home, '.slipway')])).code).not.toBe(0);
  });
});
