import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cloud } from '../clouds/cloud.ts';
import { createCloudUser, aliveInstances, type CloudProvider } from './cloud-provider.ts';
import { describeOnBed, expectSuccess, type User } from './test-user.ts';
import { expectEngineAnswer, expectFailure } from './assertions.ts';

const CONCURRENT_CREATES = 20;

/** Defines tests of many creates at once in a cloud that throttles: each ends ready or says why not, and none leaks. */
export function describeConcurrentCreates({ driver, start, throttlingFault }: CloudProvider): void {
  describeOnBed(`${CONCURRENT_CREATES} creates at once in ${driver} that refuses every fourth call`, () => {
    let cloud: Cloud;
    let user: User;
    beforeAll(async () => {
      cloud = await start('with hosts');
      user = await createCloudUser(cloud);
    });
    afterAll(async () => {
      await user[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    });

    test('end ready or say why not, and rm leaves nothing', async () => {
      cloud.onArrival = ({ n }) => (n % 4 === 0 ? throttlingFault : undefined);
      const names = Array.from({ length: CONCURRENT_CREATES }, (_, at) => `web-${at + 1}`);
      const outcomes = await Promise.all(names.map(async (name) => user.slipway('create', name, '--driver', driver)));
      const ready = names.filter((_, at) => outcomes[at]?.code === 0);
      for (const name of ready) await expectEngineAnswer(user, name);
      for (const outcome of outcomes.filter(({ code }) => code !== 0))
        expect((await expectFailure(outcome)).sentence).not.toBe('');
      // Retries succeed: hardly any create fails.
      expect(ready.length).toBeGreaterThanOrEqual(CONCURRENT_CREATES - 2);
      expect(aliveInstances(cloud).length).toBeLessThanOrEqual(CONCURRENT_CREATES);
      await expectSuccess(
        user.slipway('rm', ...(await expectSuccess(user.slipway('ls', '-q'))).stdout.trim().split('\n')),
      );
      expect(cloud.listAlive()).toEqual([]);
    }, 1_800_000);
  });
}
