import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { createMachines } from '../../src/operations/create-many.ts';
import { z } from 'zod';
import type { CloudDriver, InstanceStatus, CloudResource } from '../../src/drivers/contract.ts';
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
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'registered drivers'),
);

async function openCloudWorld() {
  const home = await createTemporaryFolder();
  const cloud = fakeCloud();
  registeredDrivers.push(cloud.driver);
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

describe('a machine whose user data is public', () => {
  test('gets a bootstrap host key and no other secret in its user data, and the permanent host key over SSH', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const ready = await createMachine(await buildCloudSpec('web', sky.cloud), world);
    const [boot] = sky.cloud.boots;
    expect(boot?.files).toEqual([]);
    const { ssh } = world.store.paths('web');
    const permanentKey = (await readFile(join(ssh, 'host_ed25519.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
    expect(boot?.hostKey.public).not.toBe(permanentKey);
    expect([ready.host.ssh?.hostKey, ready.host.ssh?.bootstrapHostKey]).toEqual([permanentKey, undefined]);
    expect(sky.cloud.createdHosts[0]?.shownHostKey).toBe(permanentKey);
    expect([existsSync(join(ssh, 'birth_ed25519')), existsSync(join(ssh, 'birth_ed25519.pub'))]).toEqual([
      false,
      false,
    ]);
  });

  test('keeps the options that its driver resolved, so that later commands use the same region', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    await createMachine(await buildCloudSpec('web', sky.cloud), world);
    expect((await world.store.read('web')).spec.options).toEqual({ region: 'north' });
  });

  test('is tried again while it boots: ports are closed, keys are not installed yet', async () => {
    await using sky = await openCloudWorld();
    sky.cloud.connectErrors.push(
      new SlipwayError('SSH_UNREACHABLE', 'nothing listens there'),
      new SlipwayError('HOST_KEY', 'a host key of the image'),
      new SlipwayError('SSH_REFUSED', 'no key is installed'),
    );
    expect((await createMachine(await buildCloudSpec('web', sky.cloud), sky.world())).phase).toBe('ready');
  });

  test("fails at once with an error that waiting can't fix", async () => {
    await using sky = await openCloudWorld();
    sky.cloud.connectErrors.push(new SlipwayError('USAGE', 'a wrong key file'));
    expect((await catchRejection(createMachine(await buildCloudSpec('web', sky.cloud), sky.world())))?.code).toBe(
      'USAGE',
    );
  });

  test('without an address is waited for in a step of its own while it is created, and is gone once it was ready', async () => {
    await using sky = await openCloudWorld();
    const { machines } = sky.cloud.driver;
    let pending = 1;
    registeredDrivers[0] = {
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
    registeredDrivers[0] = {
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

  test('is never trusted while it shows an unknown host key, however long it does', async () => {
    await using sky = await openCloudWorld();
    const stop = new AbortController();
    const world = sky.world({ signal: stop.signal });
    const spec = await buildCloudSpec('web', sky.cloud);
    sky.cloud.wrongHostKey = 'ssh-ed25519 STRANGER';
    const creation = createMachine(spec, world);
    setTimeout(() => stop.abort(), 2500);
    expect((await catchRejection(creation))?.code).toBe('CANCELED');
    expect(sky.cloud.createdHosts.map(({ host }) => host.executions)).toEqual([[]]);
  });

  test("allows today's caller IP when a create is continued and when it is provisioned", async () => {
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

describe('a create in a cloud that is killed', () => {
  test.each(KILL_POINTS)(
    '$when $id is completed by the next create, with one instance and its permanent host key',
    async (killPoint) => {
      await using sky = await openCloudWorld();
      const spec = await buildCloudSpec('web', sky.cloud);
      await expect(createMachine(spec, sky.world({ progress: recordingProgress(killPoint) }))).rejects.toBe(KILLED);
      const world = sky.world();
      expect((await createMachine(spec, world)).phase).toBe('ready');
      expect(sky.cloud.createdHosts).toHaveLength(1);
      expect(sky.cloud.createdHosts[0]?.shownHostKey).toBe(await readPinnedKey(world, 'web'));
      expect(existsSync(join(world.store.paths('web').ssh, 'birth_ed25519'))).toBe(false);
    },
  );

  test.each(KILL_POINTS)('$when $id is undone by rm', async (killPoint) => {
    await using sky = await openCloudWorld();
    const spec = await buildCloudSpec('web', sky.cloud);
    await expect(createMachine(spec, sky.world({ progress: recordingProgress(killPoint) }))).rejects.toBe(KILLED);
    const world = sky.world();
    if ((await world.store.find('web')) !== undefined) await removeMachine('web', REMOVE_OPTIONS, world);
    expect(sky.cloud.createdHosts).toEqual([]);
    expect([await world.store.listNames(), await readContextOwner('web', world.clientPaths)]).toEqual([[], undefined]);
  });

  test('has recorded its request before sending it, so that rm can look for the instance', async () => {
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

/** Registers the cloud with options of each kind of change. Returns the tags that its `changes.apply` receives. */
function registerChangeableDriver(cloud: FakeCloud, state: InstanceStatus | undefined = undefined) {
  const appliedTags: unknown[] = [];
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
        appliedTags.push(options.tags);
      },
    },
    machines: { ...driver.machines, inspect: async (...call) => state ?? driver.machines.inspect(...call) },
  };
  registeredDrivers[0] = changeable;
  return appliedTags;
}

describe('a cloud machine whose options change', () => {
  test('is continued only with the same options while it is incomplete: another region would create another instance', async () => {
    await using sky = await openCloudWorld();
    registerChangeableDriver(sky.cloud);
    const spec = await buildCloudSpec('web', sky.cloud);
    const killedWorld = sky.world({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(createMachine(spec, killedWorld)).rejects.toBe(KILLED);
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

  test("records what its provider has applied, even if its host can't be reached afterwards", async () => {
    await using sky = await openCloudWorld();
    const appliedTags = registerChangeableDriver(sky.cloud);
    const world = sky.world();
    await createMachine(await buildCloudSpec('web', sky.cloud), world);
    const addTag = (spec: MachineSpec): MachineSpec => ({ ...spec, options: { ...spec.options, tags: 'a' } });
    sky.cloud.connectErrors.push(...Array.from({ length: 3 }, () => new SlipwayError('SSH_REFUSED', 'no')));
    expect((await catchRejection(provisionMachine('web', addTag, world)))?.code).toBe('SSH_REFUSED');
    expect((await world.store.read('web')).spec.options).toMatchObject({ tags: 'a' });
    sky.cloud.connectErrors.splice(0);
    await provisionMachine('web', addTag, world);
    expect(appliedTags).toEqual(['a']);
  });

  test('gets its change and its deadline from a later provision, if earlier ones were interrupted', async () => {
    await using sky = await openCloudWorld();
    const appliedTags = registerChangeableDriver(sky.cloud);
    await createMachine(await buildCloudSpec('web', sky.cloud), sky.world());
    const addTagAndTtl = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      options: { ...spec.options, tags: 'a' },
      lifetime: { ttl: '4h' },
    });
    const driver = registeredDrivers[0];
    if (!driver) throw new Error('no driver');
    registeredDrivers[0] = {
      ...driver,
      changes: {
        async apply() {
          throw new SlipwayError('CANCELED', 'stopped');
        },
      },
    };
    expect((await catchRejection(provisionMachine('web', addTagAndTtl, sky.world())))?.code).toBe('CANCELED');
    registeredDrivers[0] = driver;
    sky.cloud.connectErrors.push(new SlipwayError('SSH_LOST', 'gone'));
    expect((await catchRejection(provisionMachine('web', addTagAndTtl, sky.world())))?.code).toBe('SSH_LOST');
    const ready = await provisionMachine('web', addTagAndTtl, sky.world());
    expect(appliedTags).toEqual(['a']);
    expect(ready.deadline).toBeDefined();
  });

  test('records a change for its next start while it is stopped, without an SSH connection', async () => {
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

describe('several cloud machines', () => {
  const names = ['web-1', 'web-2', 'web-3'];
  const buildSpecs = async ({ cloud }: { cloud: FakeCloud }): Promise<readonly MachineSpec[]> =>
    Promise.all(names.map(async (name) => buildCloudSpec(name, cloud)));
  const readBatchIds = async (world: World): Promise<readonly (string | undefined)[]> =>
    Promise.all(names.map(async (name) => (await world.store.read(name)).spec.batch?.id));

  test('are requested in one call, and each gets its own permanent host key', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const specs = await buildSpecs(sky);
    const results = await createMachines(specs, world, () => world);
    expect(results.map(({ name, value }) => [name, value?.phase])).toEqual(names.map((name) => [name, 'ready']));
    expect(sky.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create 3']);
    expect(sky.cloud.targets.map(({ batch }) => [batch?.index, batch?.size])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    expect(new Set(await readBatchIds(world)).size).toBe(1);
    const pins = await Promise.all(names.map(async (name) => readPinnedKey(world, name)));
    expect(new Set(pins).size).toBe(3);
    expect(new Set(sky.cloud.createdHosts.map(({ shownHostKey }) => shownHostKey))).toEqual(new Set(pins));
  });

  test('are created except for those that are already ready', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const [first, ...others] = await buildSpecs(sky);
    if (!first) throw new Error('there are three');
    await createMachine(first, world);
    const results = await createMachines([first, ...others], world, () => world);
    expect(results.map((one) => one.value !== undefined && !one.started)).toEqual([true, false, false]);
    expect(sky.cloud.createdHosts).toHaveLength(3);
  });

  test('whose creation was interrupted are continued in one call, with the same ids', async () => {
    await using sky = await openCloudWorld();
    const specs = await buildSpecs(sky);
    const killedWorld = sky.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachines(specs, killedWorld, () => killedWorld)).rejects.toBe(KILLED);
    const world = sky.world();
    const ids = await readBatchIds(world);
    expect((await createMachines(specs, world, () => world)).every(({ value }) => value !== undefined)).toBe(true);
    expect(await readBatchIds(world)).toEqual(ids);
    expect([sky.cloud.createdHosts.length, sky.cloud.calls.filter((call) => call === 'create 3').length]).toEqual([
      3, 2,
    ]);
  });

  test('are continued one by one after one of the batch was removed: the batch call would create it again', async () => {
    await using sky = await openCloudWorld();
    const specs = await buildSpecs(sky);
    const killedWorld = sky.world({ progress: recordingProgress({ when: 'before', id: 'create' }) });
    await expect(createMachines(specs, killedWorld, () => killedWorld)).rejects.toBe(KILLED);
    const world = sky.world();
    await removeMachine('web-2', REMOVE_OPTIONS, world);
    const remaining = specs.filter(({ name }) => name !== 'web-2');
    await createMachines(remaining, world, () => world);
    expect(sky.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create', 'create']);
    expect(sky.cloud.createdHosts).toHaveLength(2);
  });

  test('whose batch is refused fail one by one, each with the reason in its record', async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    sky.cloud.createManyError = new SlipwayError('CAPACITY', 'there is no room for three');
    const results = await createMachines(await buildSpecs(sky), world, () => world);
    expect(results.map(({ error }) => error?.code)).toEqual(['CAPACITY', 'CAPACITY', 'CAPACITY']);
    expect((await world.store.read('web-3')).failure?.message).toBe('there is no room for three');
  });
});

describe('gc', () => {
  const buildResource = (more: Partial<CloudResource>): CloudResource => ({
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
  const findOrphanNames = async (world: World, more: Partial<OrphanSearch> = {}): Promise<readonly string[]> =>
    (await findOrphans({ ...search, ...more }, world)).orphans.map(({ resource }) => resource);

  test("lists resources with this store's id that belong to no record", async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const home = await getHomeId(world.computer);
    await createMachine(await buildCloudSpec('web', sky.cloud, { batch: { id: 'batch', index: 1, size: 2 } }), world);
    const { id } = (await world.store.read('web')).spec;
    sky.cloud.resources = [
      buildResource({ home, id, resource: 'of the machine' }),
      buildResource({ home, id: 'batch', index: 1, resource: 'of the machine in the batch' }),
      buildResource({ home, id: 'batch', index: undefined, kind: 'firewall', resource: 'shared in the batch' }),
      buildResource({ home, id: 'batch', index: 0, resource: 'another of the batch' }),
      buildResource({ home, resource: 'orphan' }),
      buildResource({ resource: "another store's" }),
    ];
    expect(await findOrphanNames(world)).toEqual(['another of the batch', 'orphan']);
    expect(await findOrphanNames(world, { home: { id: 'elsewhere' } })).toEqual(["another store's"]);
    expect(await findOrphanNames(world, { home: 'all' })).toEqual([
      'another of the batch',
      'orphan',
      "another store's",
    ]);
  });

  test("deletes nothing while a record can't be read: its resources could be taken for orphans", async () => {
    await using sky = await openCloudWorld();
    const world = sky.world();
    const home = await getHomeId(world.computer);
    sky.cloud.resources = [buildResource({ home })];
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

  test('gives a store one id, even if several commands ask for it first', async () => {
    await using sky = await openCloudWorld();
    const { computer } = sky.world();
    const ids = await Promise.all(Array.from({ length: 8 }, async () => getHomeId(computer)));
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(/^[a-z][a-z0-9-]{6,44}$/);
  });
});
