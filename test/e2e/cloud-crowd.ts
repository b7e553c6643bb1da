import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cloud } from '../clouds/cloud.ts';
import { cloudUser, instances, type Provider } from './clouds.ts';
import { describeOnBed, ok, type User } from './slipway.ts';
import { expectAnswer, trouble } from './trouble.ts';

const CROWD = 20;

/** Many creates at once, in a cloud that is asked too often: each ends ready or says why, and none leaves anything. */
export function describeCloudCrowd({ driver, start, throttled }: Provider): void {
  describeOnBed(`${CROWD} creates at once in ${driver}, every fourth of their calls refused`, () => {
    let cloud: Cloud;
    let user: User;
    beforeAll(async () => {
      cloud = await start('hosts');
      user = await cloudUser(cloud);
    });
    afterAll(async () => {
      await user[Symbol.asyncDispose]();
      await cloud[Symbol.asyncDispose]();
    });

    test('end ready or tell why, and rm leaves nothing', async () => {
      cloud.onArrival = ({ n }) => (n % 4 === 0 ? throttled : undefined);
      const names = Array.from({ length: CROWD }, (_, at) => `web-${at + 1}`);
      const outcomes = await Promise.all(names.map(async (name) => user.slipway('create', name, '--driver', driver)));
      const ready = names.filter((_, at) => outcomes[at]?.code === 0);
      for (const name of ready) await expectAnswer(user, name);
      for (const outcome of outcomes.filter(({ code }) => code !== 0))
        expect((await trouble(outcome)).sentence).not.toBe('');
      // What waits and asks again gets through: hardly one is turned away for good.
      expect(ready.length).toBeGreaterThanOrEqual(CROWD - 2);
      expect(instances(cloud).length).toBeLessThanOrEqual(CROWD);
      await ok(user.slipway('rm', ...(await ok(user.slipway('ls', '-q'))).stdout.trim().split('\n')));
      expect(cloud.alive()).toEqual([]);
    }, 1_800_000);
  });
}
