import { describe, expect, test, vi } from 'vitest';
import { createMachine } from '../../src/operations/create.ts';
import { extendMachine, type DeadlineExtension } from '../../src/operations/extend.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { killMachine, startMachine, stopMachine } from '../../src/operations/power.ts';
import { getStatusDetails, getStatus } from '../../src/operations/status.ts';
import type { World } from '../../src/operations/world.ts';
import type { LifetimeSpec, MachineSpec } from '../../src/machine/model.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'registered drivers'),
);

const DEADLINE_TIMER = '/etc/systemd/system/slipway-deadline.timer';
const IDLE_TIMER = '/etc/systemd/system/slipway-idle.timer';

/** Starts a host in memory for a local machine, with a clock that only the test moves. */
async function startLocalMachine(lifetime: LifetimeSpec | undefined) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost({ engine: true });
  const local = fakeLocalMachine(host);
  registeredDrivers.push(local.driver);
  let now = new Date('2026-11-24T10:00:00Z');
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, { connect: host.connect, now: () => now, ...more });
  const baseSpec = specNamed('web', { driver: 'local', options: {}, ...(lifetime === undefined ? {} : { lifetime }) });
  const spec: MachineSpec = { ...baseSpec, engine: { ...baseSpec.engine, port: host.port } };
  return {
    host,
    local,
    spec,
    world,
    setTime: (time: string) => {
      now = new Date(`2026-11-24T${time}:00Z`);
    },
    /** The time at which the host's own timer powers it off. */
    readHostDeadline: (): string | undefined =>
      host.files.get(DEADLINE_TIMER)?.content.match(/OnCalendar=2026-11-24 (..:..):00 UTC\nA?.*OnBoot/)?.[1],
    readRecord: async () => world().store.read('web'),
    extend: async (more: string, extendWorld: World = world()) =>
      extendMachine('web', (more === 'never' ? more : { time: more }) satisfies DeadlineExtension, extendWorld),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

describe('a machine with a deadline', () => {
  test('announces it before it is created, and has its timer from the first boot on, without an SSH connection', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h', idleStop: '30m' });
    const progress = recordingProgress();
    const ready = await createMachine(fixture.spec, fixture.world({ progress }));
    expect(ready).toMatchObject({ deadline: '2026-11-24T14:00:00.000Z', onShutdown: 'stopped' });
    expect(await fixture.readRecord()).toEqual(ready);
    expect(progress.notes).toEqual([
      'Machine "web" stops at 2026-11-24 14:00 UTC, or once it has been idle for 30m: its disk stays',
    ]);
    expect([fixture.readHostDeadline(), fixture.host.files.has(IDLE_TIMER), fixture.host.expectedHostKeys]).toEqual([
      '14:00',
      true,
      [],
    ]);
    await provisionMachine('web', (spec) => spec, fixture.world());
    expect([fixture.host.executions, fixture.host.engineStarts()]).toEqual([['facts.sh'], 1]);
  });

  test('counts it from the last create, after earlier ones were interrupted', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    const killedWorld = fixture.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(fixture.spec, killedWorld)).rejects.toBe(KILLED);
    fixture.setTime('11:00');
    expect((await createMachine(fixture.spec, fixture.world())).deadline).toBe('2026-11-24T15:00:00.000Z');
    expect(fixture.readHostDeadline()).toBe('15:00');
  });

  test("is refused if its driver can't end it, or would remove a machine that must only stop", async () => {
    await using fixture = await startLocalMachine({ ttl: '4h', idleStop: '30m' });
    fixture.local.onShutdown = 'removed';
    expect(await catchRejection(createMachine(fixture.spec, fixture.world()))).toMatchObject({ code: 'USAGE' });
    expect(await fixture.world().store.listNames()).toEqual([]);
    const none = { ...fixture.spec, driver: 'none', options: { url: 'unix:///x.sock' } };
    expect(await catchRejection(createMachine(none, fixture.world()))).toMatchObject({ code: 'DRIVER_UNSUPPORTED' });
    const ready = await createMachine({ ...fixture.spec, lifetime: { ttl: '4h' } }, fixture.world());
    expect(ready.onShutdown).toBe('removed');
    const idle = provisionMachine(
      'web',
      (spec) => ({ ...spec, lifetime: { ttl: '4h', idleStop: '1h' } }),
      fixture.world(),
    );
    expect(await catchRejection(idle)).toMatchObject({ code: 'USAGE' });
  });

  test('records the deadline that its host has, even if the provision was interrupted', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    await createMachine(fixture.spec, fixture.world());
    fixture.setTime('11:00');
    const killedWorld = fixture.world({ progress: recordingProgress({ when: 'before', id: 'verify' }) });
    const change = (spec: MachineSpec): MachineSpec => ({ ...spec, lifetime: { ttl: '1h' } });
    await expect(provisionMachine('web', change, killedWorld)).rejects.toBe(KILLED);
    expect(fixture.readHostDeadline()).toBe('12:00');
    expect(await fixture.readRecord()).toMatchObject({
      deadline: '2026-11-24T12:00:00.000Z',
      spec: { lifetime: { ttl: '1h' } },
    });
  });
});

