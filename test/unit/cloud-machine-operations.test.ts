import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { createMachines } from '../../src/operations/create-many.ts';
import { z } from 'zod';
import type { CloudDriver, Driver, DriverManifest, InstanceStatus, CloudResource } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { deleteOrphans, findOrphans, type OrphanSearch } from '../../src/operations/gc.ts';
import { getHomeId } from '../../src/machine/store-id.ts';
import { createMachine } from '../../src/operations/create.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { readContextOwner } from '../../src/profiles/docker-context.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { fakeCloud, type FakeCloud } from '../fakes/fake-cloud-driver.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
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

async function openCloudWorld() {
  const home = await createTemporaryFolder();
  const cloud = fakeCloud();
  registered.drivers.push(cloud.driver);
  let pairs = 0;
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, {
      connect: cloud.connect,
      newKeyPair: async (comment) => {
        pairs += 1;
        return { private: `PRIVATE ${pairs}\n`, public: `ssh-ed25519 KEY${pairs} ${comment}` };
      },
      ...more,
    });
  return {
    cloud,
    world,
    async [Symbol.asyncDispose]() {
      await cloud[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

async function buildCloudSpec(name: string, cloud: FakeCloud, more: Partial<MachineSpec> = {}): Promise<MachineSpec> {
  const spec = specNamed(name, { driver: 'sky', options: {}, ...more });
  return { ...spec, engine: { ...spec.engine, port: await cloud.prepareHost() } };
}

const readPinnedKey = async (world: World, name: string): Promise<string | undefined> =>
  (await world.store.read(name)).host?.ssh?.hostKey;
const REMOVE_OPTIONS = { deprovision: false, force: false };

describe('a machine whose user data others can read', () => {
  test('is born with a host key of the first visit, which the lasting one replaces; no other secret travels', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const ready = await createMachine(await buildCloudSpec('web', sky.cloud), world);
    const [boot] = sky.cloud.boots;
    expect(boot?.files).toEqual([]);
    const { ssh } = world.store.paths('web');
    const lasting = (await readFile(join(ssh, 'host_ed25519.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
    expect(boot?.hostKey.public).not.toBe(lasting);
    expect([ready.host.ssh?.hostKey, ready.host.ssh?.bootstrapHostKey]).toEqual([lasting, undefined]);
    expect(sky.cloud.createdHosts[0]?.shownHostKey).toBe(lasting);
    expect([existsSync(join(ssh, 'birth_ed25519')), existsSync(join(ssh, 'birth_ed25519.pub'))]).toEqual([
      false,
      false,
    ]);
  });

  test('keeps what its driver settled, so that later commands go to the same place', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    await createMachine(await buildCloudSpec('web', sky.cloud), world);
    expect((await world.store.read('web')).spec.options).toEqual({ region: 'north' });
  });

  test('is waited for while it boots: closed ports, keys that are not laid yet', async () => {
    await using sky = await openCloudWorld();
    sky.cloud.connectErrors.push(
      new SlipwayError('SSH_UNREACHABLE', 'nothing listens there'),
      new SlipwayError('HOST_KEY', 'a key of its own'),
      new SlipwayError('SSH_REFUSED', 'no key is laid'),
    );
    expect((await createMachine(await buildCloudSpec('web', sky.cloud), sky.world())).phase).toBe('ready');
  });

  test("is not waited for in vain: what can't pass is told at once", async () => {
    await using sky = await openCloudWorld();
    sky.cloud.connectErrors.push(new SlipwayError('USAGE', 'a wrong key file'));
    expect((await catchRejection(createMachine(await buildCloudSpec('web', sky.cloud), sky.world())))?.code).toBe(
      'USAGE',
    );
  });

  test('whose provider has no address for it yet is waited for in a step that says so; once ready, it is gone', async () => {
    await using sky = await openCloudWorld();
    const { machines } = sky.cloud.driver;
    let pending = 1;
    registered.drivers[0] = {
      ...sky.cloud.driver,
      machines: {
        ...machines,
        inspect: async (...call) => (pending-- > 0 ? { state: 'missing' } : machines.inspect(...call)),
      },
    };
    const progress = recordingProgress();
    await createMachine(await buildCloudSpec('web', sky.cloud), sky.world({ progress }));
    expect(progress.ids).toContain('address');
    const world = sky.world();
    registered.drivers[0] = {
      ...sky.cloud.driver,
      machines: { ...machines, inspect: async () => ({ state: 'missing' }) },
    };
    const error = await catchRejection(provisionMachine('web', (spec) => spec, world));
    expect([error?.code, error?.message, error?.hint]).toEqual([
      'MACHINE_NOT_FOUND',
      'Machine "web" no longer exists at sky',
      'Remove its record: slipway rm web. Then create it again: slipway create web',
    ]);
  });

  test("that shows a stranger's key is never let in, however long it does", async () => {
    await using sky = await openCloudWorld();
    const stop = new AbortController();
    const world = sky.world({ signal: stop.signal });
    const spec = await buildCloudSpec('web', sky.cloud);
    sky.cloud.wrongHostKey = 'ssh-ed25519 STRANGER';
    const made = createMachine(spec, world);
    setTimeout(() => stop.abort(), 2500);
    expect((await catchRejection(made))?.code).toBe('CANCELED');
    expect(sky.cloud.createdHosts.map(({ host }) => host.executions)).toEqual([[]]);
  });

  test("lets today's address in when a create goes on and when it is provisioned", async () => {
    await using sky = await openCloudWorld();
    const spec = await buildCloudSpec('web', sky.cloud);
    await expect(
      createMachine(spec, sky.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) })),
    ).rejects.toBe(KILLED);
    expect(sky.cloud.calls).not.toContain('allowCallerIp');
    await createMachine(spec, sky.world());
    expect(sky.cloud.calls.filter((call) => call === 'allowCallerIp')).toHaveLength(1);
    await provisionMachine('web', (same) => same, sky.world());
    expect(sky.cloud.calls.filter((call) => call === 'allowCallerIp')).toHaveLength(2);
  });
});

const CREATE_STEPS = ['settle', 'create', 'connect', 'facts', 'host-key', 'configure-engine', 'verify', 'profiles'];
const KILL_POINTS = CREATE_STEPS.flatMap((id) => (['before', 'after'] as const).map((when) => ({ when, id })));

describe('a create in a cloud that dies', () => {
  test.each(KILL_POINTS)(
    '$when $id is finished by the next one, with one instance and its lasting key',
    async (dies) => {
      await using sky = await openCloudWorld();
      const spec = await buildCloudSpec('web', sky.cloud);
      await expect(createMachine(spec, sky.world({ progress: recordingProgress(dies) }))).rejects.toBe(KILLED);
      const world = sky.world();
      expect((await createMachine(spec, world)).phase).toBe('ready');
      expect(sky.cloud.createdHosts).toHaveLength(1);
      expect(sky.cloud.createdHosts[0]?.shownHostKey).toBe(await readPinnedKey(world, 'web'));
      expect(existsSync(join(world.store.paths('web').ssh, 'birth_ed25519'))).toBe(false);
    },
  );

  test.each(KILL_POINTS)('$when $id is undone by rm', async (dies) => {
    await using sky = await openCloudWorld();
    const spec = await buildCloudSpec('web', sky.cloud);
    await expect(createMachine(spec, sky.world({ progress: recordingProgress(dies) }))).rejects.toBe(KILLED);
    const world = sky.world();
    if ((await world.store.find('web')) !== undefined) await removeMachine('web', REMOVE_OPTIONS, world);
    expect(sky.cloud.createdHosts).toEqual([]);
    expect([await world.store.listNames(), await readContextOwner('web', world.clientPaths)]).toEqual([[], undefined]);
  });

  test('has written down what it was about to ask for, for rm to look for it', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(await buildCloudSpec('web', sky.cloud), world)).rejects.toBe(KILLED);
    await removeMachine('web', REMOVE_OPTIONS, sky.world());
    expect(sky.cloud.targets.at(-1)?.lastRequest).toEqual({
      what: 'instance',
      at: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });
});

/** The sky with options that change in each of their ways, and what it was told of them. */
function registerChangeableDriver(cloud: FakeCloud, state: InstanceStatus | undefined = undefined) {
  const told: unknown[] = [];
  const { driver } = cloud;
  const changeable: CloudDriver = {
    ...driver,
    options: z.object({ region: z.string().optional(), tags: z.string().optional(), size: z.string().optional() }),
    cloud: {
      ...driver.cloud,
      resolveOptions: async ({ options }) => ({ ...options, region: options.region ?? 'north' }),
    },
    shutdownBehavior: () => ({ byItself: 'stopped', costs: 'it costs nothing' }),
    changeKindOf: (option) => (({ tags: 'live', size: 'restart' }) as const)[option as 'tags'] ?? 'replace',
    changes: {
      async apply({ options }) {
        told.push(options.tags);
      },
    },
    machines: { ...driver.machines, inspect: async (...call) => state ?? driver.machines.inspect(...call) },
  };
  registered.drivers[0] = changeable;
  return told;
}

describe('a machine that is asked for otherwise than before', () => {
  test('goes on where it was begun while it is half made: in another place another one would be made', async () => {
    await using sky = await openCloudWorld();
    registerChangeableDriver(sky.cloud);
    const spec = await buildCloudSpec('web', sky.cloud);
    const dying = sky.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(createMachine(spec, dying)).rejects.toBe(KILLED);
    const before = await sky.world().store.read('web');
    const error = await catchRejection(createMachine({ ...spec, options: { region: 'south' } }, sky.world()));
    expect([error?.code, error?.message, error?.hint]).toEqual([
      'USAGE',
      'Machine "web" is incomplete and has other options of sky: region',
      'To continue: slipway create web. To undo: slipway rm web',
    ]);
    expect(await sky.world().store.read('web')).toEqual(before);
    expect(sky.cloud.createdHosts).toHaveLength(1);
    const elsewhere = await catchRejection(
      createMachine({ ...spec, driver: 'generic', options: { ipAddress: 'x' } }, sky.world()),
    );
    expect(elsewhere?.code).toBe('MACHINE_EXISTS');
  });

  test("keeps what its provider was told, also when its host can't be reached then", async () => {
    await using sky = await openCloudWorld();
    const told = registerChangeableDriver(sky.cloud);
    const world = sky.world();
    await createMachine(await buildCloudSpec('web', sky.cloud), world);
    const tagged = (spec: MachineSpec): MachineSpec => ({ ...spec, options: { ...spec.options, tags: 'a' } });
    sky.cloud.connectErrors.push(...Array.from({ length: 3 }, () => new SlipwayError('SSH_REFUSED', 'no')));
    expect((await catchRejection(provisionMachine('web', tagged, world)))?.code).toBe('SSH_REFUSED');
    expect((await world.store.read('web')).spec.options).toMatchObject({ tags: 'a' });
    sky.cloud.connectErrors.splice(0);
    await provisionMachine('web', tagged, world);
    expect(told).toEqual(['a']);
  });

  test('tells its provider again when that was stopped, and counts its time when that was', async () => {
    await using sky = await openCloudWorld();
    const told = registerChangeableDriver(sky.cloud);
    await createMachine(await buildCloudSpec('web', sky.cloud), sky.world());
    const wanted = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      options: { ...spec.options, tags: 'a' },
      lifetime: { ttl: '4h' },
    });
    const sure = registered.drivers[0];
    if (!sure) throw new Error('no driver');
    registered.drivers[0] = {
      ...sure,
      changes: {
        async apply() {
          throw new SlipwayError('CANCELED', 'stopped');
        },
      },
    };
    expect((await catchRejection(provisionMachine('web', wanted, sky.world())))?.code).toBe('CANCELED');
    registered.drivers[0] = sure;
    sky.cloud.connectErrors.push(new SlipwayError('SSH_LOST', 'gone'));
    expect((await catchRejection(provisionMachine('web', wanted, sky.world())))?.code).toBe('SSH_LOST');
    const ready = await provisionMachine('web', wanted, sky.world());
    expect(told).toEqual(['a']);
    expect(ready.deadline).toBeDefined();
  });

  test("takes at its next start what it can't take while it is stopped, and is not visited for it", async () => {
    await using sky = await openCloudWorld();
    registerChangeableDriver(sky.cloud);
    await createMachine(await buildCloudSpec('web', sky.cloud), sky.world());
    registerChangeableDriver(sky.cloud, { state: 'stopped' });
    const progress = recordingProgress();
    await provisionMachine(
      'web',
      (spec) => ({ ...spec, options: { ...spec.options, size: 'xl' } }),
      sky.world({ progress }),
    );
    expect((await sky.world().store.read('web')).spec.options).toMatchObject({ size: 'xl' });
    expect(progress.notes).toEqual(['Machine "web" is stopped: size changes at its next start']);
    expect(progress.ids).toEqual([]);
  });
});

