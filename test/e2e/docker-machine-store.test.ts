import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startHost, type BedHost } from '../bed/bed-host.ts';
import { countEngineStartAttempts } from './host-engine.ts';
import { provisionAsDockerMachine } from './docker-machine-host.ts';
import { hostFlags, describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

const dockerMachineFor =
  (user: User) =>
  (...argv: readonly string[]): Promise<Outcome> =>
    user.run(process.execPath, [join(user.home, 'bin', 'docker-machine'), ...argv]);

describeOnBed('a machine of the old tool, in its own store', () => {
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

  test('is used as it is, and nothing of it is written', async () => {
    const machine = dockerMachineFor(user);
    const before = await readFile(join(folder, 'config.json'), 'utf8');
    expect((await expectSuccess(machine('ls', '-q'))).stdout).toBe('old\n');
    expect((await expectSuccess(machine('url', 'old'))).stdout).toBe(`tcp://${host.address}:2376\n`);
    expect(
      (await expectSuccess(machine('inspect', 'old', '-f', '{{.HostOptions.AuthOptions.StorePath}}'))).stdout,
    ).toBe(`${folder}\n`);
    const env = await expectSuccess(machine('env', '--shell', 'bash', 'old'));
    const docker = await user.run('bash', ['-c', `${env.stdout}\ndocker version --format '{{.Server.Os}}'`]);
    expect(docker.stdout.trim()).toBe('linux');
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toBe(before);
  });

  test('shows its host key beside what a command prints, and pins it', async () => {
    const first = await Promise.all(
      [1, 2, 3].map(async () => expectSuccess(dockerMachineFor(user)('ssh', 'old', 'echo hello'))),
    );
    expect(first.map(({ stdout }) => stdout)).toEqual(['hello\n', 'hello\n', 'hello\n']);
    // One of those that come at once meets the host for all.
    expect(first.filter(({ stderr }) => stderr.includes('seen for the first time and now pinned'))).toHaveLength(1);
    expect((await expectSuccess(dockerMachineFor(user)('ssh', 'old', 'echo hello'))).stderr).toBe('');
  });

  test('keeps its authority when it is provisioned, so that every certificate of the store goes on being good', async () => {
    const machine = dockerMachineFor(user);
    const authority = await readFile(join(folder, '..', '..', 'certs', 'ca.pem'), 'utf8');
    const starts = await countEngineStartAttempts(host);
    await expectSuccess(machine('provision', 'old'));
    expect(await countEngineStartAttempts(host)).toBe(starts + 1);
    expect(await readFile(join(folder, 'ca.pem'), 'utf8')).toBe(authority);
    const certs = join(folder, '..', '..', 'certs');
    const files = ['ca', 'cert', 'key'].map(
      (name) => `--tls${name === 'ca' ? 'cacert' : name}=${join(certs, `${name}.pem`)}`,
    );
    await expectSuccess(user.docker('--tlsverify', ...files, '-H', `tcp://${host.address}:2376`, 'version'));
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>;
    // Of the engine's variables, names alone.
    expect(JSON.stringify(config)).not.toContain('hunter2');
    expect(config).toMatchObject({
      ConfigVersion: 3,
      DriverName: 'generic',
      Driver: { IPAddress: host.address, SSHKeyPath: join(folder, 'bed_key') },
      HostOptions: { EngineOptions: { Env: ['HTTPS_PROXY'], Labels: ['team=web'] } },
    });
    await expectSuccess(machine('provision', 'old'));
    expect(await countEngineStartAttempts(host)).toBe(starts + 1);
  });

  test('is removed', async () => {
    await expectSuccess(dockerMachineFor(user)('rm', '-y', 'old'));
    await expect(access(folder)).rejects.toThrow('ENOENT');
  });
});

describeOnBed('a machine of Slipway with the profile docker-machine', () => {
  test('is seen and used by docker-machine, which leaves its keeping to Slipway', async () => {
    await using host = await startHost({ suite: 'trixie', engine: true });
    await using user = await createUser();
    const machine = dockerMachineFor(user);
    await expectSuccess(
      user.slipway('create', 'web', ...hostFlags(host), '--profile', 'docker-context', '--profile', 'docker-machine'),
    );
    expect((await expectSuccess(machine('ls', '-q'))).stdout).toBe('web\n');
    const config = await expectSuccess(machine('config', 'web'));
    const flags = config.stdout
      .trim()
      .split('\n')
      .map((line) => line.replaceAll('"', ''));
    await expectSuccess(user.docker(...flags, 'version'));
    expect((await expectSuccess(machine('ssh', 'web', 'echo hello'))).stdout).toBe('hello\n');
    for (const verb of [['rm', '-y'], ['provision']]) {
      const refused = await machine(...verb, 'web');
      expect([verb, refused.code]).toEqual([verb, 1]);
      expect(refused.stderr).toContain('slipway');
    }
    expect((await user.slipway('import', 'web')).stderr).toContain('Machine "web" belongs to Slipway already');
    await expectSuccess(user.slipway('rm', 'web'));
    expect((await expectSuccess(machine('ls', '-q'))).stdout).toBe('');
  });
});
