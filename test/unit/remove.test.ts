import { describe, expect, test } from 'vitest';
import { SlipwayError } from '../../src/errors.ts';
import { createMachine } from '../../src/operations/create.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import type { World } from '../../src/operations/world.ts';
import type { LifetimeSpec, Machine, MachineSpec } from '../../src/machine/model.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost } from '../fakes/fake-host.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { recordingProgress, worldIn } from '../fakes/test-world.ts';

const REMOVE_OPTIONS = { deprovision: false, force: false };
const NOW = new Date('2026-11-24T10:00:00Z');

/** Creates a machine with this lifetime on an existing host. */
async function createOnHost(lifetime: LifetimeSpec | undefined) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost({ engine: true });
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, { connect: host.connect, now: () => NOW, ...more });
  const baseSpec = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 } });
  const spec: MachineSpec = {
    ...baseSpec,
    engine: { ...baseSpec.engine, port: host.port },
    ...(lifetime ? { lifetime } : {}),
  };
  await createMachine(spec, world());
  host.executions.length = 0;
  return {
    host,
    world,
    timers: (): readonly string[] =>
      [...host.files.keys()].filter((path) => path.endsWith('.timer') || path.endsWith('timers.target.d/slipway.conf')),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

test('create uses the clock of a host for its deadline if it is ahead, and says so', async () => {
  await using fixture = await createOnHost(undefined);
  await removeMachine('web', REMOVE_OPTIONS, fixture.world());
  fixture.host.clockSeconds = NOW.getTime() / 1000 + 86_400;
  const progress = recordingProgress();
  const baseSpec = specNamed('web', { options: { ipAddress: fixture.host.address, sshUser: 'root', sshPort: 22 } });
  const spec = { ...baseSpec, engine: { ...baseSpec.engine, port: fixture.host.port }, lifetime: { ttl: '1h' } };
  expect((await createMachine(spec, fixture.world({ progress }))).deadline).toBe('2026-11-24T11:00:00.000Z');
  expect(fixture.host.files.get('/etc/systemd/system/slipway-deadline.timer')?.content).toContain(
    '2026-11-25 11:01:00 UTC',
  );
  expect(progress.notes).toContainEqual(expect.stringContaining("is 1 d ahead of this computer's"));
});

describe('rm of a machine on an existing host', () => {
  test.each<LifetimeSpec>([{ ttl: '4h' }, { idleStop: '30m' }])('removes only the timers of %j', async (lifetime) => {
    await using fixture = await createOnHost(lifetime);
    expect(fixture.timers()).not.toEqual([]);
    const starts = fixture.host.engineStarts();
    await removeMachine('web', REMOVE_OPTIONS, fixture.world());
    expect(fixture.timers()).toEqual([]);
    expect([fixture.host.executions, fixture.host.engineStarts()]).toEqual([['facts.sh', 'life.sh'], starts]);
    expect(fixture.host.files.has('/etc/docker/slipway/state.json')).toBe(true);
    expect(await fixture.world().store.listNames()).toEqual([]);
  });

  test('keeps timers of another machine, and does not connect to a host without timers', async () => {
    await using fixture = await createOnHost({ ttl: '4h' });
    const state = { mode: '600', content: JSON.stringify({ id: 'x', name: 'other' }) };
    fixture.host.files.set('/etc/docker/slipway/state.json', state);
    await removeMachine('web', REMOVE_OPTIONS, fixture.world());
    expect(fixture.timers()).not.toEqual([]);
    await using withoutLifetime = await createOnHost(undefined);
    await removeMachine('web', REMOVE_OPTIONS, withoutLifetime.world());
    expect(withoutLifetime.host.executions).toEqual([]);
  });
});

async function removeUnreachable(
  machine: Machine,
  how = REMOVE_OPTIONS,
  code: 'SSH_UNREACHABLE' | 'CANCELED' = 'SSH_UNREACHABLE',
) {
  await using home = await createTemporaryFolder();
  const progress = recordingProgress();
  const connect = async (): Promise<never> => {
    throw new SlipwayError(code, 'no answer');
  };
  const world = worldIn(home.path, { progress, connect, now: () => NOW });
  await world.store.write(machine);
  const error = await catchRejection(removeMachine('web', how, world));
  return { error, notes: progress.notes, names: await world.store.listNames() };
}

describe("rm of a machine whose host can't be reached", () => {
  const lifetime = { ttl: '4h', idleStop: '30m' };
  const machineWithLifetime = readyMachine('web', {
    deadline: '2026-11-24T14:00:00.000Z',
    spec: specNamed('web', { lifetime }),
  });

  test('continues, and prints when the host powers off and how to prevent that', async () => {
    const { notes, names } = await removeUnreachable(machineWithLifetime);
    expect(names).toEqual([]);
    expect(notes).toMatchInlineSnapshot(`
      [
        "Host 192.0.2.10 still powers itself off at 2026-11-24 14:00 UTC, or once it has been idle for 30m, since its timers could not be removed (no answer); to stop that: ssh root@192.0.2.10 "rm -f /etc/systemd/system/slipway-deadline.timer /etc/systemd/system/slipway-idle.timer && systemctl stop slipway-deadline.timer slipway-idle.timer"",
      ]
    `);
    const afterDeadline = await removeUnreachable({ ...machineWithLifetime, deadline: '2026-11-24T09:00:00.000Z' });
    expect(afterDeadline.notes[0]).toContain(' ten minutes after each boot, or once it has been idle for 30m, ');
  });

  test('prints the SSH command with port, user and jump host', async () => {
    const jump = { address: '2001:db8::1', port: 2222, user: 'door' };
    const host = { address: '192.0.2.10', ssh: { address: '192.0.2.10', port: 2200, user: 'ops', jump } };
    const { notes } = await removeUnreachable({ ...machineWithLifetime, host });
    expect(notes[0]).toContain(': ssh -p 2200 -J door@[2001:db8::1]:2222 ops@192.0.2.10 "sudo rm -f ');
    expect(notes[0]).toContain(' && sudo systemctl stop ');
  });

  test('prints it besides the note of --deprovision --force, and prints nothing without a lifetime', async () => {
    const { notes } = await removeUnreachable(machineWithLifetime, { deprovision: true, force: true });
    expect(notes).toEqual([
      'The files on the host were not removed: no answer',
      expect.stringContaining('still powers itself off at 2026-11-24 14:00 UTC'),
    ]);
    expect((await removeUnreachable(readyMachine('web'))).notes).toEqual([]);
  });

  test('removes nothing if it is canceled', async () => {
    const { error, names } = await removeUnreachable(machineWithLifetime, REMOVE_OPTIONS, 'CANCELED');
    expect([error?.code, names]).toEqual(['CANCELED', ['web']]);
  });
});
