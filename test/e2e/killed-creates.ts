import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cloud, CloudCall } from '../clouds/cloud.ts';
import {
  createCloudUser,
  traceCreate,
  runCreateUntilKilled,
  aliveInstances,
  KILL_MOMENTS,
  type KillPoint,
  type CloudProvider,
} from './cloud-provider.ts';
import { describeOnBed, expectSuccess, type User } from './test-user.ts';
import { expectEngineAnswer, expectNothingLeft } from './assertions.ts';

type NamedKillPoint = { readonly name: string; readonly killPoint: KillPoint };
type KillResult = {
  readonly point: string;
  readonly reached: boolean;
  readonly afterCreate: string;
  readonly afterRemove: string;
};

/** Separate clouds and users, to try several points at once. */
type TestLane = {
  readonly cloud: Cloud;
  readonly user: User;
  /** The same without hosts, which a create does not need until it connects. */
  readonly hostlessCloud: Cloud;
  readonly hostlessUser: User;
};

/** A create mostly waits for hosts to boot. */
const LANE_COUNT = 3;

/** The step with which a create leaves its provider and connects to the host. */
const CONNECT_STEP = 'connect';

/**
 * Defines the tests of a create that is killed at each call to its provider and at each checkpoint. The next create
 * must end ready with exactly one instance, and rm must leave nothing. Prints a table of all kill points.
 *
 * All calls come before the host is needed. So of each call's moments, only the one at which nobody knows whether the
 * call had an effect boots a host for the next create; at the others, that create has to reach its one instance.
 */
