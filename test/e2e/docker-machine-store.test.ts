import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStarts } from './inspect-host.ts';
import { provisionAsDockerMachine } from './docker-machine-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

const bindDockerMachine =
  (user: User) =>
  (...argv: readonly string[]): Promise<Outcome> =>
    user.run(process.execPath, [join(user.home, 'bin', 'docker-machine'), ...argv]);

describeOnBed("a machine of Docker Machine, in Docker Machine's store", () => {
  let host: BedHost;
  let user: User;
  let folder: string;

  beforeAll(async () => {
    [host, user] = await Promise.all([startHost({ suite: 'trixie', engine: true }), createUser()]);
    const root = join(user.home, '.docker', 'machine');
    folder = join(root, 'machines', 'old');
    await provisionAsDockerMachine(host, 'old', root);
  });
  afterAll(async () => {
    await Promise.all([host[Symbol.asyncDispose](), user[Symbol.asyncDispose]()]);
  });

  test('works without changes, and its config.json is not rewritten', async () => {
    const runDockerMachine = bindDockerMachine(user);
    const before = await readFile(join(folder, 'config.json'), 'utf8');
    expect((await expectSuccess(runDockerMachine('ls', '-q'))).stdout).toBe('old\n');
    expect((await expectSuccess(runDockerMachine('url', 'old'))).stdout).toBe(`tcp://${host.address}:2376\n`);
    expect(
      (await expectSuccess(runDockerMachine('inspect', 'old', '-f', '{{.HostOptions.AuthOptions.StorePath}}'))).stdout,
    ).toBe(`${folder}\n`);
    const env = await expectSuccess(runDockerMachine('env', '--shell', 'bash', 'old'));
    const docker = await user.run('bash', ['-c', `${env.stdout}\ndocker version --format '{{.Server.Os}}'`]);
    expect(docker.stdout.trim()).toBe('linux');
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe(before);
  });

  test('shows its host key once, besides the output of the command, and pins it', async () => {
    const outcomes = await Promise.all(
      [1, 2, 3].map(async () => expectSuccess(bindDockerMachine(user)('ssh', 'old', 'echo hello'))),
    );
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(['hello\n', 'hello\n', 'hello\n']);
    // Of the concurrent commands, one pins the key for all.
    expect(outcomes.filter(({ stderr }) => stderr.includes('seen for the first time and now pinned'))).toHaveLength(1);
    expect((await expectSuccess(bindDockerMachine(user)('ssh', 'old', 'echo hello'))).stderr).toBe('');
  });

  test('keeps its CA when it is provisioned, so that all certificates of the store stay valid', async () => {
    const runDockerMachine = bindDockerMachine(user);
    const ca = await readFile(join(folder, '..', '..', 'certs', 'ca.pem'), 'utf8');
    const starts = await countEngineStarts(host);
    await expectSuccess(runDockerMachine('provision', 'old'));
    expect(await countEngineStarts(host)).toBe(starts + 1);
    expect(await readFile(join(folder, 'ca.pem'), 'utf8')).toBe(ca);
    const certs = join(folder, '..', '..', 'certs');
    const files = ['ca', 'cert', 'key'].map(
      (name) => `--tls${name === 'ca' ? 'cacert' : name}=${join(certs, `${name}.pem`)}`,
    );
    await expectSuccess(user.docker('--tlsverify', ...files, '-H', `tcp://${host.address}:2376`, 'version'));
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
    // Engine variables are written without their values.
    expect(JSON.stringify(config)).not.toContain('hunter2');
    expect(config).toMatchObject({
      ConfigVersion: 3,
      DriverName: 'generic',
      Driver: { IPAddress: host.address, SSHKeyPath: join(folder, 'bed_key') },
      HostOptions: { EngineOptions: { Env: ['HTTPS_PROXY'], Labels: ['team=web'] } },
    });
    await expectSuccess(runDockerMachine('provision', 'old'));
    expect(await countEngineStarts(host)).toBe(starts + 1);
  });

  test('is removed by rm', async () => {
    await expectSuccess(bindDockerMachine(user)('rm', '-y', 'old'));
    await expect(access(folder)).rejects.toThrow('ENOENT');
  });
});

describeOnBed('a machine of Slipway with the profile docker-machine', () => {
  test('can be used by docker-machine, but only Slipway can change or remove it', async () => {
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using user = await createUser();
    const runDockerMachine = bindDockerMachine(user);
    await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), '--profile', 'docker-context', '--profile', 'docker-machine'),
    );
    expect((await expectSuccess(runDockerMachine('ls', '-q'))).stdout).toBe('web\n');
    const config = await expectSuccess(runDockerMachine('config', 'web'));
    const flags = config.stdout
      .trim()
      .split('\n')
      .map((line) => line.replaceAll('"', ''));
    await expectSuccess(user.docker(...flags, 'version'));
    expect((await expectSuccess(runDockerMachine('ssh', 'web', 'echo hello'))).stdout).toBe('hello\n');
    for (const command of [['rm', '-y'], ['provision']]) {
      const refused = await runDockerMachine(...command, 'web');
      expect([command, refused.code]).toEqual([command, 1]);
      expect(refused.stderr).toContain('slipway');
    }
    expect((await user.slipway('import', 'web')).stderr).toContain('Machine "web" belongs to Slipway already');
    await expectSuccess(user.slipway('rm', 'web'));
    expect((await expectSuccess(runDockerMachine('ls', '-q'))).stdout).toBe('');
  });
});
