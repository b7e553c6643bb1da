import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { createMachines } from '../../src/operations/create-many.ts';
import type { CloudDriver, InstanceStatus, CloudResource, OptionChange } from '../../src/drivers/contract.ts';
import { SlipwayError } from '../../src/errors.ts';
import { deleteOrphans, findOrphans, type OrphanSearch } from '../../src/operations/gc.ts';
import { getStoreId } from '../../src/machine/store-id.ts';
import { createMachine } from '../../src/operations/create.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { extendMachine } from '../../src/operations/extend.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import type { World } from '../../src/operations/world.ts';
import type { LifetimeSpec, MachineSpec } from '../../src/machine/model.ts';
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

/**
 * Registers a driver of a new cloud in memory, and prepares an empty home. `createWorld` returns the world of one
 * command; all its worlds share the home and the cloud.
 */
async function setUpCloud() {
  const home = await createTemporaryFolder();
  const cloud = fakeCloud();
  registeredDrivers.push(cloud.driver);
  let pairs = 0;
  const createWorld = (overrides: Partial<World> = {}): World =>
    worldIn(home.path, {
      connect: cloud.connect,
      newKeyPair: async (comment) => {
        pairs += 1;
        return { private: `PRIVATE ${pairs}\n`, public: `ssh-ed25519 KEY${pairs} ${comment}` };
      },
      ...overrides,
    });
  return {
    cloud,
    createWorld,
    async [Symbol.asyncDispose]() {
      await cloud[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

async function buildCloudSpec(
  name: string,
  cloud: FakeCloud,
  overrides: Partial<MachineSpec> = {},
): Promise<MachineSpec> {
  const spec = specNamed(name, { driver: 'sky', options: {}, ...overrides });
  return { ...spec, engine: { ...spec.engine, port: await cloud.prepareHost() } };
}

const readPinnedKey = async (world: World, name: string): Promise<string | undefined> =>
  (await world.store.read(name)).host?.ssh?.hostKey;
/** The file of the bootstrap host key in a machine's folder `ssh`. */
const BOOTSTRAP_HOST_KEY_FILE = 'birth_ed25519';
const REMOVE_OPTIONS = { deprovision: false, force: false };

describe('a cloud machine', () => {
  test('gets a bootstrap host key and no other secret in its public user data, and the permanent host key over SSH', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const ready = await createMachine(await buildCloudSpec('web', setup.cloud), world);
    const [boot] = setup.cloud.boots;
    expect(boot?.files).toEqual([]);
    const { ssh } = world.store.paths('web');
    const permanentKey = (await readFile(join(ssh, 'host_ed25519.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
    expect(boot?.hostKey.public).not.toBe(permanentKey);
    expect([ready.host.ssh?.hostKey, ready.host.ssh?.bootstrapHostKey]).toEqual([permanentKey, undefined]);
    expect(setup.cloud.createdHosts[0]?.shownHostKey).toBe(permanentKey);
    expect(existsSync(join(ssh, BOOTSTRAP_HOST_KEY_FILE))).toBe(false);
    expect(existsSync(join(ssh, `${BOOTSTRAP_HOST_KEY_FILE}.pub`))).toBe(false);
  });

  test('keeps the options that its driver resolved, so that later commands use the same region', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    await createMachine(await buildCloudSpec('web', setup.cloud), world);
    expect((await world.store.read('web')).spec.options).toEqual({ region: 'north' });
  });

  test('is connected to again while it boots: its ports are closed, then its keys are not installed', async () => {
    await using setup = await setUpCloud();
    setup.cloud.connectErrors.push(
      new SlipwayError('SSH_UNREACHABLE', 'nothing listens there'),
      new SlipwayError('HOST_KEY', 'a host key of the image'),
      new SlipwayError('SSH_REFUSED', 'no key is installed'),
    );
    expect((await createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld())).phase).toBe('ready');
  });

  test("fails at once if waiting can't fix the error", async () => {
    await using setup = await setUpCloud();
    setup.cloud.connectErrors.push(new SlipwayError('USAGE', 'a wrong key file'));
    expect(
      (await catchRejection(createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld())))?.code,
    ).toBe('LOCAL_FILES');
  });

  test('is waited for in a step of its own if it has no address yet', async () => {
    await using setup = await setUpCloud();
    const { machines } = setup.cloud.driver;
    let inspections = 0;
    registeredDrivers[0] = {
      ...setup.cloud.driver,
      machines: {
        ...machines,
        inspect: async (...call) => {
          inspections += 1;
          return inspections === 1 ? { state: 'missing' } : machines.inspect(...call);
        },
      },
    };
    const progress = recordingProgress();
    await createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld({ progress }));
    expect(progress.ids).toContain('address');
  });

  test('no longer exists if it was ready and its provider does not find it', async () => {
    await using setup = await setUpCloud();
    await createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld());
    registeredDrivers[0] = {
      ...setup.cloud.driver,
      machines: { ...setup.cloud.driver.machines, inspect: async () => ({ state: 'missing' }) },
    };
    const error = await catchRejection(provisionMachine('web', (spec) => spec, setup.createWorld()));
    expect([error?.code, error?.message, error?.hint]).toEqual([
      'MACHINE_NOT_FOUND',
      'Machine "web" no longer exists at sky',
      'Remove its record: slipway rm web. Then create it again: slipway create web',
    ]);
  });

  test('is never trusted while it shows an unknown host key, however long that takes', async () => {
    await using setup = await setUpCloud();
    const stop = new AbortController();
    const world = setup.createWorld({ signal: stop.signal });
    const spec = await buildCloudSpec('web', setup.cloud);
    setup.cloud.wrongHostKey = 'ssh-ed25519 STRANGER';
    const creation = createMachine(spec, world);
    // Long enough for a few attempts, which are a second apart.
    setTimeout(() => stop.abort(), 2500);
    expect((await catchRejection(creation))?.code).toBe('CANCELED');
    expect(setup.cloud.createdHosts.map(({ host }) => host.executions)).toEqual([[]]);
  });

  test('gets the current caller IP into its firewall when its creation continues and when it is provisioned', async () => {
    await using setup = await setUpCloud();
    const spec = await buildCloudSpec('web', setup.cloud);
    await expect(
      createMachine(spec, setup.createWorld({ progress: recordingProgress({ when: 'before', id: 'connect' }) })),
    ).rejects.toBe(KILLED);
    expect(setup.cloud.calls).not.toContain('allowCallerIp');
    await createMachine(spec, setup.createWorld());
    expect(setup.cloud.calls.filter((call) => call === 'allowCallerIp')).toHaveLength(1);
    await provisionMachine('web', (same) => same, setup.createWorld());
    expect(setup.cloud.calls.filter((call) => call === 'allowCallerIp')).toHaveLength(2);
  });
});

const CREATE_STEPS = ['settle', 'create', 'connect', 'facts', 'host-key', 'configure-engine', 'verify', 'profiles'];
const KILL_POINTS = CREATE_STEPS.flatMap((id) => (['before', 'after'] as const).map((when) => ({ when, id })));

describe('a create in a cloud that is killed', () => {
  test.each(KILL_POINTS)(
    '$when $id is completed by the next create, with one instance and its permanent host key',
    async (killPoint) => {
      await using setup = await setUpCloud();
      const spec = await buildCloudSpec('web', setup.cloud);
      await expect(createMachine(spec, setup.createWorld({ progress: recordingProgress(killPoint) }))).rejects.toBe(
        KILLED,
      );
      const world = setup.createWorld();
      expect((await createMachine(spec, world)).phase).toBe('ready');
      expect(setup.cloud.createdHosts).toHaveLength(1);
      expect(setup.cloud.createdHosts[0]?.shownHostKey).toBe(await readPinnedKey(world, 'web'));
      expect(existsSync(join(world.store.paths('web').ssh, BOOTSTRAP_HOST_KEY_FILE))).toBe(false);
    },
  );

  test.each(KILL_POINTS)('$when $id is undone by rm', async (killPoint) => {
    await using setup = await setUpCloud();
    const spec = await buildCloudSpec('web', setup.cloud);
    await expect(createMachine(spec, setup.createWorld({ progress: recordingProgress(killPoint) }))).rejects.toBe(
      KILLED,
    );
    const world = setup.createWorld();
    if ((await world.store.find('web')) !== undefined) await removeMachine('web', REMOVE_OPTIONS, world);
    expect(setup.cloud.createdHosts).toEqual([]);
    expect([await world.store.listNames(), await readContextOwner('web', world.clientPaths)]).toEqual([[], undefined]);
  });

  test('has recorded its request before sending it, so that rm can look for the instance', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(await buildCloudSpec('web', setup.cloud), world)).rejects.toBe(KILLED);
    await removeMachine('web', REMOVE_OPTIONS, setup.createWorld());
    expect(setup.cloud.targets.at(-1)?.lastRequest).toEqual({
      what: 'instance',
      at: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });
});

describe('rm of a cloud machine whose provider can not be asked', () => {
  const EXPIRED = new SlipwayError('CREDENTIALS', 'Your sign-in has expired', { hint: 'Sign in again: sky login' });

  test('is refused, and says how to sign in and that --force forgets the machine', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    await createMachine(await buildCloudSpec('web', setup.cloud), world);
    setup.cloud.removeError = EXPIRED;
    expect(await catchRejection(removeMachine('web', REMOVE_OPTIONS, world))).toMatchObject({
      code: 'CREDENTIALS',
      message: 'Your sign-in has expired',
      hint: 'Sign in again: sky login. To forget the machine, and leave what it has in the cloud: slipway rm --force web',
    });
    expect(await world.store.listNames()).toEqual(['web']);
  });

  test.each([EXPIRED, new Error('an error that nobody expected')])(
    'forgets the machine with --force, and says what may be left: %s',
    async (removeError) => {
      await using setup = await setUpCloud();
      const progress = recordingProgress();
      const world = setup.createWorld({ progress });
      await createMachine(await buildCloudSpec('web', setup.cloud), world);
      const { id } = (await world.store.read('web')).spec;
      setup.cloud.removeError = removeError;
      const { stays } = await removeMachine('web', { deprovision: false, force: true }, world);
      expect(stays).toBe('what it had in sky may still exist');
      expect(await world.store.listNames()).toEqual([]);
      expect(existsSync(world.store.paths('web').ssh)).toBe(false);
      expect(await readContextOwner('web', world.clientPaths)).toBeUndefined();
      expect(progress.notes.slice(-3)).toEqual([
        `Machine "web" was forgotten, and not removed from sky: ${removeError.message}`,
        `These resources of "web" may still exist and cost money: one host (${id}) in north`,
        'Look at the sky. Once sky can be asked again, this finds and removes them: slipway gc --driver sky --home ' +
          (await getStoreId(world.computer)),
      ]);
    },
  );

  test('is not removed with --force if the user cancels', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    await createMachine(await buildCloudSpec('web', setup.cloud), world);
    setup.cloud.removeError = new SlipwayError('CANCELED', 'Canceled');
    await catchRejection(removeMachine('web', { deprovision: false, force: true }, world));
    expect(await world.store.listNames()).toEqual(['web']);
  });
});

