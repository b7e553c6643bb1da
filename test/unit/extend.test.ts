import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Driver, DriverManifest } from '../../src/drivers/contract.ts';
import { createMachine } from '../../src/operations/create.ts';
import { extendMachine, type DeadlineExtension } from '../../src/operations/extend.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { killMachine, startMachine, stopMachine } from '../../src/operations/power.ts';
import { getStatusDetails, getStatus } from '../../src/operations/status.ts';
import type { World } from '../../src/operations/world.ts';
import type { LifetimeSpec, MachineSpec } from '../../src/machine/model.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

const registered = vi.hoisted(() => ({ drivers: [] as Driver[] }));
vi.mock('../../src/drivers/registry.ts', async (original) => {
  const index = await original<typeof import('../../src/drivers/registry.ts')>();
  const find = (name: string): Driver | undefined => registered.drivers.find((driver) => driver.name === name);
  const getDriver = (name: string): DriverManifest => find(name) ?? index.getDriver(name);
  const loadDriver = async (name: string): Promise<Driver> => find(name) ?? (await index.loadDriver(name));
  return { ...index, drivers: registered.drivers, getDriver, loadDriver };
});

beforeEach(() => {
  registered.drivers.length = 0;
});

const DEADLINE_TIMER = '/etc/systemd/system/slipway-deadline.timer';
const IDLE_TIMER = '/etc/systemd/system/slipway-idle.timer';

/** A local machine, its host in memory, and a clock that only the test moves. */
async function startLocalMachine(lifetime: LifetimeSpec | undefined) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost({ engine: true });
  const local = fakeLocalMachine(host);
  registered.drivers.push(local.driver);
  let now = new Date('2026-11-24T10:00:00Z');
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, { connect: host.connect, now: () => now, ...more });
  const named = specNamed('web', { driver: 'local', options: {}, ...(lifetime === undefined ? {} : { lifetime }) });
  const spec: MachineSpec = { ...named, engine: { ...named.engine, port: host.port } };
  return {
    host,
    local,
    spec,
    world,
    at: (time: string) => {
      now = new Date(`2026-11-24T${time}:00Z`);
    },
    /** When the host itself will end, as it stands in its own timer. */
    ends: (): string | undefined =>
      host.files.get(DEADLINE_TIMER)?.content.match(/OnCalendar=2026-11-24 (..:..):00 UTC\nA?.*OnBoot/)?.[1],
    record: async () => world().store.read('web'),
    extend: async (more: string, of: World = world()) =>
      extendMachine('web', (more === 'never' ? more : { time: more }) satisfies DeadlineExtension, of),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

describe('a machine with a deadline', () => {
  test('is told of before it is made, and holds it from its first start on, without a visit', async () => {
    await using all = await startLocalMachine({ ttl: '4h', idleStop: '30m' });
    const progress = recordingProgress();
    const ready = await createMachine(all.spec, all.world({ progress }));
    expect(ready).toMatchObject({ deadline: '2026-11-24T14:00:00.000Z', onShutdown: 'stopped' });
    expect(await all.record()).toEqual(ready);
    expect(progress.notes).toEqual([
      'Machine "web" stops at 2026-11-24 14:00 UTC, or once it has been idle for 30m: its disk stays',
    ]);
    expect([all.ends(), all.host.files.has(IDLE_TIMER), all.host.expectedHostKeys]).toEqual(['14:00', true, []]);
    await provisionMachine('web', (spec) => spec, all.world());
    expect([all.host.executions, all.host.engineStarts()]).toEqual([['facts.sh'], 1]);
  });

  test('counts it anew with each create that has not finished, and lays that one', async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    const dying = all.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(all.spec, dying)).rejects.toBe(KILLED);
    all.at('11:00');
    expect((await createMachine(all.spec, all.world())).deadline).toBe('2026-11-24T15:00:00.000Z');
    expect(all.ends()).toBe('15:00');
  });

  test('is refused where its driver has no host of ours, or would remove what was to be kept', async () => {
    await using all = await startLocalMachine({ ttl: '4h', idleStop: '30m' });
    all.local.onShutdown = 'removed';
    expect(await catchRejection(createMachine(all.spec, all.world()))).toMatchObject({ code: 'USAGE' });
    expect(await all.world().store.listNames()).toEqual([]);
    const none = { ...all.spec, driver: 'none', options: { url: 'unix:///x.sock' } };
    expect(await catchRejection(createMachine(none, all.world()))).toMatchObject({ code: 'DRIVER_UNSUPPORTED' });
    const ready = await createMachine({ ...all.spec, lifetime: { ttl: '4h' } }, all.world());
    expect(ready.onShutdown).toBe('removed');
    const idle = provisionMachine('web', (spec) => ({ ...spec, lifetime: { ttl: '4h', idleStop: '1h' } }), all.world());
    expect(await catchRejection(idle)).toMatchObject({ code: 'USAGE' });
  });

  test('that another run did not finish telling its host of keeps what its host holds', async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    await createMachine(all.spec, all.world());
    all.at('11:00');
    const dying = all.world({ progress: recordingProgress({ when: 'before', id: 'verify' }) });
    const change = (spec: MachineSpec): MachineSpec => ({ ...spec, lifetime: { ttl: '1h' } });
    await expect(provisionMachine('web', change, dying)).rejects.toBe(KILLED);
    expect(all.ends()).toBe('12:00');
    expect(await all.record()).toMatchObject({
      deadline: '2026-11-24T12:00:00.000Z',
      spec: { lifetime: { ttl: '1h' } },
    });
  });
});

