import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cloud } from '../clouds/cloud.ts';
import { cloudUser, courseOf, createThatDies, instances, MOMENTS, type Death, type Provider } from './clouds.ts';
import { describeOnBed, ok, type User } from './slipway.ts';
import { expectAnswer, expectNothingLeft } from './trouble.ts';

type Row = { readonly point: string; readonly reached: boolean; readonly again: string; readonly undone: string };

/**
 * A create that is killed at each call to its provider and at each arrow of its own. The next create must end ready with exactly one
 * instance, and rm must leave nothing. The table of all points is printed.
 */
export function describeCloudDeaths({ driver, start }: Provider, late: (cloud: Cloud) => void): void {
  describeOnBed(`a create in ${driver} that is killed`, () => {
    let cloud: Cloud;
    let user: User;
    /** The same without hosts, which a create that is undone does not need. */
    let hollow: Cloud;
    let other: User;
    const rows: Row[] = [];
    beforeAll(async () => {
      [cloud, hollow] = await Promise.all([start('hosts'), start('nothing')]);
      for (const each of [cloud, hollow]) late(each);
      [user, other] = await Promise.all([cloudUser(cloud), cloudUser(hollow)]);
    });
    afterAll(async () => {
      const lines = rows.map(({ point, reached, again, undone }) =>
        [point.padEnd(64), reached ? 'killed' : 'ended ', again.padEnd(18), undone].join('  '),
      );
      process.stdout.write(`\n${driver}: ${rows.length} points\n${lines.join('\n')}\n`);
      for (const each of [user, other, cloud, hollow]) await each[Symbol.asyncDispose]();
    });

    const argv = ['web', '--driver', driver];

    /** Whatever exists of it goes. */
    async function undo(death: Death, point: string): Promise<void> {
      const [on, by] = 'call' in death ? [hollow, other] : [cloud, user];
      await createThatDies(by, on, death, argv);
      if ((await ok(by.slipway('ls', '-q'))).stdout.includes('web')) await ok(by.slipway('rm', 'web'));
      expect(on.alive(), `${point}, then rm`).toEqual([]);
      await expectNothingLeft(by);
    }

    /** The next create ends ready, with one instance. */
    async function finish(death: Death, point: string): Promise<boolean> {
      const reached = await createThatDies(user, cloud, death, argv);
      if (reached) await ok(user.slipway('create', ...argv));
      await expectAnswer(user, 'web');
      expect(instances(cloud), `${point}, then create`).toHaveLength(1);
      await ok(user.slipway('rm', 'web'));
      expect(cloud.alive(), `${point}, then create and rm`).toEqual([]);
      return reached;
    }

    async function die(death: Death, point: string): Promise<void> {
      const [reached] = await Promise.all([finish(death, point), ...('call' in death ? [undo(death, point)] : [])]);
      if (!('call' in death)) await undo(death, point);
      rows.push({ point, reached, again: 'ready, 1 instance', undone: 'nothing left' });
    }

    test('at each call to its provider, and at each arrow, is finished by the next one or undone by rm', async () => {
      const { steps, calls } = await courseOf(user, cloud, ['web', '--driver', driver]);
      await ok(user.slipway('rm', 'web'));
      for (const [at, { operation }] of calls.entries()) {
        for (const moment of MOMENTS) await die({ call: at + 1, moment }, `${at + 1} ${operation}: ${moment}`);
      }
      for (const step of new Set(steps)) {
        for (const moment of ['started', 'done'] as const) await die({ step, moment }, `step ${step}: ${moment}`);
      }
      // A point that most runs never come to would prove nothing.
      expect(rows.filter(({ reached }) => reached).length).toBeGreaterThan(rows.length * 0.8);
    }, 3_600_000);
  });
}
