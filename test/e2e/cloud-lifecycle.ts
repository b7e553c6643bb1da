import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cloud } from '../clouds/cloud.ts';
import { createCloudUser, expectNoCredential, aliveInstances, type CloudProvider } from './cloud-provider.ts';
import { describeOnBed, expectSuccess, type Outcome, type User } from './test-user.ts';
import { expectEngineAnswer, expectNothingLeft, readRecord, expectFailure } from './assertions.ts';

/** Defines the tests for a machine's life in any cloud, from create to rm. */
export function describeCloudLifecycle(provider: CloudProvider): void {
  const { driver, start } = provider;
  describeOnBed(`a machine in ${driver}`, () => {
    let cloud: Cloud;
    let user: User;
    const outcomes: Outcome[] = [];
    const slipway = async (...argv: readonly string[]): Promise<Outcome> => {
      const outcome = await user.slipway(...argv);
      outcomes.push(outcome);
      return outcome;
    };
    beforeAll(async () => {
      cloud = await start('with hosts');
      user = await createCloudUser(cloud);
    });
    afterAll(async () => {
      await user[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    });

    test('is created by one command, and the docker CLI is connected to it', async () => {
      await expectSuccess(slipway('create', 'web', '--driver', driver, '--debug'));
      await expectEngineAnswer(user, 'web');
      expect(aliveInstances(cloud)).toHaveLength(1);
      expect((await expectSuccess(slipway('ls'))).stdout).toMatch(new RegExp(`web +${driver} +running`));
      expect(
        (
          await expectSuccess(slipway('ssh', 'web', 'sudo', 'docker', 'version', '--format', '{{.Server.Os}}'))
        ).stdout.trim(),
      ).toBe('linux');
    });

    test("carries Slipway's tags on every resource from its creation", async () => {
      const { spec } = await readRecord(user, 'web');
      for (const { kind, id, tags } of cloud.listAlive())
        expect({ kind, id, tags }).toMatchObject({ tags: { 'slipway-id': spec.id, 'slipway-name': 'web' } });
    });

    test('has a host key that its user data never contained', async () => {
      const { host } = await readRecord(user, 'web');
      const sentParameters = JSON.stringify(cloud.calls.map(({ params }) => params));
      expect(host?.ssh?.hostKey).toMatch(/^ssh-ed25519 /);
      expect(sentParameters).not.toContain(host?.ssh?.hostKey?.split(' ')[1]);
    });

    test('has nothing to do on a second provision', async () => {
      await expectSuccess(slipway('provision', 'web'));
      expect((await expectSuccess(slipway('provision', 'web', '--dry-run'))).stdout.trim()).toBe('web: nothing to do');
    });

    test('refuses another region or zone than its own', async () => {
      const { status, sentence } = await expectFailure(slipway('provision', 'web', ...provider.otherPlace));
      expect([status, sentence]).toEqual([2, expect.stringContaining('are fixed at creation')]);
    });

    test('stops, and starts at another address with matching certificate and profiles', async () => {
      const before = await readRecord(user, 'web');
      await expectSuccess(slipway('stop', 'web'));
      expect((await slipway('status', 'web')).stdout).toContain('stopped');
      await expectSuccess(slipway('start', 'web'));
      const after = await readRecord(user, 'web');
      expect(after.host?.address).not.toBe(before.host?.address);
      expect(after.endpoint?.url).toContain(after.host?.address);
      await expectEngineAnswer(user, 'web');
    });

    test('is removed without a trace, and a second rm says that it does not exist', async () => {
      await expectSuccess(slipway('rm', 'web'));
      expect(cloud.listAlive()).toEqual([]);
      await expectNothingLeft(user);
      expect((await expectFailure(slipway('rm', 'web'))).status).toBe(3);
      await expectNoCredential(user, cloud, provider, outcomes);
    });

    test('is found by gc when no record knows it, and removed with --yes', async () => {
      await expectSuccess(slipway('create', 'lost', '--driver', driver));
      await expectSuccess(user.run('rm', ['-rf', `${user.home}/.slipway/machines/lost`]));
      const { found } = JSON.parse(
        (await expectSuccess(slipway('gc', '--driver', driver, '--json'))).stdout.trim().split('\n').at(-1) ?? '',
      ).result as { found: { kind: string; name: string; monthly: number | null; state: string }[] };
      expect(found.find(({ kind }) => kind === 'instance')).toMatchObject({ name: 'lost', state: expect.any(String) });
      expect(found.find(({ kind }) => kind === 'instance')?.monthly).toBeGreaterThan(1);
      expect(aliveInstances(cloud)).toHaveLength(1);
      await expectSuccess(slipway('gc', '--driver', driver, '--yes'));
      expect(cloud.listAlive()).toEqual([]);
      expect((await expectSuccess(slipway('gc', '--driver', driver))).stdout.trim()).toBe(
        'No orphaned resources found',
      );
    });

    test('interrupted by Ctrl-C makes no further call, says what exists, and can be undone', async () => {
      const { process: child, ended } = user.start('create', 'half', '--driver', driver);
      cloud.onArrival = async ({ operation }) => {
        if (provider.createOperation.test(operation)) child.kill('SIGINT');
        return undefined;
      };
      const { status, sentence, hint } = await expectFailure(ended);
      cloud.onArrival = () => undefined;
      expect(status).toBe(130);
      expect(sentence).toContain(`machine "half" is incomplete; ${driver} was asked for its instance`);
      expect(hint).toBe('To continue: slipway create half. To undo: slipway rm half');
      await expectSuccess(slipway('rm', 'half'));
      expect(cloud.listAlive()).toEqual([]);
    });

    test('is created from a file by one call, needs no call on a second apply, and is changed in place', async () => {
      const formatFile = (team: string): string =>
        JSON.stringify({
          machines: {
            pair: {
              count: 2,
              driver,
              [driver]: { [provider.tags.option]: [`team=${team}`] },
            },
          },
        });
      const apply = async (team: string): Promise<readonly string[]> => {
        const base = cloud.calls.length;
        await writeFile(join(user.home, 'machines.yaml'), formatFile(team));
        await expectSuccess(user.run('slipway', ['apply'], { cwd: user.home }));
        return cloud.calls
          .slice(base)
          .filter(({ mutates }) => mutates)
          .map(({ operation }) => operation);
      };
      expect((await apply('web')).filter((name) => provider.createOperation.test(name))).toHaveLength(1);
      const base = cloud.calls.length;
      expect(await apply('web')).toEqual([]);
      expect(cloud.calls.length).toBe(base);
      expect(await apply('db')).toEqual(expect.arrayContaining([expect.stringMatching(provider.tags.operation)]));
      expect(aliveInstances(cloud).map(({ tags }) => tags.team)).toEqual(['db', 'db']);
      await expectSuccess(slipway('rm', 'pair-1', 'pair-2'));
      expect(cloud.listAlive()).toEqual([]);
    });

    test('is created three times by one call', async () => {
      const base = cloud.calls.length;
      await expectSuccess(slipway('create', 'many', '--count', '3', '--driver', driver));
      const createCalls = cloud.calls.slice(base).filter(({ operation }) => provider.createOperation.test(operation));
      expect(createCalls).toHaveLength(1);
      expect(aliveInstances(cloud)).toHaveLength(3);
      for (const name of ['many-1', 'many-2', 'many-3']) await expectEngineAnswer(user, name);
      const hostKeys = await Promise.all(
        ['many-1', 'many-2', 'many-3'].map(async (name) => (await readRecord(user, name)).host?.ssh?.hostKey),
      );
      expect(new Set(hostKeys).size).toBe(3);
      await expectSuccess(slipway('rm', 'many-2'));
      expect(aliveInstances(cloud)).toHaveLength(2);
      await expectEngineAnswer(user, 'many-3');
      await expectSuccess(slipway('rm', 'many-1', 'many-3'));
      expect(cloud.listAlive()).toEqual([]);
    });
  });
}