describe('extend', () => {
  test('moves the deadline of a machine that runs by one connection, and leaves its engine alone', async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    await createMachine(all.spec, all.world());
    const progress = recordingProgress();
    const { machine, hostUpdated } = await all.extend('2h', all.world({ progress }));
    expect([machine.deadline, hostUpdated, all.ends()]).toEqual(['2026-11-24T16:00:00.000Z', true, '16:00']);
    expect(progress.ids).toEqual(['connect', 'facts', 'life']);
    expect([all.host.expectedHostKeys.length, all.host.executions, all.host.engineStarts()]).toEqual([
      1,
      ['facts.sh', 'life.sh'],
      1,
    ]);
    expect(await all.record()).toEqual(machine);
  });

  test('counts from now where there was none, and takes it away by "never"', async () => {
    await using all = await startLocalMachine({ idleStop: '30m' });
    await createMachine(all.spec, all.world());
    expect(all.ends()).toBeUndefined();
    await all.extend('90m');
    expect(all.ends()).toBe('11:30');
    const { machine } = await all.extend('never');
    expect([machine.deadline, all.ends(), machine.spec.lifetime]).toEqual([undefined, undefined, { idleStop: '30m' }]);
    expect(all.host.files.has(IDLE_TIMER)).toBe(true);
  });

  test('of one that is stopped is told to it by its next start, which its old deadline would have refused', async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    await createMachine(all.spec, all.world());
    await stopMachine('web', 1, all.world());
    all.at('15:00');
    expect(await getStatus(await all.record(), all.world(), 1)).toMatchObject({
      state: 'stopped',
      trouble: expect.stringContaining('ended at its deadline 2026-11-24 14:00 UTC; to continue:') as string,
    });
    expect(await catchRejection(startMachine('web', all.world()))).toMatchObject({
      code: 'MACHINE_ENDED',
      hint: expect.stringContaining('slipway extend web 2h') as string,
    });
    expect(await all.extend('2h')).toMatchObject({ hostUpdated: false, machine: { deadlinePending: true } });
    expect(all.host.expectedHostKeys).toEqual([]);
    const started = await startMachine('web', all.world());
    expect([started.deadline, started.deadlinePending, all.ends()]).toEqual([
      '2026-11-24T17:00:00.000Z',
      undefined,
      '17:00',
    ]);
    expect((await all.record()).deadlinePending).toBeUndefined();
    expect(all.host.engineStarts(), 'once for each boot').toBe(2);
  });

  test("lays it by the host's own clock where that is ahead, and says so", async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    await createMachine(all.spec, all.world());
    all.host.clockSeconds = Date.parse('2026-11-24T13:00:00Z') / 1000;
    const progress = recordingProgress();
    const { machine } = await all.extend('2h', all.world({ progress }));
    expect([machine.deadline, all.ends()]).toEqual(['2026-11-24T16:00:00.000Z', '19:01']);
    const note =
      "The clock of 127.0.0.1 is 3 h ahead of this computer's: it is powered off once it shows 2026-11-24 19:01 UTC";
    expect(progress.notes).toEqual([note]);
  });

  test('of one whose host was provisioned as another machine since is refused', async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    await createMachine(all.spec, all.world());
    const state = '/etc/docker/slipway/state.json';
    all.host.files.set(state, { mode: '600', content: JSON.stringify({ id: 'x', name: 'other' }) });
    expect(await catchRejection(all.extend('2h'))).toMatchObject({ code: 'MACHINE_NOT_READY' });
    expect([all.ends(), (await all.record()).deadline]).toEqual(['14:00', '2026-11-24T14:00:00.000Z']);
  });
});

describe('a machine that is gone since its deadline', () => {
  test("is said to have ended, can't be extended, and is removed without a word", async () => {
    await using all = await startLocalMachine({ ttl: '4h' });
    all.local.onShutdown = 'removed';
    const progress = recordingProgress();
    await createMachine(all.spec, all.world({ progress }));
    expect(progress.notes).toEqual(['Machine "web" ends at 2026-11-24 14:00 UTC: local then removes it with its disk']);
    await killMachine('web', all.world());
    all.local.vanish();
    expect(await getStatus(await all.record(), all.world(), 1)).toMatchObject({ state: 'missing' });
    all.at('14:01');
    expect(await getStatus(await all.record(), all.world(), 1)).toMatchObject({
      state: 'ended',
      trouble: 'ended at its deadline 2026-11-24 14:00 UTC',
    });
    expect(await catchRejection(all.extend('2h'))).toMatchObject({ code: 'MACHINE_ENDED' });
    const quiet = recordingProgress();
    await removeMachine('web', { deprovision: false, force: false }, all.world({ progress: quiet }));
    expect([quiet.notes, await all.world().store.listNames()]).toEqual([[], []]);
  });
});

describe('the figures of a machine', () => {
  test('name what could not be asked, and are there all the same', async () => {
    await using all = await startLocalMachine(undefined);
    const machine = await createMachine(all.spec, all.world());
    expect(await getStatusDetails(machine, all.world(), 1)).toMatchObject({
      engine: { Containers: 3, ContainersRunning: 1 },
      host: { uptime: 7200, cpus: 2, disk: { free: 2048, total: 4096, mount: '/' } },
      errors: [],
    });
    const deaf = all.world({ connect: async () => new Promise(() => {}) });
    const silent = { ...machine, host: { ...machine.host, ssh: undefined, engine: { url: 'tcp://x:1' } } };
    expect((await getStatusDetails(silent as never, deaf, 1)).errors).toEqual([
      'host: the driver local has no SSH access',
    ]);
    await all.host.halt();
    const { engine, errors } = await getStatusDetails(machine, all.world(), 1);
    expect([engine, errors]).toEqual([undefined, [expect.stringMatching(/^engine: /)]]);
  });
});
