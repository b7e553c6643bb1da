import { describe, expect, test, vi } from 'vitest';
import { createMachines } from '../../src/operations/create-many.ts';
import type { CloudDriver } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { concurrencyLimit } from '../../src/operations/concurrency.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { applyFileChanges } from '../../src/computer/files.ts';
import { profilesNamed } from '../../src/profiles/registry.ts';
import { fakeCloud } from '../fakes/fake-cloud-driver.ts';
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'all drivers'),
);

async function openCloudWorld() {
  const home = await createTemporaryFolder();
  const cloud = fakeCloud();
  registeredDrivers.push(cloud.driver);
  return {
    cloud,
    world: (more: Partial<World> = {}): World => worldIn(home.path, { connect: cloud.connect, ...more }),
    async spec(name: string): Promise<MachineSpec> {
      const spec = specNamed(name, { driver: 'sky', options: {} });
      return { ...spec, engine: { ...spec.engine, port: await cloud.prepareHost() } };
    },
    async [Symbol.asyncDispose]() {
      await cloud[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

const errorCodes = (results: Awaited<ReturnType<typeof createMachines>>): readonly (readonly unknown[])[] =>
  results.map(({ name, error, started }) => [name, error?.code, error ? started : undefined]);

describe('createMachines', () => {
  test('starts no further machine after Ctrl-C', async () => {
    await using home = await createTemporaryFolder();
    const stop = new AbortController();
    const connectedPorts: number[] = [];
    const connect: World['connect'] = async ({ port }) => {
      connectedPorts.push(port);
      stop.abort();
      throw new SlipwayError('CANCELED', 'Canceled');
    };
    const world = worldIn(home.path, { connect, signal: stop.signal });
    const specs = Array.from({ length: 20 }, (_, at) =>
      specNamed(`a${at + 1}`, { options: { ipAddress: '127.0.0.1', sshPort: at + 1 } }),
    );
    const ended: string[] = [];
    const results = await createMachines(
      specs,
      world,
      () => world,
      ({ name }) => ended.push(name),
    );
    const started = results.flatMap((one) => (one.error && one.started ? [one.name] : []));
    expect(started).toEqual(['a1', 'a2', 'a3', 'a4']);
    expect([ended.toSorted(), await world.store.listNames()]).toEqual([started, started]);
    expect(results[19]).toMatchObject({ name: 'a20', started: false, error: { message: 'Not started: a20' } });
  });

  test("completes a machine that was started alone, even if the options of the batch can't be resolved", async () => {
    await using fixture = await openCloudWorld();
    const world = fixture.world();
    const first = await fixture.spec('first');
    const killedWorld = fixture.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(createMachines([first], killedWorld, () => killedWorld)).rejects.toBe(KILLED);
    const limited: CloudDriver = {
      ...fixture.cloud.driver,
      cloud: {
        ...fixture.cloud.driver.cloud,
        resolveOptions: async (target) => {
          if (target.name !== 'first') throw new SlipwayError('QUOTA', 'there is room for one');
          return { region: 'north' };
        },
      },
    };
    registeredDrivers[0] = limited;
    const results = await createMachines([first, await fixture.spec('b'), await fixture.spec('c')], world, () => world);
    expect(errorCodes(results)).toEqual([
      ['first', undefined, undefined],
      ['b', 'QUOTA', true],
      ['c', 'QUOTA', true],
    ]);
  });

  test("leaves no record if one of the batch can't be started", async () => {
    await using fixture = await openCloudWorld();
    const world = fixture.world();
    const stranger = readyMachine('c', { spec: specNamed('c', { id: 'another' }) });
    const { clientPaths } = world;
    const tls = { ca: '', cert: '', key: '' };
    await applyFileChanges(
      profilesNamed(['docker-context']).flatMap(({ changesToAdd }) =>
        changesToAdd({ machine: stranger, tls, clientPaths }),
      ),
    );
    const specs = await Promise.all(['a', 'b', 'c', 'd'].map(fixture.spec));
    const results = await createMachines(specs, world, () => world);
    expect(errorCodes(results).map(([, code]) => code)).toEqual(Array.from({ length: 4 }, () => 'CONTEXT_TAKEN'));
    expect([await world.store.listNames(), fixture.cloud.createdHosts]).toEqual([[], []]);
  });
});

describe('concurrencyLimit', () => {
  test('runs work in order, and stops after a bug', async () => {
    const limit = concurrencyLimit(1);
    const done: number[] = [];
    const bug = new Error('a bug');
    const outcomes = await Promise.allSettled([
      limit(async () => done.push(1)),
      limit(async () => Promise.reject(new SlipwayError('QUOTA', 'no room'))),
      limit(async () => done.push(3)),
      limit(async () => Promise.reject(bug)),
      limit(async () => done.push(5)),
    ]);
    expect(done).toEqual([1, 3]);
    expect(outcomes.at(-1)).toMatchObject({ reason: bug });
  });
});
