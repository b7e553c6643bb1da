import { X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import type { Driver, DriverManifest } from '../../src/drivers/contract.ts';
import { seedOf } from '../../src/drivers/qemu/seed.ts';
import { SlipwayError } from '../../src/errors.ts';
import { createMachine } from '../../src/operations/create.ts';
import { planDryRun } from '../../src/operations/dry-run.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { inspectMachine, killMachine, restartMachine, startMachine, stopMachine } from '../../src/operations/power.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { readContextOwner } from '../../src/profiles/docker-context.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
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

/** A local machine's world, and all that was made for it: a host in memory, its driver, key pairs that differ. */
async function openLocalWorld(has: { readonly engine: boolean } = { engine: true }) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost(has);
  const local = fakeLocalMachine(host);
  registered.drivers.push(local.driver);
  const pairs: string[] = [];
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, {
      connect: host.connect,
      newKeyPair: async (comment) => {
        pairs.push(comment);
        // Both are made at once, so only counting each for itself tells the first of a kind from the second.
        const key = `${comment === 'web' ? 'HOST' : 'LOGIN'}${pairs.filter((other) => other === comment).length}`;
        return { private: `PRIVATE ${key}\n`, public: `ssh-ed25519 ${key} ${comment}` };
      },
      ...more,
    });
  return {
    host,
    local,
    pairs,
    world,
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

const SERVER_CERTIFICATE = '/etc/docker/slipway/server-cert.pem';
/** Another word for where the host in memory listens, which no certificate has unasked. */
const OTHER_ADDRESS = '127.1';
const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';

const specOn = (host: FakeHost, more: Partial<MachineSpec> = {}): MachineSpec => {
  const spec = specNamed('web', { id: ID, driver: 'local', options: {}, ...more });
  return { ...spec, engine: { ...spec.engine, port: host.port } };
};
const keepSpec = (spec: MachineSpec): MachineSpec => spec;

describe('a machine that gets all before its first start', () => {
  test('is ready without a visit, and its engine started once', async () => {
    await using all = await openLocalWorld();
    const progress = recordingProgress();
    const world = all.world({ progress });
    const ready = await createMachine(specOn(all.host), world);
    expect(progress.ids).toEqual(['prepare', 'create', 'boot', 'verify', 'profiles']);
    expect([all.host.expectedHostKeys, all.host.engineStarts()]).toEqual([[], 1]);
    expect(ready).toMatchObject({
      phase: 'ready',
      endpoint: { url: `tcp://127.0.0.1:${all.host.port}`, tls: true },
      host: { ssh: { port: 20_022, hostKey: 'ssh-ed25519 HOST1' } },
    });
    expect(await world.store.read('web')).toEqual(ready);
    expect(await readContextOwner('web', world.clientPaths)).toBe(ID);
    expect(await readFile(world.store.paths('web').record, 'utf8')).not.toContain('PRIVATE');
  });

  test('has nothing that a later provision would change', async () => {
    await using all = await openLocalWorld();
    const env = ['HTTP_PROXY=http://proxy:3128'];
    const spec = specOn(all.host);
    const wanted = { ...spec, engine: { ...spec.engine, env, label: ['a=b'], registryMirror: ['https://mirror'] } };
    await createMachine(wanted, all.world());
    const laid = new Map(all.host.files);
    await provisionMachine('web', keepSpec, all.world());
    expect([all.host.executions, all.host.engineStarts()]).toEqual([['facts.sh'], 1]);
    expect(all.host.files).toEqual(laid);
    expect(all.host.expectedHostKeys, 'the key is known from the first packet on').toEqual(['ssh-ed25519 HOST1']);
  });

  test('keeps its key pairs here, for nobody else to read', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const ready = await createMachine(specOn(all.host), world);
    const { ssh } = world.store.paths('web');
    expect(all.pairs).toHaveLength(2);
    expect(ready.host.ssh?.keyFile).toBe(join(ssh, 'id_ed25519'));
    for (const file of ['id_ed25519', 'host_ed25519']) expect((await stat(join(ssh, file))).mode & 0o777).toBe(0o600);
    const [boot] = all.local.boots;
    expect(boot).toMatchObject({
      authorizedKey: `${(await readFile(join(ssh, 'id_ed25519.pub'), 'utf8')).trim()}`,
      hostKey: { private: await readFile(join(ssh, 'host_ed25519'), 'utf8') },
      enginePort: all.host.port,
    });
    expect(`${boot?.hostKey.public} web`).toBe((await readFile(join(ssh, 'host_ed25519.pub'), 'utf8')).trim());
    expect(boot?.files.map(({ content }) => content).join('\n')).not.toContain('PRIVATE LOGIN');
  });

  test('is shown by a dry run with the files of its first start, and nothing is made', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const plan = await planDryRun(specOn(all.host), undefined, world);
    expect(plan.map(({ id }) => id)).toEqual(['create']);
    expect([all.local.boots, all.local.calls, all.pairs, await world.store.listNames()]).toEqual([[], [], [], []]);
    await createMachine(specOn(all.host), world);
    const paths = plan.flatMap(({ files }) => files).map(({ path }) => path);
    expect(all.local.boots[0]?.files.map(({ path }) => path)).toEqual(paths);
  });
});