describe('a cloud machine with a lifetime', () => {
  const lifetime = { ttl: '4h', idleStop: '30m' };

  test('has its timers, and no secret, in its public user data', async () => {
    await using setup = await setUpCloud();
    const { driver } = setup.cloud;
    registeredDrivers[0] = { ...driver, shutdownBehavior: () => ({ byItself: 'stopped', costs: 'it costs nothing' }) };
    await createMachine(await buildCloudSpec('web', setup.cloud, { lifetime }), setup.createWorld());
    const [boot] = setup.cloud.boots;
    expect(boot?.files.map(({ path }) => path)).toEqual([
      '/usr/local/lib/slipway/deadline.sh',
      '/etc/systemd/system/slipway-deadline.service',
      '/etc/systemd/system/slipway-deadline.timer',
      '/usr/local/lib/slipway/idle.sh',
      '/etc/systemd/system/slipway-idle.service',
      '/etc/systemd/system/slipway-idle.timer',
      '/etc/systemd/system/timers.target.d/slipway.conf',
    ]);
    expect(boot?.commands?.join('\n')).toContain(
      'systemctl start --no-block slipway-deadline.timer slipway-idle.timer',
    );
    expect(JSON.stringify(boot?.files)).not.toMatch(/PRIVATE|BEGIN/);
  });

  test('is kept at a shutdown from the moment that it loses its time, and removed again once it has one', async () => {
    await using setup = await setUpCloud();
    const { driver } = setup.cloud;
    const changes: string[] = [];
    registeredDrivers[0] = {
      ...driver,
      shutdownBehavior: (target) => ({
        byItself: target.lifetime?.ttl === undefined || target.lifetime.idleStop !== undefined ? 'stopped' : 'removed',
        costs: 'it costs nothing',
      }),
      changes: {
        async setShutdownBehavior(_target, behavior) {
          changes.push(`${behavior} after ${setup.cloud.createdHosts[0]?.host.executions.at(-1)}`);
        },
      },
    };
    const world = setup.createWorld();
    const spec = await buildCloudSpec('web', setup.cloud, { lifetime: { ttl: '4h' } });
    expect((await createMachine(spec, world)).onShutdown).toBe('removed');
    const { executions } = setup.cloud.createdHosts[0]?.host ?? { executions: [] };
    executions.splice(0, executions.length, 'nothing');
    expect((await extendMachine('web', 'never', world)).machine.onShutdown).toBe('stopped');
    expect(changes).toEqual(['stopped after nothing']);
    expect((await world.store.read('web')).onShutdown).toBe('stopped');
    const provision = async (wanted: LifetimeSpec): Promise<unknown> =>
      (await provisionMachine('web', (before) => ({ ...before, lifetime: wanted }), world)).onShutdown;
    expect(await provision({ ttl: '1h' })).toBe('removed');
    expect(changes.at(-1)).toBe('removed after life.sh');
    expect((await world.store.read('web')).onShutdown).toBe('removed');
    expect(await provision({ ttl: '1h', idleStop: '30m' })).toBe('stopped');
    expect(changes).toHaveLength(3);
    expect(await provision({ ttl: '1h', idleStop: '30m' })).toBe('stopped');
    expect(changes).toHaveLength(3);
  });
});

