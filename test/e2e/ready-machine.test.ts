import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { testEngine } from './engine-tests.ts';
import { countEngineStarts } from './inspect-host.ts';
import { loadToolsImage } from './tools-image.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

const hostVariants = [
  { suite: 'bookworm', engine: false },
  { suite: 'bookworm', engine: true },
  { suite: 'trixie', engine: false },
  { suite: 'trixie', engine: true },
] as const;

describeOnBed.for(hostVariants)('a ready machine on $suite (engine installed before: $engine)', ({ suite, engine }) => {
  let host: BedHost;
  let user: User;
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user.docker('--context', 'web', ...argv)).then(({ stdout }) => stdout.trim());

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite, engine }), createUser()]);
    await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), ...(engine ? [] : ['--engine-source', 'distro'])),
    );
    await loadToolsImage(user, 'web');
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test("reports the host's version and info, not the client's", async () => {
    expect(await docker('version', '--format', '{{.Server.Os}}')).toBe('linux');
    expect(await docker('info', '--format', '{{.Name}} {{json .SecurityOptions}}')).toMatch(
      `${await host.runOrThrow('hostname')} `,
    );
  });

  testEngine({
    user: () => user,
    context: 'web',
    fetchPublishedPage: async () => (await fetch(`http://${host.address}:8080/`)).text(),
  });

  test('started its engine once, or twice if the engine ran before', async () => {
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStarts(host)).toBe(engine ? 2 : 1);
    expect(await host.runOrThrow('systemctl is-enabled docker.service')).toBe('enabled');
  });

  test("answers on the engine's Unix socket for the host's own users", async () => {
    expect(await host.runOrThrow('curl -s --unix-socket /var/run/docker.sock http://localhost/_ping')).toBe('OK');
  });

  test('stores keys on the host in files that only root can read', async () => {
    const files = '/etc/docker/daemon.json /etc/docker/slipway/* /etc/systemd/system/docker.service.d/*';
    expect((await host.runOrThrow(`stat -c '%n %a %U:%G' ${files}`)).split('\n')).toEqual([
      '/etc/docker/daemon.json 644 root:root',
      '/etc/docker/slipway/ca.pem 644 root:root',
      '/etc/docker/slipway/server-cert.pem 644 root:root',
      '/etc/docker/slipway/server-key.pem 600 root:root',
      '/etc/docker/slipway/state.json 600 root:root',
      '/etc/systemd/system/docker.service.d/zz-slipway.conf 644 root:root',
    ]);
    expect(await host.runOrThrow('cat /etc/docker/slipway/*')).not.toContain(
      await readKeyLine(user, 'ca', 'ca-key.pem'),
    );
    // No temporary files of a step are left.
    expect(await host.runOrThrow('ls -A /run/slipway 2>/dev/null; ls -d /run/slipway.* 2>/dev/null || :')).toBe('');
    expect(await host.runOrThrow('find /etc -name "*.slipway-new"')).toBe('');
  });

  test('stores the client files so that only their user can read them', async () => {
    const store = await listFileModes(join(user.home, '.slipway'));
    expect(store.filter(({ folder, mode }) => mode !== (folder ? '700' : '600'))).toEqual([]);
    const names = store
      .filter(({ folder }) => !folder)
      .map(({ path }) =>
        path
          .split('/')
          .slice(-2)
          .join('/')
          .replace(/(lock)\.\d+$/, '$1'),
      );
    expect(names.toSorted()).toEqual([
      'ca/ca-key.pem',
      'server/cert.pem',
      'server/key.pem',
      'tls/ca.pem',
      'tls/cert.pem',
      'tls/key.pem',
      'web/known_hosts',
      'web/lock',
      'web/machine.json',
    ]);
    const context = await listFileModes(join(user.home, '.docker', 'contexts', 'tls'));
    expect(context.filter(({ folder }) => !folder).map(({ mode }) => mode)).toEqual(['600', '600', '600']);
    expect(context.filter(({ folder, mode }) => folder && mode !== '700')).toEqual([]);
  });
});

async function readKeyLine(user: User, ...path: readonly string[]): Promise<string> {
  const { stdout } = await expectSuccess(user.run('cat', [join(user.home, '.slipway', 'machines', 'web', ...path)]));
  return stdout.split('\n')[1] ?? '';
}

async function listFileModes(root: string): Promise<{ path: string; folder: boolean; mode: string }[]> {
  const paths = [root, ...(await readdir(root, { recursive: true })).map((name) => join(root, name))];
  return Promise.all(
    paths.map(async (path) => {
      const status = await lstat(path);
      return { path, folder: status.isDirectory(), mode: (status.mode & 0o777).toString(8) };
    }),
  );
}