const KILL_POINTS = ['create', 'boot', 'verify', 'profiles'].flatMap((id) =>
  (['before', 'after'] as const).map((when) => ({ when, id })),
);

describe('a create of it that dies', () => {
  test.each(KILL_POINTS)('$when $id is gone on with by the same identity', async (dies) => {
    await using all = await openLocalWorld();
    const dying = all.world({ progress: recordingProgress(dies) });
    await expect(createMachine(specOn(all.host), dying)).rejects.toBe(KILLED);
    const ready = await createMachine(specOn(all.host, { id: 'another' }), all.world());
    expect(ready.phase).toBe('ready');
    expect(ready.spec.id).toBe(ID);
    const [first, ...others] = all.local.boots;
    if (!first) throw new Error('create was called');
    for (const boot of others) expect(boot).toEqual(first);
    const identity = { name: 'web', id: ID, user: 'slipway' };
    const seeds = all.local.boots.map((boot) => seedOf({ ...identity, boot }).id);
    expect(new Set(seeds).size).toBe(1);
    expect(others).toHaveLength(dies.id === 'create' && dies.when === 'before' ? 0 : 1);
    expect([all.pairs.length, all.host.engineStarts(), all.host.expectedHostKeys]).toEqual([2, 1, []]);
  });

  test('between the halves of a key pair makes that pair anew', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const dying = all.world({
      newKeyPair: async (comment) => {
        if (comment === 'web') throw KILLED;
        return { private: 'PRIVATE login\n', public: `ssh-ed25519 LOGIN ${comment}` };
      },
    });
    await expect(createMachine(specOn(all.host), dying)).rejects.toBe(KILLED);
    await createMachine(specOn(all.host), world);
    expect(all.pairs).toContain('web');
    expect(all.local.boots).toHaveLength(1);
  });

  test("because its machine says that it can't start stands in the record, and is tried again", async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    all.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk');
    expect((await catchRejection(createMachine(specOn(all.host), world)))?.code).toBe('BOOT_FAILED');
    expect(await world.store.read('web')).toMatchObject({
      phase: 'creating',
      failure: { step: 'boot', code: 'BOOT_FAILED' },
    });
    all.local.bootError = undefined;
    expect((await createMachine(specOn(all.host), world)).failure).toBeUndefined();
  });

  test('is undone by rm, machine and all', async () => {
    await using all = await openLocalWorld();
    const dying = all.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(specOn(all.host), dying)).rejects.toBe(KILLED);
    const world = all.world();
    expect(await removeMachine('web', { deprovision: false, force: false }, world)).toMatchObject({ stays: undefined });
    expect(all.local.calls).toEqual(['prepare', 'create', 'remove']);
    expect(await world.store.listNames()).toEqual([]);
  });
});

