import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sshArgv } from '../../src/openssh/openssh-command.ts';
import { formatSshConfig, type SshRoute } from '../../src/ssh/openssh-options.ts';
import { applyFileChanges } from '../../src/computer/files.ts';
import { sshConfigProfile } from '../../src/profiles/ssh-config.ts';
import { readyMachine } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { runProgram } from '../fakes/run-program.ts';

const ODD_PATH = String.raw`/it's 50% "odd"/#1 file`;
const oddRoute: SshRoute = {
  target: { address: '2001:db8::1', port: 2222, user: 'deploy', keyFile: ODD_PATH },
  knownHosts: `${ODD_PATH}.known`,
};

/** Returns the options as the real ssh understood them, by `ssh -G`. */
async function readSshConfig(argv: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const { code, stdout, stderr } = await runProgram('ssh', ['-G', ...argv]);
  expect([code, stderr]).toEqual([0, '']);
  return new Map(
    stdout.split('\n').map((line): [string, string] => {
      const space = line.indexOf(' ');
      return [line.slice(0, space), line.slice(space + 1)];
    }),
  );
}

const expectedConfig = {
  hostname: '2001:db8::1',
  port: '2222',
  user: 'deploy',
  stricthostkeychecking: 'true',
  globalknownhostsfile: 'none',
  // ssh prints this path before it expands two percent signs to one, and the next path after.
  identityfile: ODD_PATH.replace('%', '%%'),
  userknownhostsfile: `${ODD_PATH}.known`,
};

test('ssh reads -o options with special characters in paths', async () => {
  expect(Object.fromEntries(await readSshConfig(sshArgv(oddRoute, [])))).toMatchObject(expectedConfig);
});

test('ssh reads flags after the address, with and without a command', async () => {
  for (const command of [
    ['-C', '-L', '1:b:2'],
    ['-C', '-L', '1:b:2', 'uptime', '-p'],
    ['-CL1:b:2', '--', 'uptime'],
  ]) {
    const seen = Object.fromEntries(await readSshConfig(sshArgv(oddRoute, command)));
    expect(seen).toMatchObject({ ...expectedConfig, compression: 'yes', localforward: '1 [b]:2' });
  }
});

test("ssh reads Slipway's configuration file by the exact name of the machine", async () => {
  await using folder = await createTemporaryFolder();
  const config = join(folder.path, 'config');
  const other: SshRoute = { target: { address: '192.0.2.1', port: 22, user: 'root' }, knownHosts: '/known' };
  await writeFile(config, formatSshConfig({ other, 'Web-1.example': oddRoute }));
  expect(Object.fromEntries(await readSshConfig(['-F', config, 'Web-1.example']))).toMatchObject(expectedConfig);
  expect((await readSshConfig(['-F', config, 'other'])).get('userknownhostsfile')).toBe('/known');
});

test.each(['" %', 'Zoé', 'a b', '50%d', 'x#y', '~ada', "it's", '$HOME', '[a]', '日本', 'a*b?c', '{a,b}'])(
  "ssh reads what the profile wrote into the user's configuration once, in the home folder %j",
  async (name) => {
    await using folder = await createTemporaryFolder();
    const clientPaths = clientPlacesIn(join(folder.path, name));
    const config = join(clientPaths.ssh, 'config');
    const host = { address: oddRoute.target.address, ssh: { ...oddRoute.target, hostKey: 'ssh-ed25519 AAAA' } };
    const machine = readyMachine('web', { host });
    await mkdir(clientPaths.ssh, { recursive: true, mode: 0o700 });
    const before = Buffer.from('# caf\u00E9\nHost *\n  LogLevel ERROR\n  Port 1\n  ForwardAgent yes\n', 'latin1');
    await writeFile(config, before, { mode: 0o600 });
    for (let run = 0; run < 3; run += 1)
      await applyFileChanges(sshConfigProfile.changesToAdd({ machine, tls: undefined, clientPaths }));
    const seen = await readSshConfig(['-F', config, 'web']);
    expect(Object.fromEntries(seen)).toMatchObject({
      ...expectedConfig,
      userknownhostsfile: join(clientPaths.ssh, 'slipway', 'web.known_hosts'),
      serveraliveinterval: '15',
      controlmaster: 'auto',
      controlpersist: '60',
      // The user's configuration decides about options that Slipway does not set.
      forwardagent: 'yes',
    });
    expect(seen.get('controlpath')).toContain(join(clientPaths.ssh, 'slipway'));
    expect((await readSshConfig(['-F', config, 'other'])).get('port')).toBe('1');
    expect((await readFile(config, 'latin1')).match(/^Include/gm)).toHaveLength(1);
    await applyFileChanges(sshConfigProfile.changesToRemove('web', clientPaths));
    expect(await readFile(config)).toEqual(before);
  },
);