describe('extend', () => {
  test('moves the deadline of a running machine over one connection, without touching its engine', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    await createMachine(fixture.spec, fixture.world());
    const progress = recordingProgress();
    const { machine, hostUpdated } = await fixture.extend('2h', fixture.world({ progress }));
    expect([machine.deadline, hostUpdated, fixture.readHostDeadline()]).toEqual([
      '2026-11-24T16:00:00.000Z',
      true,
      '16:00',
    ]);
    expect(progress.ids).toEqual(['connect', 'facts', 'life']);
    expect([fixture.host.expectedHostKeys.length, fixture.host.executions, fixture.host.engineStarts()]).toEqual([
      1,
      ['facts.sh', 'life.sh'],
      1,
    ]);
    expect(await fixture.readRecord()).toEqual(machine);
  });

  test('counts from now if there was no deadline, and removes it with "never"', async () => {
    await using fixture = await startLocalMachine({ idleStop: '30m' });
    await createMachine(fixture.spec, fixture.world());
    expect(fixture.readHostDeadline()).toBeUndefined();
    await fixture.extend('90m');
    expect(fixture.readHostDeadline()).toBe('11:30');
    const { machine } = await fixture.extend('never');
    expect([machine.deadline, fixture.readHostDeadline(), machine.spec.lifetime]).toEqual([
      undefined,
      undefined,
      { idleStop: '30m' },
    ]);
    expect(fixture.host.files.has(IDLE_TIMER)).toBe(true);
  });

  test('of a stopped machine takes effect at its next start, which was refused after its old deadline', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    await createMachine(fixture.spec, fixture.world());
    await stopMachine('web', 1, fixture.world());
    fixture.setTime('15:00');
    expect(await getStatus(await fixture.readRecord(), fixture.world(), 1)).toMatchObject({
      state: 'stopped',
      trouble: expect.stringContaining('ended at its deadline 2026-11-24 14:00 UTC; to continue:') as string,
    });
    expect(await catchRejection(startMachine('web', fixture.world()))).toMatchObject({
      code: 'MACHINE_ENDED',
      hint: expect.stringContaining('slipway extend web 2h') as string,
    });
    expect(await fixture.extend('2h')).toMatchObject({ hostUpdated: false, machine: { deadlinePending: true } });
    expect(fixture.host.expectedHostKeys).toEqual([]);
    const started = await startMachine('web', fixture.world());
    expect([started.deadline, started.deadlinePending, fixture.readHostDeadline()]).toEqual([
      '2026-11-24T17:00:00.000Z',
      undefined,
      '17:00',
    ]);
    expect((await fixture.readRecord()).deadlinePending).toBeUndefined();
    expect(fixture.host.engineStarts(), 'once for each boot').toBe(2);
  });

  test("uses the host's clock if it is ahead, and says so", async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    await createMachine(fixture.spec, fixture.world());
    fixture.host.clockSeconds = Date.parse('2026-11-24T13:00:00Z') / 1000;
    const progress = recordingProgress();
    const { machine } = await fixture.extend('2h', fixture.world({ progress }));
    expect([machine.deadline, fixture.readHostDeadline()]).toEqual(['2026-11-24T16:00:00.000Z', '19:01']);
    const note =
      "The clock of 127.0.0.1 is 3 h ahead of this computer's: it is powered off once it shows 2026-11-24 19:01 UTC";
    expect(progress.notes).toEqual([note]);
  });

  test('refuses a machine whose host belongs to another machine now', async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    await createMachine(fixture.spec, fixture.world());
    const state = '/etc/docker/slipway/state.json';
    fixture.host.files.set(state, { mode: '600', content: JSON.stringify({ id: 'x', name: 'other' }) });
    expect(await catchRejection(fixture.extend('2h'))).toMatchObject({ code: 'MACHINE_NOT_READY' });
    expect([fixture.readHostDeadline(), (await fixture.readRecord()).deadline]).toEqual([
      '14:00',
      '2026-11-24T14:00:00.000Z',
    ]);
  });
});