export function describeKilledCreates({ driver, start }: CloudProvider, delayLists: (cloud: Cloud) => void): void {
  describeOnBed(`a create in ${driver} that is killed`, () => {
    const lanes: TestLane[] = [];
    const rows = new Map<string, KillResult>();
    let points: readonly NamedKillPoint[] = [];
    let steps: readonly string[] = [];

    async function openLane(): Promise<TestLane> {
      const [cloud, hostlessCloud] = await Promise.all([start('with hosts'), start('without hosts')]);
      for (const each of [cloud, hostlessCloud]) delayLists(each);
      const [user, hostlessUser] = await Promise.all([createCloudUser(cloud), createCloudUser(hostlessCloud)]);
      return { cloud, user, hostlessCloud, hostlessUser };
    }

    beforeAll(async () => {
      lanes.push(...(await Promise.all(Array.from({ length: LANE_COUNT }, openLane))));
    });
    afterAll(async () => {
      const lines = points.map(({ name }) => {
        const { reached, afterCreate, afterRemove } = rows.get(name) ?? {
          reached: false,
          afterCreate: 'not proven',
          afterRemove: '',
        };
        return [name.padEnd(64), reached ? 'killed' : 'ended ', afterCreate.padEnd(21), afterRemove].join('  ');
      });
      process.stdout.write(`\n${driver}: ${points.length} points\n${lines.join('\n')}\n`);
      for (const { user, hostlessUser, cloud, hostlessCloud } of lanes)
        for (const each of [user, hostlessUser, cloud, hostlessCloud]) await each[Symbol.asyncDispose]();
    });

    const argv = ['web', '--driver', driver];

    /** Kills a create there, removes whatever exists of the machine, and expects nothing left. */
    async function expectRemoved({ killPoint, name }: NamedKillPoint, cloud: Cloud, user: User): Promise<void> {
      await runCreateUntilKilled(user, cloud, killPoint, argv);
      if ((await expectSuccess(user.slipway('ls', '-q'))).stdout.includes('web'))
        await expectSuccess(user.slipway('rm', 'web'));
      else await removeStaleLock(user, 'web');
      expect(cloud.listAlive(), `${name}, then rm`).toEqual([]);
      await expectNothingLeft(user);
    }

    /** Kills a create there, and expects the next one to end ready with one instance. Returns whether it was killed. */
    async function expectCompleted({ killPoint, name }: NamedKillPoint, { cloud, user }: TestLane): Promise<boolean> {
      const reached = await runCreateUntilKilled(user, cloud, killPoint, argv);
      if (reached) await createAgain(user);
      await expectEngineAnswer(user, 'web');
      expect(aliveInstances(cloud), `${name}, then create`).toHaveLength(1);
      await expectSuccess(user.slipway('rm', 'web'));
      expect(cloud.listAlive(), `${name}, then create and rm`).toEqual([]);
      return reached;
    }

    /** Kills a create there, and expects the next one to connect to its one instance. Returns whether it was killed. */
    async function expectConnecting(
      point: NamedKillPoint,
      { hostlessCloud, hostlessUser }: TestLane,
    ): Promise<boolean> {
      const { killPoint, name } = point;
      const reached = await runCreateUntilKilled(hostlessUser, hostlessCloud, killPoint, argv);
      const connects = { step: CONNECT_STEP, moment: 'started' } as const;
      expect(await runCreateUntilKilled(hostlessUser, hostlessCloud, connects, argv), `${name}, then create`).toBe(
        true,
      );
      expect(aliveInstances(hostlessCloud), `${name}, then create`).toHaveLength(1);
      await expectSuccess(hostlessUser.slipway('rm', 'web'));
      expect(hostlessCloud.listAlive(), `${name}, then create and rm`).toEqual([]);
      return reached;
    }

    /** Runs the create again. A create that was killed at its very end is ready already, and says so. */
    async function createAgain(user: User): Promise<void> {
      const outcome = await user.slipway('create', ...argv);
      if (outcome.code !== 0) expect(outcome.stderr).toContain('✗ Machine "web" already exists');
    }

    async function tryKillPoint(point: NamedKillPoint, lane: TestLane): Promise<void> {
      const isReady = !('call' in point.killPoint) || point.killPoint.moment === 'after it is sent';
      const complete = isReady ? expectCompleted(point, lane) : expectConnecting(point, lane);
      const [cloud, user] = needsHost(point.killPoint)
        ? [lane.cloud, lane.user]
        : [lane.hostlessCloud, lane.hostlessUser];
      // Two creates at once need two clouds.
      if ((cloud === lane.cloud) === isReady) await complete;
      const [reached] = await Promise.all([complete, expectRemoved(point, cloud, user)]);
      rows.set(point.name, {
        point: point.name,
        reached,
        afterCreate: isReady ? 'ready, 1 instance' : 'connects, 1 instance',
        afterRemove: 'nothing left',
      });
    }

    /** Returns whether a create that is killed there has connected to its host. */
    function needsHost(killPoint: KillPoint): boolean {
      if ('call' in killPoint) return false;
      const [at, connecting] = [steps.indexOf(killPoint.step), steps.indexOf(CONNECT_STEP)];
      return at > connecting || (at === connecting && killPoint.moment === 'done');
    }

    /** Tries all kill points, as many at once as there are lanes; the first failure stops them all. */
    async function tryAllKillPoints(all: readonly NamedKillPoint[]): Promise<void> {
      const queue = [...all];
      const work = async (lane: TestLane): Promise<void> => {
        for (let point = queue.shift(); point; point = queue.shift()) {
          await tryKillPoint(point, lane).catch((error: unknown) => {
            queue.length = 0;
            throw error;
          });
        }
      };
      const results = await Promise.allSettled(lanes.map(work));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }

    test('at each call to its provider and at each checkpoint is completed by the next create, or undone by rm', async () => {
      const [first] = lanes;
      if (!first) throw new Error('there are lanes');
      const trace = await traceCreate(first.user, first.cloud, argv);
      steps = [...new Set(trace.steps)];
      expect(steps).toContain(CONNECT_STEP);
      await expectSuccess(first.user.slipway('rm', 'web'));
      points = [
        ...killableCalls(trace.calls).flatMap(({ at, operation }) =>
          KILL_MOMENTS.map((moment): NamedKillPoint => ({
            name: `${at} ${operation}: ${moment}`,
            killPoint: { call: at, moment },
          })),
        ),
        ...steps.flatMap((step) =>
          (['started', 'done'] as const).map((moment): NamedKillPoint => ({
            name: `step ${step}: ${moment}`,
            killPoint: { step, moment },
          })),
        ),
      ];
      await tryAllKillPoints(points);
      // A kill point that is not reached proves nothing.
      expect([...rows.values()].filter(({ reached }) => reached).length).toBeGreaterThan(points.length * 0.8);
    }, 3_600_000);
  });
}

/** Removes the lock that a create may leave if it was killed before it wrote the record. It blocks no other command. */
async function removeStaleLock({ home }: User, machine: string): Promise<void> {
  const folder = join(home, '.slipway', 'machines', machine);
  const files = await readdir(folder).catch(() => []);
  expect(files.filter((file) => !/^lock\.\d+$/.test(file))).toEqual([]);
  await rm(folder, { recursive: true, force: true });
}

/**
 * Selects points by their place in the create. Of a request that is repeated until its answer fits, the first two
 * represent all.
 */
function killableCalls(calls: readonly CloudCall[]): readonly { readonly at: number; readonly operation: string }[] {
  return calls.flatMap(({ operation, mutates }, index) => {
    const asks = calls.slice(Math.max(0, index - 2), index).filter((call) => call.operation === operation);
    return !mutates && asks.length === 2 ? [] : [{ at: index + 1, operation }];
  });
}