describe('a machine that has to be visited all the same', () => {
  test('because its image came without an engine gets one over SSH, and what was laid stays', async () => {
    await using all = await openLocalWorld({ engine: false });
    const progress = recordingProgress();
    const ready = await createMachine(specOn(all.host), all.world({ progress }));
    expect(ready.phase).toBe('ready');
    const before = ['prepare', 'create', 'boot', 'verify'];
    expect(progress.ids).toEqual([...before, 'connect', 'facts', 'install-engine', 'verify', 'profiles']);
    expect([all.host.executions, all.host.engineStarts()]).toEqual([['facts.sh', 'install-engine.debian.sh'], 1]);
    expect(all.host.expectedHostKeys).toEqual(['ssh-ed25519 HOST1']);
  });

  test('because another engine was asked for is not asked for what its own says', async () => {
    await using all = await openLocalWorld();
    const progress = recordingProgress();
    const spec = specOn(all.host);
    await createMachine({ ...spec, engine: { ...spec.engine, version: '28' } }, all.world({ progress }));
    expect(progress.ids.filter((id) => id === 'verify')).toHaveLength(1);
    expect(all.host.executions).toContain('install-engine.debian.sh');
  });

  test('is not visited when its engine lets in whoever comes', async () => {
    await using all = await openLocalWorld();
    all.host.acceptsAnyClient = true;
    expect((await catchRejection(createMachine(specOn(all.host), all.world())))?.code).toBe('ENGINE_OPEN');
    expect(all.host.expectedHostKeys).toEqual([]);
  });
});

