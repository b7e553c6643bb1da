import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bedCache } from '../bed/bed-host.ts';
import { expectSuccess, type User } from './test-user.ts';

/** A ready machine as these tests see it: from the client, through the docker context that Slipway wrote. */
export type EngineUnderTest = {
  /** Called when a test runs: `beforeAll` creates the user. */
  readonly user: () => User;
  readonly context: string;
  /** The body of a page that a container publishes on the machine's port 8080. */
  readonly fetchPublishedPage: () => Promise<string>;
};

/** Defines the tests that every engine passes, on a server and in a VM alike. The container image `tools` is loaded. */
export function testEngine({ user, context, fetchPublishedPage }: EngineUnderTest): void {
  const docker = (...argv: readonly string[]): Promise<string> =>
    expectSuccess(user().docker('--context', context, ...argv)).then(({ stdout }) => stdout.trim());

  test('runs a container, executes commands in it, and shows its logs, port and exit status', async () => {
    const script = 'mkdir /www; echo served >/www/index.html; echo started; exec httpd -f -p 80 -h /www';
    await docker('run', '--detach', '--name', 'site', '--publish', '8080:80', 'tools', 'sh', '-c', script);
    expect(await docker('exec', 'site', 'sh', '-c', 'echo "in $1"', 'sh', 'here')).toBe('in here');
    expect(await docker('logs', 'site')).toBe('started');
    expect(await docker('port', 'site')).toContain('80/tcp -> 0.0.0.0:8080');
    expect((await fetchPublishedPage()).trimEnd()).toBe('served');
    const exit = await user().docker('--context', context, 'run', '--rm', 'tools', 'sh', '-c', 'exit 42');
    expect(exit.code).toBe(42);
    await docker('rm', '--force', 'site');
  });

  test.for([
    { builder: 'the classic builder', argv: ['build'], env: { DOCKER_BUILDKIT: '0' } },
    { builder: 'Buildx', argv: ['buildx', 'build', '--load'], env: { DOCKER_BUILDKIT: '1' } },
  ])('builds a Dockerfile with $builder', async ({ argv, env }) => {
    const folder = join(user().home, 'build');
    await mkdir(folder, { recursive: true });
    await cp(bedCache.busybox, join(folder, 'busybox'));
    const steps = [
      'FROM scratch',
      'COPY busybox /bin/sh',
      'RUN echo built >/made',
      'CMD ["/bin/sh", "-c", "read -r line </made; echo $line"]',
    ];
    await writeFile(join(folder, 'Dockerfile'), `${steps.join('\n')}\n`);
    const build = ['--context', context, ...argv, '--no-cache', '--tag', 'made', folder];
    await expectSuccess(user().run('docker', build, { env }));
    expect(await docker('run', '--rm', 'made')).toBe('built');
    await docker('image', 'rm', 'made');
  });

  test('brings a Compose stack up, lets its services find each other, and takes it down', async () => {
    const file = join(user().home, 'compose.yaml');
    const page = 'mkdir /www; echo found >/www/index.html; exec httpd -f -h /www';
    const asker = 'until wget -q -O - http://page/; do sleep 0.1; done; exec sleep 1000';
    const services = {
      page: { image: 'tools', command: ['sh', '-c', page] },
      asker: { image: 'tools', depends_on: ['page'], command: ['sh', '-c', asker], init: true },
    };
    await writeFile(file, JSON.stringify({ name: 'stack', services }));
    const compose = (...argv: readonly string[]): Promise<string> => docker('compose', '--file', file, ...argv);
    await compose('up', '--detach');
    await expect.poll(() => compose('logs', '--no-log-prefix', 'asker'), { timeout: 120_000 }).toContain('found');
    expect(await compose('ps', '--services')).toBe('asker\npage');
    await compose('down', '--timeout', '1');
    expect(await docker('ps', '--all', '--quiet')).toBe('');
    expect(await docker('network', 'ls', '--quiet', '--filter', 'name=stack')).toBe('');
  });
}
