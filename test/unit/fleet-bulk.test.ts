import { beforeEach, describe, expect, test, vi } from 'vitest';
import { createMachines } from '../../src/operations/create-many.ts';
import type { CloudDriver, Driver, DriverManifest } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { concurrencyLimit } from '../../src/operations/concurrency.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { applyFileChanges } from '../../src/computer/files.ts';
import { profilesNamed } from '../../src/profiles/registry.ts';
import { fakeCloud } from '../fakes/fake-cloud-driver.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

const registered = vi.hoisted(() => ({ drivers: [] as Driver[] }));
vi.mock('../../src/drivers/registry.ts', async (original) => {
  const index = await original<typeof import('../../src/drivers/registry.ts')>();
  const find = (name: string): Driver | undefined => registered.drivers.find((driver) => driver.name === name);
  const getDriver = (name: string): DriverManifest => find(name) ?? index.getDriver(name);
  const loadDriver = async (name: string): Promise<Driver> => find(name) ?? (await index.loadDriver(name));
  return { ...index, getDriver, loadDriver };
});

beforeEach(() => {
  registered.drivers.length = 0;
});

async function openCloudWorld() {
  const home = await createTemporaryFolder();
  const cloud = fakeCloud();
  registered.drivers.push(cloud.driver);
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

const errorCodes = (made: Awaited<ReturnType<typeof createMachines>>): readonly (readonly unknown[])[] =>
  made.map(({ name, error, started }) => [name, error?.code, error ? started : undefined]);

describe('many machines', () => {
  test('of which none is begun any more after a Ctrl-C', async () => {
    await using home = await createTemporaryFolder();
    const stop = new AbortController();
    const met: number[] = [];
    const connect: World['connect'] = async ({ port }) => {
      met.push(port);
      stop.abort();
      throw new SlipwayError('CANCELED', 'Canceled');
    };
    const world = worldIn(home.path, { connect, signal: stop.signal });
    const specs = Array.from({ length: 20 }, (_, at) =>
      specNamed(`a${at + 1}`, { options: { ipAddress: '127.0.0.1', sshPort: at + 1 } }),
    );
    const ended: string[] = [];
    const made = await createMachines(
      specs,
      world,
      () => world,
      ({ name }) => ended.push(name),
    );
    const begun = made.flatMap((one) => (one.error && one.started ? [one.name] : []));
    expect(begun).toEqual(['a1', 'a2', 'a3', 'a4']);
    expect([ended.toSorted(), await world.store.listNames()]).toEqual([begun, begun]);
    expect(made[19]).toMatchObject({ name: 'a20', started: false, error: { message: 'Not started: a20' } });
  });

  test("are not lost to the others where they can't be settled: one that was begun alone is finished", async () => {
    await using all = await openCloudWorld();
    const world = all.world();
    const first = await all.spec('first');
    const dying = all.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(createMachines([first], dying, () => dying)).rejects.toBe(KILLED);
    const limited: CloudDriver = {
      ...all.cloud.driver,
      cloud: {
        ...all.cloud.driver.cloud,
        resolveOptions: async (target) => {
          if (target.name !== 'first') throw new SlipwayError('QUOTA', 'there is room for one');
          return { region: 'north' };
        },
      },
    };
    registered.drivers[0] = limited;
    const made = await createMachines([first, await all.spec('b'), await all.spec('c')], world, () => world);
    expect(errorCodes(made)).toEqual([
      ['first', undefined, undefined],
      ['b', 'QUOTA', true],
      ['c', 'QUOTA', true],
    ]);
  });

  test("of which one can't be begun leave no record behind", async () => {
    await using all = await openCloudWorld();
    const world = all.world();
    const stranger = readyMachine('c', { spec: specNamed('c', { id: 'another' }) });
    const { clientPaths } = world;
    const tls = { ca: '', cert: '', key: '' };
    await applyFileChanges(
      profilesNamed(['docker-context']).flatMap(({ changesToAdd }) =>
        changesToAdd({ machine: stranger, tls, clientPaths }),
      ),
    );
    const specs = await Promise.all(['a', 'b', 'c', 'd'].map(all.spec));
    const made = await createMachines(specs, world, () => world);
    expect(errorCodes(made).map(([, code]) => code)).toEqual(Array.from({ length: 4 }, () => 'CONTEXT_TAKEN'));
    expect([await world.store.listNames(), all.cloud.createdHosts]).toEqual([[], []]);
  });
});

describe('turns', () => {
  test('come in order, and are over with a bug', async () => {
    const turns = concurrencyLimit(1);
    const done: number[] = [];
    const bug = new Error('a bug');
    const ends = await Promise.allSettled([
      turns(async () => done.push(1)),
      turns(async () => Promise.reject(new SlipwayError('QUOTA', 'no room'))),
      turns(async () => done.push(3)),
      turns(async () => Promise.reject(bug)),
      turns(async () => done.push(5)),
    ]);
    expect(done).toEqual([1, 3]);
    expect(ends.at(-1)).toMatchObject({ reason: bug });
  });
});
