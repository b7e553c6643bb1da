import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeOnBed, newUser, ok, type Outcome, type User } from './slipway.ts';

describeOnBed('docker machine', () => {
  let user: User;
  let settings: string;

  // Settings of its own: those of the other users share a folder of plugins.
  const asUser = (program: string, ...argv: readonly string[]): Promise<Outcome> =>
    user.run(program, argv, { env: { DOCKER_CONFIG: settings } });

  beforeAll(async () => {
    user = await newUser();
    settings = join(user.home, 'settings');
  });
  afterAll(async () => user[Symbol.asyncDispose]());

  test('is no command of the docker CLI before doctor --fix --yes, and one from then on', async () => {
    const before = await asUser('docker', 'machine', 'version');
    expect(before.code).not.toBe(0);
    await ok(asUser('slipway', 'doctor', '--fix', '--yes'));
    const { stdout } = await ok(asUser('docker', 'machine', 'version'));
    expect(stdout).toBe((await ok(asUser('docker-machine', 'version'))).stdout);
    expect((await ok(asUser('docker', '--help'))).stdout).toMatch(/^ +machine\* +Create and manage machines/m);
  });

  test('takes the flags of docker-machine, and is gone with the link', async () => {
    await ok(asUser('docker', 'machine', 'create', '-d', 'none', '--url', 'tcp://192.0.2.1:2376', 'far'));
    expect((await ok(asUser('docker', 'machine', 'ls', '-q'))).stdout).toBe('far\n');
    await ok(asUser('rm', join(settings, 'cli-plugins', 'docker-machine')));
    expect((await asUser('docker', 'machine', 'ls')).code).not.toBe(0);
  });
});
