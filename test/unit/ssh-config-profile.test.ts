import { lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { applyFileChanges } from '../../src/computer/files.ts';
import type { ReadyMachine } from '../../src/machine/model.ts';
import { sshConfigProfile as profile } from '../../src/profiles/ssh-config.ts';
import { isPosix, readMode, withSlashes } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';

const tls = undefined;
const ssh = { address: '192.0.2.10', port: 2222, user: 'deploy', keyFile: '/keys/web', hostKey: 'ssh-ed25519 AAAA' };
const machineWithSsh = (name: string, more: object = {}): ReadyMachine =>
  readyMachine(name, { host: { address: ssh.address, ssh: { ...ssh, ...more } } });

test.runIf(isPosix)(
  'the profile writes a Host with the pinned key: files first, and last the line that includes them',
  () => {
    const jump = { address: '198.51.100.1', port: 22, user: 'ops', hostKey: 'ssh-ed25519 BBBB' };
    expect(
      profile.changesToAdd({ machine: machineWithSsh('web', { jump }), tls, clientPaths: clientPlacesIn('/home/ada') }),
    ).toMatchInlineSnapshot(`
    [
      {
        "content": "[192.0.2.10]:2222 ssh-ed25519 AAAA
    198.51.100.1 ssh-ed25519 BBBB
    ",
        "do": "write",
        "mode": 384,
        "path": "/home/ada/.ssh/slipway/web.known_hosts",
      },
      {
        "content": "# Written by Slipway for its machine web (id-of-web), and written anew with it.
    Host web
      HostName 192.0.2.10
      UserKnownHostsFile /home/ada/.ssh/slipway/web.known_hosts
      GlobalKnownHostsFile none
      StrictHostKeyChecking yes
      LogLevel ERROR
      IdentityFile /keys/web
      IdentitiesOnly yes
      ProxyCommand ssh -o UserKnownHostsFile=/home/ada/.ssh/slipway/web.known_hosts -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o LogLevel=ERROR -o IdentityFile=/keys/web -o IdentitiesOnly=yes -o Port=22 -o User=ops -W '[%h]:%p' 198.51.100.1
      Port 2222
      User deploy
      ServerAliveInterval 15
      ServerAliveCountMax 3
      ControlMaster auto
      ControlPath /home/ada/.ssh/slipway/%C
      ControlPersist 60
    ",
        "do": "write",
        "mode": 384,
        "path": "/home/ada/.ssh/slipway/web.conf",
      },
      {
        "alternatives": [
          "Include ~/.ssh/slipway/*.conf",
          "Include "~/.ssh/slipway/*.conf"",
          "Include slipway/*.conf",
          "Include "slipway/*.conf"",
          "Include /home/ada/.ssh/slipway/*.conf",
          "Include "/home/ada/.ssh/slipway/*.conf"",
        ],
        "do": "include",
        "folder": "/home/ada/.ssh/slipway",
        "line": "Include /home/ada/.ssh/slipway/*.conf",
        "path": "/home/ada/.ssh/config",
        "suffix": ".conf",
      },
    ]
  `);
  },
);

test('the profile writes nothing for an engine that is known only by its URL', () => {
  const engine = readyMachine('web', { host: { address: '192.0.2.10', engine: { url: 'tcp://192.0.2.10:2376' } } });
  expect(profile.changesToAdd({ machine: engine, tls, clientPaths: clientPlacesIn('/home/ada') })).toEqual([]);
});

test("the profile shares no connection where the socket's path would be too long, nor on Windows", () => {
  for (const home of [`/home/${'a'.repeat(50)}`, String.raw`C:\Users\ada`]) {
    const text = JSON.stringify(
      profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths: clientPlacesIn(home) }),
    );
    expect(text).toContain('ServerAliveInterval');
    expect(text).not.toContain('ControlPath');
  }
});

test.runIf(isPosix)(
  "the profile keeps the user's settings, byte for byte, and removes its line with the last machine",
  async () => {
    await using home = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(home.path);
    const userConfig = Buffer.from('# caf\u00E9\r\n\nHost *\n\tUser ada', 'latin1');
    await mkdir(join(home.path, 'dotfiles'));
    await mkdir(clientPaths.ssh, { mode: 0o700 });
    await writeFile(join(home.path, 'dotfiles', 'config'), userConfig, { mode: 0o640 });
    await symlink(join('..', 'dotfiles', 'config'), join(clientPaths.ssh, 'config'));
    const readConfig = async (): Promise<Buffer> => readFile(join(home.path, 'dotfiles', 'config'));
    await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
    await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('db'), tls, clientPaths }));
    await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
    expect(await readConfig()).toEqual(
      Buffer.concat([Buffer.from(`Include ${join(clientPaths.ssh, 'slipway', '*.conf')}\n`), userConfig]),
    );
    expect((await readdir(join(clientPaths.ssh, 'slipway'))).toSorted()).toEqual([
      'db.conf',
      'db.known_hosts',
      'web.conf',
      'web.known_hosts',
    ]);
    expect((await stat(join(clientPaths.ssh, 'slipway'))).mode & 0o777).toBe(0o700);
    await applyFileChanges(profile.changesToRemove('web', clientPaths));
    expect((await readConfig()).toString('latin1')).toMatch(/^Include /);
    await applyFileChanges(profile.changesToRemove('db', clientPaths));
    expect(await readConfig()).toEqual(userConfig);
    expect((await stat(join(home.path, 'dotfiles', 'config'))).mode & 0o777).toBe(0o640);
    expect(await readdir(clientPaths.ssh)).toEqual(['config']);
  },
);

