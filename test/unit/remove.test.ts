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

/** A host that stays, with a machine of this life on it. */
async function createOnHost(lifetime: LifetimeSpec | undefined) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost({ engine: true });
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, { connect: host.connect, now: () => NOW, ...more });
  const named = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 } });
  const spec: MachineSpec = {
    ...named,
    engine: { ...named.engine, port: host.port },
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

test('a create on a host whose clock is ahead lays the deadline by that clock, and says so', async () => {
  await using all = await createOnHost(undefined);
  await removeMachine('web', REMOVE_OPTIONS, all.world());
  all.host.clockSeconds = NOW.getTime() / 1000 + 86_400;
  const progress = recordingProgress();
  const named = specNamed('web', { options: { ipAddress: all.host.address, sshUser: 'root', sshPort: 22 } });
  const spec = { ...named, engine: { ...named.engine, port: all.host.port }, lifetime: { ttl: '1h' } };
  expect((await createMachine(spec, all.world({ progress }))).deadline).toBe('2026-11-24T11:00:00.000Z');
  expect(all.host.files.get('/etc/systemd/system/slipway-deadline.timer')?.content).toContain(
    '2026-11-25 11:01:00 UTC',
  );
  expect(progress.notes).toContainEqual(expect.stringContaining("is 1 d ahead of this computer's"));
});

describe('rm of a machine whose host stays', () => {
  test.each<LifetimeSpec>([{ ttl: '4h' }, { idleStop: '30m' }])(
    'takes the timers of %j away, and no more',
    async (life) => {
      await using all = await createOnHost(life);
      expect(all.timers()).not.toEqual([]);
      const starts = all.host.engineStarts();
      await removeMachine('web', REMOVE_OPTIONS, all.world());
      expect(all.timers()).toEqual([]);
      expect([all.host.executions, all.host.engineStarts()]).toEqual([['facts.sh', 'life.sh'], starts]);
      expect(all.host.files.has('/etc/docker/slipway/state.json')).toBe(true);
      expect(await all.world().store.listNames()).toEqual([]);
    },
  );

  test('leaves them where the host is another machine by now, and meets no host that has none', async () => {
    await using all = await createOnHost({ ttl: '4h' });
    const state = { mode: '600', content: JSON.stringify({ id: 'x', name: 'other' }) };
    all.host.files.set('/etc/docker/slipway/state.json', state);
    await removeMachine('web', REMOVE_OPTIONS, all.world());
    expect(all.timers()).not.toEqual([]);
    await using mortal = await createOnHost(undefined);
    await removeMachine('web', REMOVE_OPTIONS, mortal.world());
    expect(mortal.host.executions).toEqual([]);
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
  const mortal = readyMachine('web', { deadline: '2026-11-24T14:00:00.000Z', spec: specNamed('web', { lifetime }) });

  test('goes on, and says when it is powered off and what to type against it', async () => {
    const { notes, names } = await removeUnreachable(mortal);
    expect(names).toEqual([]);
    expect(notes).toMatchInlineSnapshot(`
      [
        "Host 192.0.2.10 still powers itself off at 2026-11-24 14:00 UTC, or once it has been idle for 30m, since its timers could not be removed (no answer); to stop that: ssh root@192.0.2.10 "rm -f /etc/systemd/system/slipway-deadline.timer /etc/systemd/system/slipway-idle.timer && systemctl stop slipway-deadline.timer slipway-idle.timer"",
      ]
    `);
    const passed = await removeUnreachable({ ...mortal, deadline: '2026-11-24T09:00:00.000Z' });
    expect(passed.notes[0]).toContain(' ten minutes after each boot, or once it has been idle for 30m, ');
  });

  test('names the way there that the machine was reached by', async () => {
    const jump = { address: '2001:db8::1', port: 2222, user: 'door' };
    const host = { address: '192.0.2.10', ssh: { address: '192.0.2.10', port: 2200, user: 'ops', jump } };
    const { notes } = await removeUnreachable({ ...mortal, host });
    expect(notes[0]).toContain(': ssh -p 2200 -J door@[2001:db8::1]:2222 ops@192.0.2.10 "sudo rm -f ');
    expect(notes[0]).toContain(' && sudo systemctl stop ');
  });

  test('says it beside what else stays with --deprovision --force, and says nothing of one that does not end', async () => {
    const { notes } = await removeUnreachable(mortal, { deprovision: true, force: true });
    expect(notes).toEqual([
      'The files on the host were not removed: no answer',
      expect.stringContaining('still powers itself off at 2026-11-24 14:00 UTC'),
    ]);
    expect((await removeUnreachable(readyMachine('web'))).notes).toEqual([]);
  });

  test('that was canceled removes nothing', async () => {
    const { error, names } = await removeUnreachable(mortal, REMOVE_OPTIONS, 'CANCELED');
    expect([error?.code, names]).toEqual(['CANCELED', ['web']]);
  });
});