/**
 * Registers the cloud's driver with an option of each kind: a change of `tags` takes effect at once, of `size` at the
 * next start, and of `region` only on a new machine. Returns the tags that its `changes.apply` receives.
 */
function registerChangeableDriver(cloud: FakeCloud, state: InstanceStatus | undefined = undefined) {
  const appliedTags: unknown[] = [];
  const changeKinds: Readonly<Record<string, OptionChange>> = { tags: 'live', size: 'restart' };
  const { driver } = cloud;
  const changeable: CloudDriver = {
    ...driver,
    options: z.object({ region: z.string().optional(), tags: z.string().optional(), size: z.string().optional() }),
    cloud: {
      ...driver.cloud,
      resolveOptions: async ({ options }) => ({ ...options, region: options.region ?? 'north' }),
    },
    shutdownBehavior: () => ({ byItself: 'stopped', costs: 'it costs nothing' }),
    changeKindOf: (option) => changeKinds[option] ?? 'replace',
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
  test('is continued only with the same options while it is incomplete, because another region would get another instance', async () => {
    await using setup = await setUpCloud();
    registerChangeableDriver(setup.cloud);
    const spec = await buildCloudSpec('web', setup.cloud);
    const killedWorld = setup.createWorld({ progress: recordingProgress({ when: 'before', id: 'connect' }) });
    await expect(createMachine(spec, killedWorld)).rejects.toBe(KILLED);
    const before = await setup.createWorld().store.read('web');
    const error = await catchRejection(createMachine({ ...spec, options: { region: 'south' } }, setup.createWorld()));
    expect([error?.code, error?.message, error?.hint]).toEqual([
      'USAGE',
      'Machine "web" is incomplete and has other options of sky: region',
      'To continue: slipway create web. To undo: slipway rm web',
    ]);
    expect(await setup.createWorld().store.read('web')).toEqual(before);
    expect(setup.cloud.createdHosts).toHaveLength(1);
    const elsewhere = await catchRejection(
      createMachine({ ...spec, driver: 'generic', options: { ipAddress: 'x' } }, setup.createWorld()),
    );
    expect(elsewhere?.code).toBe('MACHINE_EXISTS');
  });

  test('is created with other options, which are resolved again, after its provider refused it and nothing exists', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const { driver } = setup.cloud;
    registeredDrivers[0] = {
      ...driver,
      options: z.object({ region: z.string().optional(), network: z.string().optional() }),
      cloud: {
        ...driver.cloud,
        resolveOptions: async ({ options: { region = 'north', network } }) => ({
          region,
          network: network ?? `of ${String(region)}`,
        }),
      },
    } as CloudDriver;
    setup.cloud.createError = new SlipwayError('QUOTA', 'there is no quota in the north');
    const spec = await buildCloudSpec('web', setup.cloud);
    expect((await catchRejection(createMachine(spec, world)))?.code).toBe('QUOTA');
    const { spec: before, ...record } = await world.store.read('web');
    expect(record).not.toHaveProperty('lastRequest');
    expect(before.options).toEqual({ region: 'north', network: 'of north' });
    setup.cloud.createError = undefined;
    // As the command line does: the options of the record, and the flag.
    await createMachine({ ...spec, options: { ...before.options, region: 'south' } }, world);
    expect((await world.store.read('web')).spec).toMatchObject({
      id: before.id,
      options: { region: 'south', network: 'of south' },
      userOptions: { region: 'south' },
    });
  });

  test("records what its provider has applied, even if its host can't be reached afterwards", async () => {
    await using setup = await setUpCloud();
    const appliedTags = registerChangeableDriver(setup.cloud);
    const world = setup.createWorld();
    await createMachine(await buildCloudSpec('web', setup.cloud), world);
    const addTag = (spec: MachineSpec): MachineSpec => ({ ...spec, options: { ...spec.options, tags: 'a' } });
    setup.cloud.connectErrors.push(...Array.from({ length: 3 }, () => new SlipwayError('SSH_REFUSED', 'no')));
    expect((await catchRejection(provisionMachine('web', addTag, world)))?.code).toBe('SSH_REFUSED');
    expect((await world.store.read('web')).spec.options).toMatchObject({ tags: 'a' });
    setup.cloud.connectErrors.splice(0);
    await provisionMachine('web', addTag, world);
    expect(appliedTags).toEqual(['a']);
  });

  test('gets its change and its deadline from a later provision, if earlier ones were interrupted', async () => {
    await using setup = await setUpCloud();
    const appliedTags = registerChangeableDriver(setup.cloud);
    await createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld());
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
    expect((await catchRejection(provisionMachine('web', addTagAndTtl, setup.createWorld())))?.code).toBe('CANCELED');
    registeredDrivers[0] = driver;
    setup.cloud.connectErrors.push(new SlipwayError('SSH_LOST', 'gone'));
    expect((await catchRejection(provisionMachine('web', addTagAndTtl, setup.createWorld())))?.code).toBe('SSH_LOST');
    const ready = await provisionMachine('web', addTagAndTtl, setup.createWorld());
    expect(appliedTags).toEqual(['a']);
    expect(ready.deadline).toBeDefined();
  });

  test('records a change for its next start while it is stopped, without an SSH connection', async () => {
    await using setup = await setUpCloud();
    registerChangeableDriver(setup.cloud);
    await createMachine(await buildCloudSpec('web', setup.cloud), setup.createWorld());
    registerChangeableDriver(setup.cloud, { state: 'stopped' });
    const progress = recordingProgress();
    await provisionMachine(
      'web',
      (spec) => ({ ...spec, options: { ...spec.options, size: 'xl' } }),
      setup.createWorld({ progress }),
    );
    expect((await setup.createWorld().store.read('web')).spec.options).toMatchObject({ size: 'xl' });
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
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const specs = await buildSpecs(setup);
    const results = await createMachines(specs, world, () => world);
    expect(results.map(({ name, value }) => [name, value?.phase])).toEqual(names.map((name) => [name, 'ready']));
    expect(setup.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create 3']);
    expect(setup.cloud.targets.map(({ batch }) => [batch?.index, batch?.size])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    expect(new Set(await readBatchIds(world)).size).toBe(1);
    const pins = await Promise.all(names.map(async (name) => readPinnedKey(world, name)));
    expect(new Set(pins).size).toBe(3);
    expect(new Set(setup.cloud.createdHosts.map(({ shownHostKey }) => shownHostKey))).toEqual(new Set(pins));
  });

  test('are created except for those that are already ready', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const [first, ...others] = await buildSpecs(setup);
    if (!first) throw new Error('there are three');
    await createMachine(first, world);
    const results = await createMachines([first, ...others], world, () => world);
    expect(results.map((one) => one.value !== undefined && !one.started)).toEqual([true, false, false]);
    expect(setup.cloud.createdHosts).toHaveLength(3);
  });

  test('whose creation was interrupted are continued in one call, with the same ids', async () => {
    await using setup = await setUpCloud();
    const specs = await buildSpecs(setup);
    const killedWorld = setup.createWorld({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachines(specs, killedWorld, () => killedWorld)).rejects.toBe(KILLED);
    const world = setup.createWorld();
    const ids = await readBatchIds(world);
    expect((await createMachines(specs, world, () => world)).every(({ value }) => value !== undefined)).toBe(true);
    expect(await readBatchIds(world)).toEqual(ids);
    expect([setup.cloud.createdHosts.length, setup.cloud.calls.filter((call) => call === 'create 3').length]).toEqual([
      3, 2,
    ]);
  });

  test('are continued one by one if one of the batch was removed, because the batch call would create it again', async () => {
    await using setup = await setUpCloud();
    const specs = await buildSpecs(setup);
    const killedWorld = setup.createWorld({ progress: recordingProgress({ when: 'before', id: 'create' }) });
    await expect(createMachines(specs, killedWorld, () => killedWorld)).rejects.toBe(KILLED);
    const world = setup.createWorld();
    await removeMachine('web-2', REMOVE_OPTIONS, world);
    const remaining = specs.filter(({ name }) => name !== 'web-2');
    await createMachines(remaining, world, () => world);
    expect(setup.cloud.calls.filter((call) => call.startsWith('create'))).toEqual(['create', 'create']);
    expect(setup.cloud.createdHosts).toHaveLength(2);
  });

  test('whose batch is refused fail one by one, each with the reason in its record', async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    setup.cloud.createManyError = new SlipwayError('CAPACITY', 'there is no room for three');
    const results = await createMachines(await buildSpecs(setup), world, () => world);
    expect(results.map(({ error }) => error?.code)).toEqual(['CAPACITY', 'CAPACITY', 'CAPACITY']);
    expect((await world.store.read('web-3')).failure?.message).toBe('there is no room for three');
    setup.cloud.createManyError = undefined;
    const specs = (await buildSpecs(setup)).map((spec) => ({ ...spec, options: { region: 'south' } }));
    expect((await createMachines(specs, world, () => world)).map(({ error }) => error)).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect((await world.store.read('web-3')).spec.options).toEqual({ region: 'south' });
  });
});