test('the profile leaves its line where the user has moved it', async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  const config = join(clientPaths.ssh, 'config');
  const moved = `Host *\n  User ada\nMatch all\n${await readFile(config, 'utf8')}`;
  await writeFile(config, moved);
  await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  expect(await readFile(config, 'utf8')).toBe(moved);
});

test('the profile removes a file that it created once nothing is left in it', async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  expect(await readMode(join(clientPaths.ssh, 'config'), '600')).toBe('600');
  await applyFileChanges(profile.changesToRemove('web', clientPaths));
  expect(await readdir(clientPaths.ssh)).toEqual([]);
});

test("the profile reports a conflict with the user's Host and another store's machine, not with its own", async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  expect(await profile.findConflict('web', 'id-of-web', clientPaths)).toBeUndefined();
  await mkdir(clientPaths.ssh);
  await writeFile(join(clientPaths.ssh, 'config'), 'host db  web\n  User ada\nHost w*\n');
  expect(await profile.findConflict('web', 'id-of-web', clientPaths)).toMatchObject({
    code: 'CONTEXT_TAKEN',
    message: `Host "web" already exists in your ${join(clientPaths.ssh, 'config')}, and Slipway's would take precedence over it`,
  });
  expect(await profile.findConflict('w2', 'id-of-w2', clientPaths)).toBeUndefined();
  await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  // A Host that was written for this machine is never a conflict, so that `rm` finds it.
  expect(await profile.findConflict('web', 'id-of-web', clientPaths)).toBeUndefined();
  expect(await profile.findConflict('web', 'another', clientPaths)).toMatchObject({
    code: 'CONTEXT_TAKEN',
    message: expect.stringContaining('did not write it for this machine'),
  });
});

test.each(['Include ~/.ssh/slipway/*.conf', '\tInclude  "slipway/*.conf"  ', 'Include ~/.ssh/slipway/*.conf\r'])(
  'the profile leaves a file alone in which the user has written the line: %j',
  async (line) => {
    await using home = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(home.path);
    const config = join(clientPaths.ssh, 'config');
    await mkdir(clientPaths.ssh);
    const text = `Host *\n  User ada\n${line}\n`;
    await writeFile(config, text);
    await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
    expect(await readFile(config, 'utf8')).toBe(text);
    await applyFileChanges(profile.changesToRemove('web', clientPaths));
    expect(await readFile(config, 'utf8')).toBe(text);
  },
);

test('the profile keeps a byte order mark at the beginning', async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  const config = join(clientPaths.ssh, 'config');
  await mkdir(clientPaths.ssh);
  await writeFile(config, '\uFEFFHost *\n');
  for (let run = 0; run < 2; run += 1)
    await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  expect(await readFile(config, 'utf8')).toBe(
    `\uFEFFInclude ${withSlashes(join(clientPaths.ssh, 'slipway', '*.conf'))}\nHost *\n`,
  );
  await applyFileChanges(profile.changesToRemove('web', clientPaths));
  expect(await readFile(config, 'utf8')).toBe('\uFEFFHost *\n');
});

test.runIf(isPosix)('the profile creates the file that a dangling link of a dotfiles manager points to', async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  await mkdir(clientPaths.ssh);
  await mkdir(join(home.path, 'dotfiles'));
  await symlink(join('..', 'dotfiles', 'config'), join(clientPaths.ssh, 'config'));
  await applyFileChanges(profile.changesToAdd({ machine: machineWithSsh('web'), tls, clientPaths }));
  expect(await readFile(join(home.path, 'dotfiles', 'config'), 'utf8')).toMatch(/^Include /);
  expect((await lstat(join(clientPaths.ssh, 'config'))).isSymbolicLink()).toBe(true);
});

test("the profile reports a conflict with a Host of a file that the user's configuration includes", async () => {
  await using home = await createTemporaryFolder();
  const clientPaths = clientPlacesIn(home.path);
  await mkdir(join(clientPaths.ssh, 'config.d'), { recursive: true });
  await writeFile(join(clientPaths.ssh, 'config'), 'Include config.d/*\nInclude ~/missing\nInclude config\n');
  await writeFile(join(clientPaths.ssh, 'config.d', 'work'), 'Host "web"\n  User ada\n');
  expect(await profile.findConflict('web', 'id-of-web', clientPaths)).toMatchObject({ code: 'CONTEXT_TAKEN' });
  expect(await profile.findConflict('db', 'id-of-db', clientPaths)).toBeUndefined();
});
