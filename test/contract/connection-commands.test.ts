import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { applyFileChanges, writeFileAtomic } from '../../src/computer/files.ts';
import type { ReadyMachine } from '../../src/machine/model.ts';
import { dockerContextProfile } from '../../src/profiles/docker-context.ts';
import { openStore } from '../../src/machine/store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { clientPlacesIn } from '../fakes/client-paths.ts';
import { hasProgram, runProgram, type ProgramResult } from '../fakes/run-program.ts';

const slipwayProgram = fileURLToPath(new URL('../../dist/slipway.js', import.meta.url));

/** Creates a home with these machines, and a docker context for each machine with that profile. */
async function createHome(machines: readonly ReadyMachine[], folder = '.slipway') {
  const home = await createTemporaryFolder();
  const state = join(home.path, folder);
  const store = openStore(state);
  for (const machine of machines) {
    await store.write(machine);
    if (!machine.spec.profiles.includes('docker-context')) continue;
    await applyFileChanges(
      dockerContextProfile.changesToAdd({ machine, tls: undefined, clientPaths: clientPlacesIn(home.path) }),
    );
  }
  const env = { PATH: process.env.PATH, HOME: home.path, SLIPWAY_HOME: state };
  return {
    path: home.path,
    store,
    env,
    slipway: (argv: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<ProgramResult> =>
      runProgram(process.execPath, [slipwayProgram, ...argv], { env: { ...env, ...more } }),
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}

const machineAt = (name: string, url: string, profiles = ['docker-context']): ReadyMachine =>
  readyMachine(name, { spec: specNamed(name, { profiles }), endpoint: { url, tls: url.startsWith('tcp:') } });

const SHELLS: readonly (readonly [string, readonly string[]])[] = [
  ['sh', ['-c']],
  ['bash', ['--norc', '-c']],
  ['zsh', ['-f', '-c']],
  ['fish', ['--no-config', '-c']],
];

describe('slipway config', () => {
  test.each(SHELLS)('prints one word per line, which %s splits correctly', async (shell, argv) => {
    if (!hasProgram(shell)) return;
    await using home = await createHome([machineAt('web', 'tcp://[2001:db8::1]:2376')]);
    const tls = home.store.paths('web').tls;
    const words = [
      '--tlsverify',
      `--tlscacert=${join(tls, 'ca.pem')}`,
      `--tlscert=${join(tls, 'cert.pem')}`,
      `--tlskey=${join(tls, 'key.pem')}`,
      '-H=tcp://[2001:db8::1]:2376',
    ];
    const call = `"${process.execPath}" "${slipwayProgram}" config web`;
    const substitution = shell === 'fish' ? `(${call})` : `$(${call})`;
    const { stdout, stderr } = await runProgram(shell, [...argv, `printf '<%s>\\n' ${substitution} ps`], {
      env: home.env,
    });
    expect([stdout, stderr]).toEqual([[...words, 'ps', ''].map((word) => word && `<${word}>`).join('\n'), '']);
    const json = await home.slipway(['config', 'web', '--json']);
    expect(JSON.parse(json.stdout)).toEqual({
      name: 'web',
      host: 'tcp://[2001:db8::1]:2376',
      certificates: tls,
      flags: words,
    });
  });

  test('prints only the URL of an engine without TLS', async () => {
    await using home = await createHome([machineAt('web', 'unix:///var/run/docker.sock')]);
    expect((await home.slipway(['config', 'web'])).stdout).toBe('-H=unix:///var/run/docker.sock\n');
  });

  test('refuses paths that a shell would split, and suggests an alternative', async () => {
    await using home = await createHome(
      [machineAt('web', 'tcp://192.0.2.1:2376'), machineAt('bare', 'unix:///a b', [])],
      'my store',
    );
    const web = await home.slipway(['config', 'web']);
    expect([web.code, web.stdout]).toEqual([10, '']);
    expect(web.stderr).toContain('ca.pem" contains spaces, at which a shell would split it');
    expect(web.stderr).toContain('→ Use the context instead: docker --context web ps');
    expect((await home.slipway(['config', 'bare'])).stderr).toContain(
      '→ Connect the shell instead: eval "$(slipway env bare)"',
    );
    // JSON is not split by a shell.
    expect((await home.slipway(['config', 'web', '--json'])).code).toBe(0);
  });
});

describe('slipway env --socket', () => {
  test('needs a link, and says how to connect without one', async () => {
    await using home = await createHome([machineAt('web', 'unix:///var/run/docker.sock')]);
    const withoutLink = await home.slipway(['env', 'web', '--socket', '--shell', 'bash']);
    expect(withoutLink).toMatchObject({ code: 2, stdout: '' });
    expect(withoutLink.stderr).toContain('Machine "web" has no link, which serves its socket');
    expect(withoutLink.stderr).toContain('→ Give it one: slipway provision web --link');
    const withProxy = await home.slipway(['env', 'web', '--socket', '--no-proxy', '--shell', 'bash']);
    expect(withProxy).toMatchObject({ code: 2, stdout: '' });
    expect(withProxy.stderr).toContain('--socket and --no-proxy exclude each other');
  });
});

describe('slipway active', () => {
  test('prints the machine that the docker CLI uses, by context, DOCKER_HOST and DOCKER_CONTEXT', async () => {
    await using home = await createHome([
      machineAt('a', 'tcp://192.0.2.1:2376'),
      machineAt('web', 'tcp://192.0.2.2:2376'),
      machineAt('twin', 'tcp://192.0.2.2:2376', []),
      machineAt('bare', 'tcp://192.0.2.3:2376', []),
    ]);
    await mkdir(home.store.paths('bad').folder);
    await writeFile(home.store.paths('bad').record, '{');
    const readActive = async (more: NodeJS.ProcessEnv = {}): Promise<string> => {
      const { code, stdout, stderr } = await home.slipway(['active'], more);
      if (code !== 3) return stdout.trim();
      expect(stdout).toBe('');
      return stderr.split('\n')[0] ?? '';
    };
    const none = '✗ docker uses none of your machines in this shell, but';
    expect(await readActive()).toBe(`${none} its context "default"`);
    expect(await readActive({ DOCKER_HOST: 'tcp://192.0.2.3:2376' })).toBe('bare');
    expect(await readActive({ DOCKER_HOST: 'tcp://192.0.2.9:2376' })).toBe(`${none} DOCKER_HOST=tcp://192.0.2.9:2376`);
    expect(await readActive({ DOCKER_HOST: 'tcp://192.0.2.2:2376', DOCKER_MACHINE_NAME: 'twin' })).toBe('twin');
    expect(await readActive({ DOCKER_HOST: 'tcp://192.0.2.2:2376', DOCKER_MACHINE_NAME: 'web' })).toBe('web');
    expect(await readActive({ DOCKER_CONTEXT: 'web' })).toBe('web');
    // The docker CLI does not accept a context name of one letter.
    expect(await readActive({ DOCKER_CONTEXT: 'slipway-a' })).toBe('a');
    expect(await readActive({ DOCKER_CONTEXT: 'a' })).toBe(`${none} DOCKER_CONTEXT=a`);
    expect(await readActive({ DOCKER_CONTEXT: 'web', DOCKER_HOST: 'tcp://192.0.2.3:2376' })).toBe('bare');
    await home.slipway(['use', 'web']);
    expect(await readActive()).toBe('web');
    const { stdout } = await home.slipway(['active', '--json']);
    expect(JSON.parse(stdout)).toEqual({ name: 'web', url: 'tcp://192.0.2.2:2376', by: 'current context' });
    // The user created another context with that name.
    await home.store.write(readyMachine('other', { spec: specNamed('other') }));
    await applyFileChanges(
      dockerContextProfile.changesToAdd({
        machine: readyMachine('other', { spec: specNamed('other', { id: 'another' }) }),
        tls: undefined,
        clientPaths: clientPlacesIn(home.path),
      }),
    );
    expect(await readActive({ DOCKER_CONTEXT: 'other' })).toBe(`${none} DOCKER_CONTEXT=other`);
  });

  test.skipIf(!hasProgram('docker'))('uses the same precedence as the docker CLI', async () => {
    await using home = await createHome([
      machineAt('web', 'tcp://192.0.2.2:2376'),
      machineAt('db', 'tcp://192.0.2.3:2376'),
    ]);
    for (const more of [
      {},
      { DOCKER_CONTEXT: 'db' },
      { DOCKER_HOST: 'tcp://192.0.2.3:2376' },
      { DOCKER_HOST: 'tcp://192.0.2.3:2376', DOCKER_CONTEXT: 'web' },
    ]) {
      await home.slipway(['use', 'web']);
      const { stdout } = await runProgram('docker', ['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}'], {
        env: { ...home.env, ...more },
      });
      const { stdout: active } = await home.slipway(['active', '--json'], more);
      expect(`${(JSON.parse(active) as { url: string }).url}\n`, JSON.stringify(more)).toBe(stdout);
    }
  });
});

describe('slipway events', () => {
  test('with --until ends with status 9 when no engine answered, and prints one line per machine', async () => {
    const names = Array.from({ length: 15 }, (_, at) => `m${at + 1}`);
    await using home = await createHome(names.map((name) => machineAt(name, 'unix:///no/such/socket', [])));
    const { code, stdout, stderr } = await home.slipway(['events', '--until', '1s']);
    expect([code, stdout]).toEqual([9, '']);
    expect(stderr.trimEnd().split('\n').toSorted()).toEqual(
      names.map((name) => `The engine of machine "${name}" can't be reached: the socket does not exist`).toSorted(),
    );
  });

  test('refuses an unknown machine, an invalid time or filter, and an empty store', async () => {
    await using home = await createHome([machineAt('web', 'unix:///no/such/socket', [])]);
    const runEvents = async (...argv: readonly string[]): Promise<readonly (string | number | undefined)[]> => {
      const { code, stderr } = await home.slipway(['events', ...argv]);
      return [code, stderr.split('\n')[0]];
    };
    expect(await runEvents('wbe')).toEqual([3, '✗ Machine "wbe" does not exist']);
    expect(await runEvents('--since', 'soon')).toEqual([2, '✗ Invalid time for --since: "soon"']);
    expect(await runEvents('--filter', 'type')).toEqual([2, '✗ Invalid --filter "type": expected KEY=VALUE']);
    await home.slipway(['rm', '--force', 'web']);
    expect(await runEvents()).toEqual([3, '✗ No machine is ready, so there are no events to stream']);
  });
});

describe('slipway mount', () => {
  const SSHFS = '#!/bin/sh\nprintf "<%s>" "$@" >"$HOME/argv"\ncat "$2" >"$HOME/config"\nexit "${STATUS:-0}"\n';
  const web = readyMachine('web', {
    host: {
      address: '192.0.2.10',
      ssh: { address: '192.0.2.10', port: 2222, user: 'deploy', hostKey: 'ssh-ed25519 AAAA' },
    },
  });

  test('passes the pinned route to sshfs, and returns its exit status', async () => {
    await using home = await createHome([web]);
    await writeFileAtomic(join(home.path, 'bin', 'sshfs'), SSHFS, 0o755);
    const PATH = `${join(home.path, 'bin')}:${process.env.PATH}`;
    const mountpoint = join(home.path, 'a, b');
    await mkdir(mountpoint);
    const { code, stdout, stderr } = await home.slipway(['mount', 'web:/srv/a, b', mountpoint], { PATH });
    expect([code, stdout]).toEqual([0, '']);
    expect(stderr).toContain(`slipway mount -u '${mountpoint}'`);
    const config = join(home.store.paths('web').folder, 'sshfs_config');
    const read = (file: string): Promise<ProgramResult> => runProgram('cat', [join(home.path, file)]);
    expect((await read('argv')).stdout).toBe(`<-F><${config}><-o><reconnect><web:/srv/a, b><${mountpoint}>`);
    expect((await read('config')).stdout).toMatch(/StrictHostKeyChecking yes[^]*ServerAliveInterval 15/);
    expect((await runProgram('stat', ['-c', '%a', config])).stdout).toBe('600\n');
    const failed = await home.slipway(['mount', 'web:', mountpoint, '--json'], { PATH, STATUS: '7' });
    expect([failed.code, JSON.parse(failed.stdout)]).toEqual([7, { machine: 'web', path: '', mountpoint, status: 7 }]);
  });

  test('refuses invalid folders and machines with a message', async () => {
    const unpinned = readyMachine('unseen');
    await using home = await createHome([web, unpinned]);
    await writeFileAtomic(join(home.path, 'bin', 'sshfs'), SSHFS, 0o755);
    await writeFileAtomic(join(home.path, 'full', 'file'), '', 0o600);
    const PATH = `${join(home.path, 'bin')}:${process.env.PATH}`;
    const runMount = async (...argv: readonly string[]): Promise<readonly (string | number)[]> => {
      const { code, stderr } = await home.slipway(['mount', ...argv], { PATH });
      return [code, ...stderr.trimEnd().split('\n')];
    };
    const full = join(home.path, 'full');
    expect(await runMount('web:/no/such/folder')).toEqual([
      10,
      '✗ /no/such/folder does not exist',
      '→ To create it: mkdir -p /no/such/folder',
    ]);
    expect((await runMount('web:/', join(full, 'file')))[1]).toBe(`✗ ${join(full, 'file')} is a file`);
    expect((await runMount('web:/', full))[1]).toBe(`✗ ${full} is not empty, and a mount would hide its files`);
    expect(await runMount('/srv', full)).toEqual([
      2,
      '✗ "/srv" names no machine: expected NAME:path',
      '→ For example: slipway mount web:/srv ./srv',
    ]);
    expect(await runMount('web', full)).toEqual([
      2,
      '✗ "web" names no folder of machine "web": expected NAME:path',
      '→ For example: slipway mount web:/srv ./srv',
    ]);
    expect((await runMount('web:srv'))[2]).toBe('→ For example: slipway mount web:srv ./srv');
    expect((await runMount('wbe:/srv'))[1]).toBe('✗ Machine "wbe" does not exist');
    expect((await runMount('-u', full, full))[0]).toBe(2);
    // Slipway does not connect to a host whose key is not pinned.
    expect(await runMount('unseen:/srv', join(full, '..', 'bin'))).toEqual([
      3,
      '✗ No SSH host key is pinned for machine "unseen" yet',
      '→ To connect and pin it: slipway provision unseen',
    ]);
  });

  test('says how to install sshfs when it is missing', async () => {
    await using home = await createHome([web]);
    const { code, stderr } = await home.slipway(['mount', 'web:/srv', home.path], { PATH: '/nowhere' });
    expect([code, stderr]).toEqual([11, expect.stringContaining('sshfs, which mounts folders of machines')]);
  });
});
