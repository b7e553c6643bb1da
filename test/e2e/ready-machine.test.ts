import { cp, lstat, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bedCache, startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStartAttempts, loadToolsImage } from './host-engine.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type User } from './test-user.ts';

const hostVariants = [
  { suite: 'bookworm', engine: false },
  { suite: 'bookworm', engine: true },
  { suite: 'trixie', engine: false },
  { suite: 'trixie', engine: true },
] as const;

describeOnBed.for(hostVariants)('a ready machine on $suite (engine there before: $engine)', ({ suite, engine }) => {
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

  test("version and info speak of the host, not of the client's computer", async () => {
    expect(await docker('version', '--format', '{{.Server.Os}}')).toBe('linux');
    expect(await docker('info', '--format', '{{.Name}} {{json .SecurityOptions}}')).toMatch(
      `${await host.runOrThrow('hostname')} `,
    );
  });

  test('a container runs, takes commands, logs and shows its port', async () => {
    const served = 'mkdir /www; echo served >/www/index.html; echo started; exec httpd -f -p 80 -h /www';
    await docker('run', '--detach', '--name', 'site', '--publish', '8080:80', 'tools', 'sh', '-c', served);
    expect(await docker('exec', 'site', 'sh', '-c', 'echo "in $1"', 'sh', 'here')).toBe('in here');
    expect(await docker('logs', 'site')).toBe('started');
    expect(await docker('port', 'site')).toContain('80/tcp -> 0.0.0.0:8080');
    const page = await fetch(`http://${host.address}:8080/`);
    expect(await page.text()).toBe('served\n');
    expect((await user.docker('--context', 'web', 'run', '--rm', 'tools', 'sh', '-c', 'exit 42')).code).toBe(42);
    await docker('rm', '--force', 'site');
  });

  test.for([
    { how: 'the classic builder', argv: ['build'], env: { DOCKER_BUILDKIT: '0' } },
    { how: 'Buildx', argv: ['buildx', 'build', '--load'], env: { DOCKER_BUILDKIT: '1' } },
  ])('a Dockerfile is built by $how', async ({ argv, env }) => {
    const folder = join(user.home, 'build');
    await mkdir(folder, { recursive: true });
    await cp(bedCache.busybox, join(folder, 'busybox'));
    const steps = [
      'FROM scratch',
      'COPY busybox /bin/sh',
      'RUN echo built >/made',
      'CMD ["/bin/sh", "-c", "while read -r line; do echo $line; done </made"]',
    ];
    await writeFile(join(folder, 'Dockerfile'), `${steps.join('\n')}\n`);
    await expectSuccess(
      user.run('docker', ['--context', 'web', ...argv, '--no-cache', '--tag', 'made', folder], { env }),
    );
    expect(await docker('run', '--rm', 'made')).toBe('built');
    await docker('image', 'rm', 'made');
  });

  test('a Compose stack goes up, its services find each other, and it goes down', async () => {
    const file = join(user.home, 'compose.yaml');
    const services = {
      page: { image: 'tools', command: ['sh', '-c', 'mkdir /www; echo found >/www/index.html; exec httpd -f -h /www'] },
      asker: {
        image: 'tools',
        depends_on: ['page'],
        command: ['sh', '-c', 'until wget -q -O - http://page/; do sleep 0.1; done; exec sleep 1000'],
        init: true,
      },
    };
    await writeFile(file, JSON.stringify({ name: 'stack', services }));
    const compose = (...argv: readonly string[]): Promise<string> => docker('compose', '--file', file, ...argv);
    await compose('up', '--detach');
    await expect.poll(() => compose('logs', '--no-log-prefix', 'asker'), { timeout: 60_000 }).toContain('found');
    expect(await compose('ps', '--services')).toBe('asker\npage');
    await compose('down', '--timeout', '1');
    expect(await docker('ps', '--all', '--quiet')).toBe('');
    expect(await docker('network', 'ls', '--quiet', '--filter', 'name=stack')).toBe('');
  });

  test('the engine started once for it, and once more in all only where it ran before', async () => {
    await expectSuccess(user.slipway('provision', 'web'));
    expect(await countEngineStartAttempts(host)).toBe(engine ? 2 : 1);
    expect(await host.runOrThrow('systemctl is-enabled docker.service')).toBe('enabled');
  });

  test("the engine still answers on its Unix socket, for the host's own users", async () => {
    expect(await host.runOrThrow('curl -s --unix-socket /var/run/docker.sock http://localhost/_ping')).toBe('OK');
  });

  test('the host keeps its keys for root alone', async () => {
    const files = '/etc/docker/daemon.json /etc/docker/slipway/* /etc/systemd/system/docker.service.d/*';
    expect((await host.runOrThrow(`stat -c '%n %a %U:%G' ${files}`)).split('\n')).toEqual([
      '/etc/docker/daemon.json 644 root:root',
      '/etc/docker/slipway/ca.pem 644 root:root',
      '/etc/docker/slipway/server-cert.pem 644 root:root',
      '/etc/docker/slipway/server-key.pem 600 root:root',
      '/etc/docker/slipway/state.json 600 root:root',
      '/etc/systemd/system/docker.service.d/50-slipway.conf 644 root:root',
    ]);
    expect(await host.runOrThrow('cat /etc/docker/slipway/*')).not.toContain(
      await readKeyLine(user, 'ca', 'ca-key.pem'),
    );
    // What a step used on its way is gone.
    expect(await host.runOrThrow('ls -A /run/slipway 2>/dev/null; ls -d /run/slipway.* 2>/dev/null || :')).toBe('');
    expect(await host.runOrThrow('find /etc -name "*.slipway-new"')).toBe('');
  });

  test('the client keeps what it knows for its own user alone', async () => {
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