describe('a machine that was removed at its deadline', () => {
  test("is shown as ended, can't be extended, and is removed by rm without a note", async () => {
    await using fixture = await startLocalMachine({ ttl: '4h' });
    fixture.local.onShutdown = 'removed';
    const progress = recordingProgress();
    await createMachine(fixture.spec, fixture.world({ progress }));
    expect(progress.notes).toEqual(['Machine "web" ends at 2026-11-24 14:00 UTC: local then removes it with its disk']);
    await killMachine('web', fixture.world());
    fixture.local.vanish();
    expect(await getStatus(await fixture.readRecord(), fixture.world(), 1)).toMatchObject({
      state: 'missing',
      trouble: 'it no longer exists at its driver; to remove its record: slipway rm web',
    });
    fixture.local.vanish('it was reclaimed');
    expect(await getStatus(await fixture.readRecord(), fixture.world(), 1)).toMatchObject({
      state: 'missing',
      trouble: 'it was reclaimed; to remove its record: slipway rm web',
    });
    fixture.setTime('14:01');
    expect(await getStatus(await fixture.readRecord(), fixture.world(), 1)).toMatchObject({
      state: 'ended',
      trouble: 'ended at its deadline 2026-11-24 14:00 UTC',
    });
    expect(await catchRejection(fixture.extend('2h'))).toMatchObject({ code: 'MACHINE_ENDED' });
    expect(await catchRejection(provisionMachine('web', (spec) => spec, fixture.world()))).toMatchObject({
      code: 'MACHINE_NOT_FOUND',
      message: 'Machine "web" no longer exists at local: it was reclaimed',
      hint: 'Remove its record: slipway rm web. Then create it again: slipway create web',
    });
    const quiet = recordingProgress();
    await removeMachine('web', { deprovision: false, force: false }, fixture.world({ progress: quiet }));
    expect([quiet.notes, await fixture.world().store.listNames()]).toEqual([[], []]);
  });
});

describe('getStatusDetails', () => {
  test('returns what it could read, and names what it could not', async () => {
    await using fixture = await startLocalMachine(undefined);
    const machine = await createMachine(fixture.spec, fixture.world());
    expect(await getStatusDetails(machine, fixture.world(), 1)).toMatchObject({
      engine: { Containers: 3, ContainersRunning: 1 },
      host: { uptime: 7200, cpus: 2, disk: { free: 2048, total: 4096, mount: '/' } },
      errors: [],
    });
    const worldWithoutAnswer = fixture.world({ connect: async () => new Promise(() => {}) });
    const silent = { ...machine, host: { ...machine.host, ssh: undefined, engine: { url: 'tcp://x:1' } } };
    expect((await getStatusDetails(silent as never, worldWithoutAnswer, 1)).errors).toEqual([
      'host: the driver local has no SSH access',
    ]);
    await fixture.host.halt();
    const { engine, errors } = await getStatusDetails(machine, fixture.world(), 1);
    expect([engine, errors]).toEqual([undefined, [expect.stringMatching(/^engine: /)]]);
  });
});
