import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { applyChanges } from '../../src/computer/files.ts';
import type { Ready } from '../../src/machine/model.ts';
import { sshConfigProfile as profile } from '../../src/profiles/ssh-config.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { readyMachine } from '../fakes/machine.ts';
import { placesIn } from '../fakes/places.ts';

const tls = undefined;
const ssh = { address: '192.0.2.10', port: 2222, user: 'deploy', keyFile: '/keys/web', hostKey: 'ssh-ed25519 AAAA' };
const machine = (name: string, more: object = {}): Ready =>
  readyMachine(name, { host: { address: ssh.address, ssh: { ...ssh, ...more } } });

test('is a Host with the pinned key, the files first and the line that includes them last', () => {
  const jump = { address: '198.51.100.1', port: 22, user: 'ops', hostKey: 'ssh-ed25519 BBBB' };
  expect(profile.add({ machine: machine('web', { jump }), tls, places: placesIn('/home/ada') })).toMatchInlineSnapshot(`
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
        "do": "include",
        "ending": ".conf",
        "folder": "/home/ada/.ssh/slipway",
        "line": "Include /home/ada/.ssh/slipway/*.conf",
        "path": "/home/ada/.ssh/config",
      },
    ]
  `);
});

test('of an engine that is known by its URL alone is nothing', () => {
  const engine = readyMachine('web', { host: { address: '192.0.2.10', engine: { url: 'tcp://192.0.2.10:2376' } } });
  expect(profile.add({ machine: engine, tls, places: placesIn('/home/ada') })).toEqual([]);
});

test('shares no connection where the socket would have too long a path, nor on Windows', () => {
  for (const home of [`/home/${'a'.repeat(50)}`, String.raw`C:\Users\ada`]) {
    const text = JSON.stringify(profile.add({ machine: machine('web'), tls, places: placesIn(home) }));
    expect(text).toContain('ServerAliveInterval');
    expect(text).not.toContain('ControlPath');
  }
});

test('leaves the user’s own settings as they are, byte for byte, and takes its line away with the last machine', async () => {
  await using home = await temporaryFolder();
  const places = placesIn(home.path);
  const theirs = Buffer.from('# caf\u00E9\r\n\nHost *\n\tUser ada', 'latin1');
  await mkdir(join(home.path, 'dotfiles'));
  await mkdir(places.ssh, { mode: 0o700 });
  await writeFile(join(home.path, 'dotfiles', 'config'), theirs, { mode: 0o640 });
  await symlink(join('..', 'dotfiles', 'config'), join(places.ssh, 'config'));
  const now = async (): Promise<Buffer> => readFile(join(home.path, 'dotfiles', 'config'));
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  await applyChanges(profile.add({ machine: machine('db'), tls, places }));
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  expect(await now()).toEqual(
    Buffer.concat([Buffer.from(`Include ${join(places.ssh, 'slipway', '*.conf')}\n`), theirs]),
  );
  expect((await readdir(join(places.ssh, 'slipway'))).toSorted()).toEqual([
    'db.conf',
    'db.known_hosts',
    'web.conf',
    'web.known_hosts',
  ]);
  expect((await stat(join(places.ssh, 'slipway'))).mode & 0o777).toBe(0o700);
  await applyChanges(profile.drop('web', places));
  expect((await now()).toString('latin1')).toMatch(/^Include /);
  await applyChanges(profile.drop('db', places));
  expect(await now()).toEqual(theirs);
  expect((await stat(join(home.path, 'dotfiles', 'config'))).mode & 0o777).toBe(0o640);
  expect(await readdir(places.ssh)).toEqual(['config']);
});

test('a line that the user has moved stays where it is', async () => {
  await using home = await temporaryFolder();
  const places = placesIn(home.path);
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  const config = join(places.ssh, 'config');
  const moved = `Host *\n  User ada\nMatch all\n${await readFile(config, 'utf8')}`;
  await writeFile(config, moved);
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  expect(await readFile(config, 'utf8')).toBe(moved);
});

test('a file that it made goes when nothing is left in it', async () => {
  await using home = await temporaryFolder();
  const places = placesIn(home.path);
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  expect((await stat(join(places.ssh, 'config'))).mode & 0o777).toBe(0o600);
  await applyChanges(profile.drop('web', places));
  expect(await readdir(places.ssh)).toEqual([]);
});

test('a Host of the user’s, and another store’s machine of that name, are in the way; its own is not', async () => {
  await using home = await temporaryFolder();
  const places = placesIn(home.path);
  expect(await profile.conflict('web', 'id-of-web', places)).toBeUndefined();
  await mkdir(places.ssh);
  await writeFile(join(places.ssh, 'config'), 'host db  web\n  User ada\nHost w*\n');
  expect(await profile.conflict('web', 'id-of-web', places)).toMatchObject({
    code: 'CONTEXT_TAKEN',
    message: `Your ${join(places.ssh, 'config')} has a Host "web" already, and Slipway’s would stand above it`,
  });
  expect(await profile.conflict('w2', 'id-of-w2', places)).toBeUndefined();
  await applyChanges(profile.add({ machine: machine('web'), tls, places }));
  // Once it is written, it is this machine's whatever else there is: `rm` has to find it.
  expect(await profile.conflict('web', 'id-of-web', places)).toBeUndefined();
  expect(await profile.conflict('web', 'another', places)).toMatchObject({
    code: 'CONTEXT_TAKEN',
    message: expect.stringContaining('did not write it for this machine'),
  });
});
