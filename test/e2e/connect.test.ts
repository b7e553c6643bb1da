import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { countLogins } from './inspect-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';
import { expectNothingLeft, expectFailure, waitUntil } from './assertions.ts';

describeOnBed('connecting', () => {
  let host: BedHost;
  let user: User;
  const ssh = (...argv: readonly string[]): Promise<Outcome> =>
    // OpenSSH reads its settings from the home folder in the password database, not from HOME.
    user.run('ssh', ['-F', join(user.home, '.ssh', 'config'), ...argv]);

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    await mkdir(join(user.home, '.ssh'), { mode: 0o700 });
    await writeFile(join(user.home, '.ssh', 'config'), 'Host *\n  SendEnv NOTHING\n', { mode: 0o600 });
    await expectSuccess(user.slipway('create', 'web', ...hostFlags(host, 'deploy')));
    // The same engine by URL.
    const tls = ['ca', 'cert', 'key'].flatMap((file) => [
      `--none-tls-${file}`,
      join(user.home, '.slipway', 'machines', 'web', 'tls', `${file}.pem`),
    ]);
    await expectSuccess(user.slipway('create', 'twin', '--none-url', `tcp://${host.address}:2376`, ...tls));
    await loadToolsImage(user, 'web');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test.each([
    ['sh', ['-c']],
    ['bash', ['--norc', '-c']],
    ['zsh', ['-f', '-c']],
  ] as const)('docker $(slipway config web) works in %s', async (shell, argv) => {
    const script = "docker $(slipway config web) version --format '{{.Server.Os}}'";
    expect((await expectSuccess(user.run(shell, [...argv, script]))).stdout).toBe('linux\n');
    // The connection works because of these flags.
    const wrong = "docker $(slipway config web | grep -v tlscert) version --format '{{.Server.Os}}'";
    expect((await user.run(shell, [...argv, wrong])).code).not.toBe(0);
  });

  test('active names the machine of a shell that evaluated env', async () => {
    const script = 'eval "$(slipway env twin)"; slipway active; eval "$(slipway env web)"; slipway active';
    expect((await expectSuccess(user.run('bash', ['--norc', '-c', script]))).stdout).toBe('twin\nweb\n');
    await expectSuccess(user.slipway('use', 'web'));
    expect((await expectSuccess(user.slipway('active'))).stdout).toBe('web\n');
    await expectSuccess(user.slipway('use', '--unset'));
    expect((await expectFailure(user.slipway('active'))).status).toBe(3);
  });

  describe('events', () => {
    test('of all machines arrive in one stream, across a restart of an engine, until Ctrl-C', async () => {
      let output = '';
      let errors = '';
      const command = user.start('events', '--filter', 'type=container', '--filter', 'event=start');
      command.process.stdout?.on('data', (text: string) => (output += text));
      command.process.stderr?.on('data', (text: string) => (errors += text));
      const runContainer = (name: string): Promise<Outcome> =>
        expectSuccess(user.docker('--context', 'web', 'run', '--rm', '--name', name, 'tools', 'echo', 'hi'));
      const findEvents = (name: string): readonly string[] =>
        output.split('\n').filter((line) => line.includes(`name=${name})`));
      // The two streams start in any order.
      let count = 0;
      await waitUntil('both machines show the event', async () => {
        count += 1;
        await runContainer(`first-${count}`);
        return / web .*first/.test(output) && / twin .*first/.test(output);
      });
      await host.runOrThrow('systemctl restart docker');
      await waitUntil(
        'both machines report the lost connection',
        async () =>
          /engine of machine "web" can't be reached/.test(errors) &&
          /engine of machine "twin" can't be reached/.test(errors),
      );
      await waitUntil(
        'both machines answer again',
        async () => /machine "web" answers again/i.test(errors) && /machine "twin" answers again/i.test(errors),
      );
      await runContainer('second');
      await waitUntil('both machines show the second event', async () => findEvents('second').length >= 2);
      command.process.kill('SIGINT');
      const { code, stdout } = await command.ended;
      expect(code).toBe(0);
      expect(stdout.match(/^[\d:.TZ-]+ (web|twin) container start [0-9a-f]{12} \(.*name=second\)$/gm)).toHaveLength(2);
      const lines = stdout.trimEnd().split('\n');
      expect(new Set(lines).size).toBe(lines.length);
    });

    test('of a past period end by themselves, with --json as the engine wrote them', async () => {
      const since = await host.runOrThrow('date +%s.%N');
      await expectSuccess(user.docker('--context', 'web', 'run', '--rm', '--name', 'past', 'tools', 'echo', 'hi'));
      const end = await host.runOrThrow('date +%s.%N');
      const { stdout } = await expectSuccess(user.slipway('events', 'web', '--since', since, '--until', end, '--json'));
      const lines = stdout.trimEnd().split('\n');
      const documents = lines.map((line) => JSON.parse(line) as { machine: string; Action: string });
      expect(new Set(documents.map(({ machine }) => machine))).toEqual(new Set(['web']));
      expect(documents.map(({ Action }) => Action)).toEqual(
        expect.arrayContaining(['create', 'start', 'die', 'destroy']),
      );
      const fromDocker = await expectSuccess(
        user.docker('--context', 'web', 'events', '--since', since, '--until', end, '--format', '{{json .}}'),
      );
      // The docker CLI parses and rewrites events, so the test compares the contents.
      expect(documents).toMatchObject(
        fromDocker.stdout
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as object),
      );
    });

    test("are refused with the engine's words if no engine understands the filter", async () => {
      expect(await expectFailure(user.slipway('events', '--since', '10', '--until', '5'))).toMatchObject({
        status: 2,
        sentence: 'The engine does not understand the query for events',
        detail: [expect.stringContaining('cannot be after')],
      });
      // Engines ignore unknown filters.
      const { stderr } = await expectSuccess(user.slipway('events', '--filter', 'typ=container', '--until', '0s'));
      expect(stderr).toContain('Unknown filter "typ"');
    });

    test('end when their reader closes the pipe', async () => {
      const script = 'slipway events web --since 1h | head -n 1 | wc -l';
      let ended = false;
      const piped = expectSuccess(user.run('bash', ['--norc', '-c', script])).finally(() => {
        ended = true;
      });
      // As with every pipe, only the next write fails.
      await waitUntil('the command has ended', async () => {
        await expectSuccess(user.docker('--context', 'web', 'run', '--rm', 'tools', 'echo', 'hi'));
        return ended;
      });
      expect((await piped).stdout.trim()).toBe('1');
    });
  });

  test.skipIf(!hasProgram('sshfs') || !existsSync('/dev/fuse'))(
    'mounts a folder of the host, reconnects if the connection breaks, and unmounts it',
    async () => {
      const mountpoint = join(user.home, 'a, mount');
      await mkdir(mountpoint);
      await host.runOrThrow('mkdir -p "/srv/a, b"; echo far >"/srv/a, b/file"; chown -R deploy: /srv');
      await expectSuccess(user.slipway('mount', 'web:/srv/a, b', mountpoint));
      try {
        expect(await readFile(join(mountpoint, 'file'), 'utf8')).toBe('far\n');
        await writeFile(join(mountpoint, 'near'), 'near\n');
        expect(await host.runOrThrow('cat "/srv/a, b/near"; stat -c %U "/srv/a, b/near"')).toBe('near\ndeploy');
        expect((await expectFailure(user.slipway('mount', 'web:/srv', mountpoint))).sentence).toContain('is not empty');
        // A broken connection is opened again with the same pinned key.
        const before = await countLogins(host);
        await host.runOrThrow('pkill -u deploy sshd; echo anew >"/srv/a, b/anew"');
        await waitUntil('the mount is connected again', async () =>
          readFile(join(mountpoint, 'anew'), 'utf8').then(
            (text) => text === 'anew\n',
            () => false,
          ),
        );
        expect(await countLogins(host)).toBeGreaterThan(before);
      } finally {
        await expectSuccess(user.slipway('mount', '-u', mountpoint));
      }
      expect(await readdir(mountpoint)).toEqual([]);
    },
  );

  test('provision adds and removes the profile ssh-config, which does not exist by default', async () => {
    const config = join(user.home, '.ssh', 'config');
    const theirs = await readFile(config, 'utf8');
    expect(await readdir(join(user.home, '.ssh'))).toEqual(['config']);
    await expectSuccess(user.slipway('provision', 'web', '--profile', 'docker-context', '--profile', 'ssh-config'));
    expect(await readFile(config, 'utf8')).toBe(`Include ${join(user.home, '.ssh', 'slipway', '*.conf')}\n${theirs}`);
    const before = await countLogins(host);
    expect((await expectSuccess(ssh('web', 'whoami'))).stdout).toBe('deploy\n');
    expect((await expectSuccess(ssh('web', 'hostname'))).stderr).toBe('');
    // Both use one connection.
    expect((await countLogins(host)) - before).toBe(1);
    await expectSuccess(ssh('-O', 'exit', 'web'));
    // Another provision leaves it as it is.
    await expectSuccess(user.slipway('provision', 'web', '--engine-label', 'zone=a'));
    expect((await expectSuccess(ssh('web', 'true'))).code).toBe(0);
    await expectSuccess(ssh('-O', 'exit', 'web'));
    await expectSuccess(user.slipway('provision', 'web', '--profile', 'docker-context'));
    expect(await readFile(config, 'utf8')).toBe(theirs);
    expect((await user.slipway('provision', 'web', '--profile', 'nonsense')).code).toBe(2);
  });

  test("refuses a name that is a Host in the user's own ssh configuration before doing anything", async () => {
    await using other = await createUser();
    await mkdir(join(other.home, '.ssh'), { mode: 0o700 });
    await writeFile(join(other.home, '.ssh', 'config'), 'Host web\n  HostName example.com\n');
    const refused = await expectFailure(
      other.slipway('create', 'web', ...hostFlags(host), '--profile', 'docker-context', '--profile', 'ssh-config'),
    );
    expect(refused).toMatchObject({
      status: 3,
      sentence: expect.stringContaining('Host "web" already exists in your '),
    });
    await expectNothingLeft(other);
    expect(await readdir(join(other.home, '.ssh'))).toEqual(['config']);
  });

  // This test is last because it changes the host's key.
  test('the profile refuses a host that shows another key, and rm removes the profile', async () => {
    await expectSuccess(user.slipway('provision', 'web', '--profile', 'docker-context', '--profile', 'ssh-config'));
    await host.runOrThrow('rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh');
    const refused = await ssh('web', 'touch', '/tmp/reached');
    expect([refused.code, refused.stderr]).toEqual([255, expect.stringContaining('Host key verification failed')]);
    expect((await host.exec('test -e /tmp/reached')).code).toBe(1);
    await expectSuccess(user.slipway('rm', 'web', 'twin'));
    await expectNothingLeft(user);
    expect(await readFile(join(user.home, '.ssh', 'config'), 'utf8')).toBe('Host *\n  SendEnv NOTHING\n');
    expect(await readdir(join(user.home, '.ssh'))).toEqual(['config']);
  });
});
