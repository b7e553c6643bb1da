import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sshArgv } from '../../src/cli/openssh.ts';
import { sshConfig, type Route } from '../../src/profiles/ssh-options.ts';
import { applyChanges } from '../../src/computer/files.ts';
import { sshConfigProfile } from '../../src/profiles/ssh-config.ts';
import { readyMachine } from '../fakes/machine.ts';
import { placesIn } from '../fakes/places.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { run } from '../fakes/programs.ts';

const ODD = String.raw`/it's 50% "odd"/#1 file`;
const odd: Route = {
  target: { address: '2001:db8::1', port: 2222, user: 'deploy', keyFile: ODD },
  knownHosts: `${ODD}.known`,
};

/** What the real ssh understood of our options, by `ssh -G`. */
async function understood(argv: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { code, stdout, stderr } = await run('ssh', ['-G', ...argv]);
  expect([code, stderr]).toEqual([0, '']);
  return new Map(
    stdout.split('\n').map((line): [string, string] => {
      const space = line.indexOf(' ');
      return [line.slice(0, space), line.slice(space + 1)];
    }),
  );
}

const wanted = {
  hostname: '2001:db8::1',
  port: '2222',
  user: 'deploy',
  stricthostkeychecking: 'true',
  globalknownhostsfile: 'none',
  // Shown before its expansion, in which two percent signs stand for one; the next one after it.
  identityfile: ODD.replace('%', '%%'),
  userknownhostsfile: `${ODD}.known`,
};

test('ssh reads from -o what was meant, whatever a path is called', async () => {
  expect(Object.fromEntries(await understood(sshArgv(odd, [])))).toMatchObject(wanted);
});

test('ssh reads flags behind the address, with a command or without', async () => {
  for (const command of [
    ['-C', '-L', '1:b:2'],
    ['-C', '-L', '1:b:2', 'uptime', '-p'],
    ['-CL1:b:2', '--', 'uptime'],
  ]) {
    const seen = Object.fromEntries(await understood(sshArgv(odd, command)));
    expect(seen).toMatchObject({ ...wanted, compression: 'yes', localforward: '1 [b]:2' });
  }
});

test('ssh reads from our file what was meant, by the machine’s name as it is written', async () => {
  await using folder = await temporaryFolder();
  const config = join(folder.path, 'config');
  const other: Route = { target: { address: '192.0.2.1', port: 22, user: 'root' }, knownHosts: '/known' };
  await writeFile(config, sshConfig({ other, 'Web-1.example': odd }));
  expect(Object.fromEntries(await understood(['-F', config, 'Web-1.example']))).toMatchObject(wanted);
  expect((await understood(['-F', config, 'other'])).get('userknownhostsfile')).toBe('/known');
});

test('ssh finds in the user’s settings what the profile wrote, whatever the folder is called', async () => {
  await using folder = await temporaryFolder();
  const places = placesIn(join(folder.path, '" %'));
  const host = { address: odd.target.address, ssh: { ...odd.target, hostKey: 'ssh-ed25519 AAAA' } };
  await applyChanges([
    {
      do: 'write',
      path: join(places.ssh, 'config'),
      content: 'Host *\n  LogLevel ERROR\n  Port 1\n  ForwardAgent yes\n',
      mode: 0o600,
    },
    ...sshConfigProfile.add({ machine: readyMachine('web', { host }), tls: undefined, places }),
  ]);
  const seen = await understood(['-F', join(places.ssh, 'config'), 'web']);
  expect(Object.fromEntries(seen)).toMatchObject({
    ...wanted,
    userknownhostsfile: join(places.ssh, 'slipway', 'web.known_hosts'),
    serveraliveinterval: '15',
    controlmaster: 'auto',
    controlpersist: '60',
    // What ours leaves open is the user's to say.
    forwardagent: 'yes',
  });
  expect(seen.get('controlpath')).toContain(join(places.ssh, 'slipway'));
  expect((await understood(['-F', join(places.ssh, 'config'), 'other'])).get('port')).toBe('1');
});