describe('gc', () => {
  const buildResource = (overrides: Partial<CloudResource>): CloudResource => ({
    id: 'lost',
    index: undefined,
    name: 'old',
    home: 'elsewhere',
    kind: 'instance',
    resource: 'i-1',
    place: 'north',
    state: 'running',
    createdAt: undefined,
    monthly: 7,
    ...overrides,
  });
  const searchOwnStore: OrphanSearch = { driver: undefined, optionsOf: () => ({}), home: 'this' };
  const findOrphanNames = async (world: World, overrides: Partial<OrphanSearch> = {}): Promise<readonly string[]> =>
    (await findOrphans({ ...searchOwnStore, ...overrides }, world)).orphans.map(({ resource }) => resource);

  test("lists resources with this store's id that belong to no record", async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const storeId = await getStoreId(world.computer);
    await createMachine(await buildCloudSpec('web', setup.cloud, { batch: { id: 'batch', index: 1, size: 2 } }), world);
    const { id } = (await world.store.read('web')).spec;
    setup.cloud.resources = [
      buildResource({ home: storeId, id, resource: 'of the machine' }),
      buildResource({ home: storeId, id: 'batch', index: 1, resource: 'of the machine in the batch' }),
      buildResource({
        home: storeId,
        id: 'batch',
        index: undefined,
        kind: 'firewall',
        resource: 'shared in the batch',
      }),
      buildResource({ home: storeId, id: 'batch', index: 0, resource: 'another of the batch' }),
      buildResource({ home: storeId, resource: 'orphan' }),
      buildResource({ resource: "another store's" }),
      buildResource({ id, resource: 'of the machine, which was imported from another store' }),
    ];
    expect(await findOrphanNames(world)).toEqual(['another of the batch', 'orphan']);
    expect(await findOrphanNames(world, { home: { id: 'elsewhere' } })).toEqual(["another store's"]);
    expect(await findOrphanNames(world, { home: 'all' })).toEqual([
      'another of the batch',
      'orphan',
      "another store's",
    ]);
  });

  test("deletes nothing while a record can't be read, because its resources look like orphans", async () => {
    await using setup = await setUpCloud();
    const world = setup.createWorld();
    const storeId = await getStoreId(world.computer);
    setup.cloud.resources = [buildResource({ home: storeId })];
    const { folder, record } = world.store.paths('torn');
    await mkdir(folder, { recursive: true });
    await writeFile(record, '{');
    const { orphans } = await findOrphans(searchOwnStore, world);
    expect((await catchRejection(deleteOrphans(orphans, world)))?.code).toBe('RECORD_BROKEN');
    expect(setup.cloud.deletedResources).toEqual([]);
    await removeMachine('torn', { deprovision: false, force: true }, world);
    await deleteOrphans(orphans, world);
    expect(setup.cloud.deletedResources).toHaveLength(1);
  });

  test('gives a store a single id, even if several commands ask for it at the same time', async () => {
    await using setup = await setUpCloud();
    const { computer } = setup.createWorld();
    const ids = await Promise.all(Array.from({ length: 8 }, async () => getStoreId(computer)));
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(/^[a-z][a-z0-9-]{6,44}$/);
  });
});