describe('several at once', () => {
  const names = ['web-1', 'web-2', 'web-3'];
  const three = async ({ cloud }: { cloud: FakeCloud }): Promise<readonly MachineSpec[]> =>
    Promise.all(names.map(async (name) => buildCloudSpec(name, cloud)));
  const batchIds = async (world: World): Promise<readonly (string | undefined)[]> =>
    Promise.all(names.map(async (name) => (await world.store.read(name)).spec.batch?.id));

  test('are asked for by one call, and each has its own lasting host key', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const specs = await three(sky);
    const made = await createMachines(specs, world, () => world);
    expect(made.map(({ name, value }) => [name, value?.phase])).toEqual(names.map((name) => [name, 'ready']));
    expect(sky.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create 3']);
    expect(sky.cloud.targets.map(({ batch }) => [batch?.index, batch?.size])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    expect(new Set(await batchIds(world)).size).toBe(1);
    const pins = await Promise.all(names.map(async (name) => readPinnedKey(world, name)));
    expect(new Set(pins).size).toBe(3);
    expect(new Set(sky.cloud.createdHosts.map(({ shownHostKey }) => shownHostKey))).toEqual(new Set(pins));
  });

  test('that are ready already are passed over, and new ones made', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const [first, ...others] = await three(sky);
    if (!first) throw new Error('there are three');
    await createMachine(first, world);
    const made = await createMachines([first, ...others], world, () => world);
    expect(made.map((one) => one.value !== undefined && !one.started)).toEqual([true, false, false]);
    expect(sky.cloud.createdHosts).toHaveLength(3);
  });

  test('that were stopped together go on together, by the same ids', async () => {
    await using sky = await openCloudWorld();
    const specs = await three(sky);
    const dying = sky.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachines(specs, dying, () => dying)).rejects.toBe(KILLED);
    const world = sky.world();
    const ids = await batchIds(world);
    expect((await createMachines(specs, world, () => world)).every(({ value }) => value !== undefined)).toBe(true);
    expect(await batchIds(world)).toEqual(ids);
    expect([sky.cloud.createdHosts.length, sky.cloud.calls.filter((call) => call === 'create 3').length]).toEqual([
      3, 2,
    ]);
  });

  test('of which one was removed go on one by one: the call for all would make it again', async () => {
    await using sky = await openCloudWorld();
    const specs = await three(sky);
    const dying = sky.world({ progress: recordingProgress({ when: 'before', id: 'create' }) });
    await expect(createMachines(specs, dying, () => dying)).rejects.toBe(KILLED);
    const world = sky.world();
    await removeMachine('web-2', REMOVE_OPTIONS, world);
    const left = specs.filter(({ name }) => name !== 'web-2');
    await createMachines(left, world, () => world);
    expect(sky.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create', 'create']);
    expect(sky.cloud.createdHosts).toHaveLength(2);
  });

  test('that are refused together say so one by one, and keep why', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    sky.cloud.createManyError = new SlipwayError('CAPACITY', 'there is no room for three');
    const made = await createMachines(await three(sky), world, () => world);
    expect(made.map(({ error }) => error?.code)).toEqual(['CAPACITY', 'CAPACITY', 'CAPACITY']);
    expect((await world.store.read('web-3')).failure?.message).toBe('there is no room for three');
  });
});