describe('stop, kill and start', () => {
  test('do what they say, and start ends when the engine answers', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const ready = await createMachine(specOn(all.host), world);
    await stopMachine('web', 42, world);
    expect(await inspectMachine(ready, world)).toEqual({ state: 'stopped' });
    const progress = recordingProgress();
    expect(await startMachine('web', all.world({ progress }))).toEqual(ready);
    expect(progress.ids).toEqual(['start', 'boot', 'verify', 'profiles']);
    await killMachine('web', world);
    expect(await inspectMachine(ready, world)).toEqual({ state: 'stopped' });
    expect(all.local.calls.filter((call) => !['prepare', 'create', 'waitUntilBooted'].includes(call))).toEqual([
      'stop in 42',
      'start',
      'kill',
    ]);
    expect(all.host.expectedHostKeys).toEqual([]);
    expect(await world.store.read('web')).toEqual(ready);
  });

  test('are what a restart does where the driver can do both', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const ready = await createMachine(specOn(all.host), world);
    expect(await restartMachine('web', 42, world)).toEqual(ready);
    expect(all.local.calls.filter((call) => !['prepare', 'create', 'waitUntilBooted'].includes(call))).toEqual([
      'stop in 42',
      'start',
    ]);
    expect(all.host.expectedHostKeys).toEqual([]);
  });

  test('at another address give it a certificate and clients a profile for that', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    const ready = await createMachine(specOn(all.host), world);
    const named = (): string =>
      new X509Certificate(all.host.files.get(SERVER_CERTIFICATE)?.content ?? '').subjectAltName ?? '';
    expect(named()).not.toContain(OTHER_ADDRESS);
    await stopMachine('web', 1, world);
    all.local.address = OTHER_ADDRESS;
    const moved = await startMachine('web', world);
    expect(moved).toMatchObject({
      phase: 'ready',
      host: { address: OTHER_ADDRESS },
      endpoint: { url: `tcp://${OTHER_ADDRESS}:${all.host.port}` },
    });
    expect(named()).toContain(OTHER_ADDRESS);
    expect(await world.store.read('web')).toEqual(moved);
    const contexts = join(world.clientPaths.dockerConfig, 'contexts', 'meta');
    const [id = ''] = await readdir(contexts);
    expect(await readFile(join(contexts, id, 'meta.json'), 'utf8')).toContain(moved.endpoint.url);
    expect(moved.endpoint.url).not.toBe(ready.endpoint.url);
    // The next start finds it where it is.
    all.host.executions.length = 0;
    await startMachine('web', world);
    expect(all.host.executions).toEqual([]);
  });

  test('never lead to rm: a start that fails is tried again, and the disk stays', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    all.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk', {
      hint: 'Look there',
    });
    expect((await catchRejection(createMachine(specOn(all.host), world)))?.hint).toBe(
      'To continue: slipway create web. To undo: slipway rm web. Look there',
    );
    all.local.bootError = undefined;
    await createMachine(specOn(all.host), world);
    await stopMachine('web', 1, world);
    all.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk', {
      hint: 'Look there',
    });
    expect((await catchRejection(startMachine('web', world)))?.hint).toBe(
      'To try again: slipway restart web. Look there',
    );
    expect((await world.store.read('web')).phase).toBe('ready');
  });

  test('ask no word of a machine that runs already: its engine decides', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    await createMachine(specOn(all.host), world);
    all.local.bootError = new SlipwayError('BOOT_FAILED', 'what its console said long ago');
    expect((await startMachine('web', world)).phase).toBe('ready');
  });

  test('and provision leave the engine at the port to which a way was made', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    await createMachine(specOn(all.host), world);
    const moved = (spec: MachineSpec): MachineSpec => ({ ...spec, engine: { ...spec.engine, port: 1 } });
    const error = await catchRejection(provisionMachine('web', moved, world));
    expect([error?.code, error?.message]).toEqual([
      'USAGE',
      expect.stringContaining('engine port of machine "web" can\'t change') as string,
    ]);
  });

  test('of a machine that does not come up leave it ready, with the failure', async () => {
    await using all = await openLocalWorld();
    const world = all.world();
    await createMachine(specOn(all.host), world);
    await stopMachine('web', 1, world);
    all.local.pausedReason = 'the disk of this computer is full';
    expect(await catchRejection(startMachine('web', world))).toMatchObject({
      code: 'MACHINE_NOT_READY',
      message: 'Machine "web" is paused: the disk of this computer is full',
      hint: 'To start it: slipway start web',
    });
    expect((await world.store.read('web')).phase).toBe('ready');
  });

  test.each([
    ['start', (world: World) => startMachine('web', world)],
    ['stop', (world: World) => stopMachine('web', 1, world)],
    ['kill', (world: World) => killMachine('web', world)],
  ])("say in one sentence that a driver can't %s", async (verb, act) => {
    await using home = await createTemporaryFolder();
    const connect: World['connect'] = async () => {
      throw new Error('nothing here may connect');
    };
    const world = worldIn(home.path, { connect });
    await world.store.write(readyMachine('web'));
    expect(await catchRejection(act(world))).toMatchObject({
      code: 'DRIVER_UNSUPPORTED',
      message: `The driver generic can't ${verb} machine "web"`,
      hint: "Use the provider's own tools. To see its state: slipway status web",
    });
    expect(await world.store.read('web')).toEqual(readyMachine('web'));
  });

  test.each([
    ['start', (world: World) => startMachine('web', world)],
    ['stop', (world: World) => stopMachine('web', 1, world)],
    ['kill', (world: World) => killMachine('web', world)],
  ])('say in one sentence that a machine is not finished: %s', async (_verb, act) => {
    await using all = await openLocalWorld();
    const dying = all.world({ progress: recordingProgress({ when: 'before', id: 'boot' }) });
    await expect(createMachine(specOn(all.host), dying)).rejects.toBe(KILLED);
    const world = all.world();
    const before = all.local.calls.length;
    expect(await catchRejection(act(world))).toMatchObject({
      code: 'MACHINE_NOT_READY',
      message: 'Machine "web" is incomplete: its creation was interrupted',
      hint: 'To continue: slipway create web. To undo: slipway rm web',
    });
    expect(all.local.calls).toHaveLength(before);
  });

  test.each([
    ['start', (world: World) => startMachine('nobody', world)],
    ['stop', (world: World) => stopMachine('nobody', 1, world)],
    ['kill', (world: World) => killMachine('nobody', world)],
  ])('of nobody say so and make no folder: %s', async (_verb, act) => {
    await using all = await openLocalWorld();
    const world = all.world();
    expect((await catchRejection(act(world)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await world.store.listNames()).toEqual([]);
  });
});
