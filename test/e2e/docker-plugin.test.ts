import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeOnBed, createUser, expectSuccess, type Outcome, type User } from './test-user.ts';

describeOnBed('docker machine', () => {
  let user: User;
  let settings: string;

  // This user needs its own settings: the other users share a plugin folder.
  const asUser = (program: string, ...argv: readonly string[]): Promise<Outcome> =>
    user.run(program, argv, { env: { DOCKER_CONFIG: settings } });

  beforeAll(async () => {
    user = await createUser();
    settings = join(user.home, 'settings');
  });
  afterAll(async () => user[Symbol.asyncDispose]());

  test('is a command of the docker CLI after doctor --fix --yes, and not before', async () => {
    const before = await asUser('docker', 'machine', 'version');
    expect(before.code).not.toBe(0);
    await expectSuccess(asUser('slipway', 'doctor', '--fix', '--yes'));
    const { stdout } = await expectSuccess(asUser('docker', 'machine', 'version'));
    expect(stdout).toBe((await expectSuccess(asUser('docker-machine', 'version'))).stdout);
    expect((await expectSuccess(asUser('docker', '--help'))).stdout).toMatch(
      /^ +machine\* +Create and manage machines/m,
    );
  });

  test('accepts the flags of docker-machine, and is gone with the link', async () => {
    await expectSuccess(asUser('docker', 'machine', 'create', '-d', 'none', '--url', 'tcp://192.0.2.1:2376', 'far'));
    expect((await expectSuccess(asUser('docker', 'machine', 'ls', '-q'))).stdout).toBe('far\n');
    await expectSuccess(asUser('rm', join(settings, 'cli-plugins', 'docker-machine')));
    expect((await asUser('docker', 'machine', 'ls')).code).not.toBe(0);
  });
});
