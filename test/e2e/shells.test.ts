import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

describeOnBed("the user's own docker CLI", () => {
  let host: BedHost;
  let user: User;
  /** The name of the engine on the host; the engine on this computer has another name. */
  let engineOnHost: string;
  /** The store's folder: a path that needs quoting in every shell. */
  let store: Readonly<Record<string, string>>;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    store = { SLIPWAY_HOME: join(user.home, String.raw`it's $HOME; "a" \ 100% !x`) };
    await expectSuccess(slipway('create', 'web', ...hostFlags(host)));
    engineOnHost = await host.runOrThrow('hostname');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  const slipway = (...argv: readonly string[]): Promise<Outcome> => user.slipwayWith({ env: store }, ...argv);
  const runInShell = async (
    name: string,
    script: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<string[]> => {
    const { stdout } = await expectSuccess(
      user.run(name, ['-c', script], { env: { ...store, SHELL: `/usr/bin/${name}`, ...env } }),
    );
    return stdout.trim().split('\n');
  };
  const engineName = "docker info --format '{{.Name}}'";
  /** Creates a second machine with the same engine, without a host of its own. */
  const createWithSameEngine = (name: string, ...flags: readonly string[]): Promise<Outcome> => {
    const tls = ['ca', 'cert', 'key'].flatMap((file) => [
      `--none-tls-${file}`,
      join(store.SLIPWAY_HOME ?? '', 'machines', 'web', 'tls', `${file}.pem`),
    ]);
    return slipway('create', name, '--driver', 'none', '--none-url', `tcp://${host.address}:2376`, ...tls, ...flags);
  };

  describe('env', () => {
    test.for([
      { name: 'bash', evaluate: 'eval "$(slipway env web)"', unset: 'eval "$(slipway env --unset)"' },
      { name: 'zsh', evaluate: 'eval "$(slipway env web)"', unset: 'eval "$(slipway env -u)"' },
      {
        name: 'dash',
        evaluate: 'eval "$(slipway env web --shell sh)"',
        unset: 'eval "$(slipway env --unset --shell sh)"',
      },
      { name: 'fish', evaluate: 'slipway env web | source', unset: 'slipway env --unset | source' },
    ])('connects $name to the machine, and --unset undoes it', async ({ name, evaluate, unset }) => {
      const script = [evaluate, 'docker ps --quiet', engineName, 'echo $DOCKER_MACHINE_NAME', unset, engineName, 'env'];
      const [engineDuring, machine, engineAfter, ...variables] = await runInShell(name, script.join('; '));
      expect([engineDuring, machine]).toEqual([engineOnHost, 'web']);
      expect(engineAfter).not.toBe(engineOnHost);
      expect(variables.filter((line) => line.startsWith('DOCKER_'))).toEqual([]);
    });

    test.for(['bash', 'zsh', 'fish'])('prints what to type in %s as its last line', async (name) => {
      const { stdout } = await expectSuccess(user.slipwayWith({ env: { ...store, SHELL: name } }, 'env', 'web'));
      const command = stdout.trim().split('\n').at(-1)?.replace(/^# */, '') ?? '';
      expect(await runInShell(name, `${command}; ${engineName}`)).toEqual([engineOnHost]);
    });

    test.for([
      ['powershell', "$Env:DOCKER_HOST = 'tcp://ADDRESS:2376'", 'it\'\'s $HOME; "a"'],
      ['pwsh', "$Env:DOCKER_TLS_VERIFY = '1'", 'it\'\'s $HOME; "a"'],
      ['cmd', 'SET "DOCKER_HOST=tcp://ADDRESS:2376"', 'SET "DOCKER_CERT_PATH='],
      ['tcsh', "setenv DOCKER_HOST 'tcp://ADDRESS:2376';", String.raw`it'\''s $HOME; "a" \ 100% \!x`],
      ['emacs', '(setenv "DOCKER_HOST" "tcp://ADDRESS:2376")', String.raw`it's $HOME; \"a\" \\ 100% !x`],
      ['nu', '$env.DOCKER_HOST = "tcp://ADDRESS:2376"', String.raw`it's $HOME; \"a\" \\ 100% !x`],
    ] as const)('is printed in the syntax of %s', async ([name, line, path]) => {
      const { stdout } = await expectSuccess(slipway('env', 'web', '--shell', name));
      expect(stdout.split('\n')).toContain(line.replace('ADDRESS', host.address));
      expect(stdout).toContain(path);
      const { stdout: unsetLines } = await expectSuccess(slipway('env', '--unset', '--shell', name));
      expect(unsetLines).toContain('DOCKER_HOST');
      expect(unsetLines).not.toContain(host.address);
    });

    test('overrides a DOCKER_CONTEXT that is set, and sets none otherwise', async () => {
      const context = { DOCKER_CONTEXT: 'default' };
      expect(
        await runInShell('bash', `eval "$(slipway env web)"; ${engineName}; docker compose ls -q`, context),
      ).toEqual([engineOnHost]);
      expect((await expectSuccess(slipway('env', 'web'))).stdout).not.toContain('DOCKER_CONTEXT');
      expect((await expectSuccess(user.slipwayWith({ env: { ...store, ...context } }, 'env', 'web'))).stdout).toContain(
        'unset DOCKER_CONTEXT',
      );
    });

    test('--no-proxy adds the address to the proxy exceptions', async () => {
      const script =
        'eval "$(slipway env web --no-proxy)"; echo $no_proxy; eval "$(slipway env web --no-proxy)"; echo $no_proxy';
      const expected = `localhost,${host.address}`;
      expect(await runInShell('bash', script, { no_proxy: 'localhost' })).toEqual([expected, expected]);
    });

    test('--json prints the settings for programs', async () => {
      expect(JSON.parse((await expectSuccess(slipway('env', 'web', '--json'))).stdout)).toEqual({
        DOCKER_TLS_VERIFY: '1',
        DOCKER_HOST: `tcp://${host.address}:2376`,
        DOCKER_CERT_PATH: join(store.SLIPWAY_HOME ?? '', 'machines', 'web', 'tls'),
        DOCKER_MACHINE_NAME: 'web',
      });
    });
  });

  describe('use', () => {
    const readCurrentContext = async (): Promise<string> =>
      (await expectSuccess(user.docker('context', 'show'))).stdout.trim();
    const config = (): string => join(user.home, '.docker', 'config.json');

    test("switches the docker CLI's context and back, and keeps its other settings", async () => {
      const userSettings = { HttpHeaders: { 'X-Theirs': 'stays' }, psFormat: 'table {{.ID}}' };
      await writeFile(config(), JSON.stringify(userSettings), { mode: 0o640 });
      expect(await readCurrentContext()).toBe('default');
      await expectSuccess(slipway('use', 'web'));
      expect(await readCurrentContext()).toBe('web');
      expect(await runInShell('bash', engineName)).toEqual([engineOnHost]);
      expect((await expectSuccess(slipway('ls'))).stdout).toMatch(/^web +\* /m);
      await expectSuccess(slipway('use', '--unset'));
      expect(await readCurrentContext()).toBe('default');
      expect(JSON.parse(await readFile(config(), 'utf8'))).toEqual(userSettings);
      expect(((await stat(config())).mode & 0o777).toString(8)).toBe('640');
    });

    test('says when a variable of the shell overrides it', async () => {
      const env = { ...store, DOCKER_HOST: 'unix:///var/run/docker.sock' };
      const { stderr } = await expectSuccess(user.slipwayWith({ env }, 'use', 'web'));
      expect(stderr).toContain('DOCKER_HOST is set in this shell and overrides the current context');
      expect(await runInShell('bash', engineName, env)).not.toEqual([engineOnHost]);
      await expectSuccess(slipway('use', '--unset'));
    });

    test('create --use makes the new machine current, and rm of the current machine switches to the default', async () => {
      await expectSuccess(createWithSameEngine('second', '--use'));
      expect(await readCurrentContext()).toBe('second');
      await expectSuccess(createWithSameEngine('third'));
      expect(await readCurrentContext()).toBe('second');
      await expectSuccess(slipway('rm', 'third'));
      expect(await readCurrentContext()).toBe('second');
      const { stdout } = await expectSuccess(slipway('rm', 'second'));
      expect(stdout).toContain("The docker CLI's current context is the default again");
      expect(await readCurrentContext()).toBe('default');
      expect(await runInShell('bash', engineName)).not.toEqual([engineOnHost]);
    });
  });

  describe('names of machines and contexts', () => {
    test('a machine named "default" has a context with another name, because the docker CLI uses that name', async () => {
      const { stdout } = await expectSuccess(createWithSameEngine('default', '--use'));
      expect(stdout).toContain('docker --context slipway-default ps');
      expect(await runInShell('bash', `docker context show; ${engineName}`)).toEqual(['slipway-default', engineOnHost]);
      expect((await expectSuccess(slipway('ls'))).stdout).toMatch(/^default +\* /m);
      expect(await runInShell('bash', `eval "$(slipway env default)"; ${engineName}`)).toEqual([engineOnHost]);
      await expectSuccess(slipway('rm', 'default'));
      expect(await runInShell('bash', 'docker context ls --quiet')).toEqual(['default', 'web']);
    });

    test.for(['a', '1', 'A.b-c.', `x${'-'.repeat(61)}y`])('the docker CLI accepts a machine named %s', async (name) => {
      const { stdout } = await expectSuccess(createWithSameEngine(name));
      const context = /docker --context (\S+) ps/.exec(stdout)?.[1] ?? '';
      const script = [
        `docker --context ${context} info --format '{{.Name}}'`,
        `docker context use ${context}`,
        engineName,
        'docker compose ls --quiet',
        'docker buildx ls --format "{{.Name}}" | sort -u',
        'docker context use default',
      ];
      const answers = await runInShell('bash', script.map((line) => `${line} || echo failed`).join('; '));
      expect(answers).not.toContain('failed');
      expect(answers.slice(0, 3)).toEqual([engineOnHost, context, engineOnHost]);
      expect(answers).toContain(context);
      await expectSuccess(slipway('rm', name));
    });

    test('a foreign docker context is neither overwritten nor removed', async () => {
      await expectSuccess(user.docker('context', 'create', 'theirs', '--docker', 'host=tcp://192.0.2.1:2375'));
      const refused = await createWithSameEngine('theirs');
      expect(refused.code).toBe(3);
      expect(refused.stderr).toContain('The docker context "theirs" already exists');
      expect((await slipway('rm', 'theirs')).code).toBe(3);
      const { stdout } = await expectSuccess(
        user.docker('context', 'inspect', 'theirs', '--format', '{{.Endpoints.docker.Host}}'),
      );
      expect(stdout.trim()).toBe('tcp://192.0.2.1:2375');
    });
  });
});