describe('gc', () => {
  const thing = (more: Partial<CloudResource>): CloudResource => ({
    id: 'lost',
    index: undefined,
    name: 'old',
    home: 'elsewhere',
    kind: 'instance',
    resource: 'i-1',
    place: 'north',
    state: 'running',
    made: undefined,
    monthly: 7,
    ...more,
  });
  const search: OrphanSearch = { driver: undefined, optionsOf: () => ({}), home: 'this' };
  const found = async (world: World, more: Partial<OrphanSearch> = {}): Promise<readonly string[]> =>
    (await findOrphans({ ...search, ...more }, world)).orphans.map(({ resource }) => resource);

  test("lists what carries this store's id and no record's", async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const home = await getHomeId(world.computer);
    await createMachine(await buildCloudSpec('web', sky.cloud, { batch: { id: 'batch', index: 1, size: 2 } }), world);
    const { id } = (await world.store.read('web')).spec;
    sky.cloud.resources = [
      thing({ home, id, resource: 'its own' }),
      thing({ home, id: 'batch', index: 1, resource: 'its own of the batch' }),
      thing({ home, id: 'batch', index: undefined, kind: 'firewall', resource: 'shared in the batch' }),
      thing({ home, id: 'batch', index: 0, resource: 'another of the batch' }),
      thing({ home, resource: "nobody's" }),
      thing({ resource: "another store's" }),
    ];
    expect(await found(world)).toEqual(['another of the batch', "nobody's"]);
    expect(await found(world, { home: { id: 'elsewhere' } })).toEqual(["another store's"]);
    expect(await found(world, { home: 'all' })).toEqual(['another of the batch', "nobody's", "another store's"]);
  });

  test("removes nothing while a record can't be read: what it knows could be taken for lost", async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const home = await getHomeId(world.computer);
    sky.cloud.resources = [thing({ home })];
    const { folder, record } = world.store.paths('torn');
    await mkdir(folder, { recursive: true });
    await writeFile(record, '{');
    const { orphans } = await findOrphans(search, world);
    expect((await catchRejection(deleteOrphans(orphans, world)))?.code).toBe('RECORD_BROKEN');
    expect(sky.cloud.deletedResources).toEqual([]);
    await removeMachine('torn', { deprovision: false, force: true }, world);
    await deleteOrphans(orphans, world);
    expect(sky.cloud.deletedResources).toHaveLength(1);
  });

  test('has one name for a store, whoever asks first', async () => {
    await using sky = await openCloudWorld();
    const { computer } = sky.world();
    const ids = await Promise.all(Array.from({ length: 8 }, async () => getHomeId(computer)));
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(/^[a-z][a-z0-9-]{6,44}$/);
  });
});
