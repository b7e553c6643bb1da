import { X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { seedOf } from '../../src/drivers/qemu/seed.ts';
import { SlipwayError } from '../../src/errors.ts';
import { createMachine } from '../../src/operations/create.ts';
import { planDryRun } from '../../src/operations/dry-run.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { inspectMachine, killMachine, restartMachine, startMachine, stopMachine } from '../../src/operations/power.ts';
import { validateSpec } from '../../src/operations/validate-spec.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { readContextOwner } from '../../src/profiles/docker-context.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { registeredDrivers } from '../fakes/registered-drivers.ts';
import { readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { fakeLocalMachine } from '../fakes/fake-local-driver.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

vi.mock('../../src/drivers/registry.ts', async (importOriginal) =>
  (await import('../fakes/registered-drivers.ts')).mockDriverRegistry(importOriginal, 'registered drivers'),
);

/** Creates a world for local machines: a host in memory, its driver, and key pairs that all differ. */
async function openLocalWorld(installed: { readonly engine: boolean } = { engine: true }) {
  const home = await createTemporaryFolder();
  const host = await startFakeHost(installed);
  const local = fakeLocalMachine(host);
  registeredDrivers.push(local.driver);
  const keyPairComments: string[] = [];
  const world = (more: Partial<World> = {}): World =>
    worldIn(home.path, {
      connect: host.connect,
      newKeyPair: async (comment) => {
        keyPairComments.push(comment);
        // Both pairs are created concurrently, so each kind is counted separately.
        const key = `${comment === 'web' ? 'HOST' : 'LOGIN'}${keyPairComments.filter((other) => other === comment).length}`;
        return { private: `PRIVATE ${key}\n`, public: `ssh-ed25519 ${key} ${comment}` };
      },
      ...more,
    });
  return {
    host,
    local,
    keyPairComments,
    world,
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

const SERVER_CERTIFICATE = '/etc/docker/slipway/server-cert.pem';
/** Another spelling of the address where the host in memory listens. No certificate has it by default. */
const OTHER_ADDRESS = '127.1';
const ID = '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77';

const specOn = (host: FakeHost, more: Partial<MachineSpec> = {}): MachineSpec => {
  const spec = specNamed('web', { id: ID, driver: 'local', options: {}, ...more });
  return { ...spec, engine: { ...spec.engine, port: host.port } };
};
const keepSpec = (spec: MachineSpec): MachineSpec => spec;

describe('a machine that is configured before its first start', () => {
  test('is ready without an SSH connection, and its engine starts once', async () => {
    await using fixture = await openLocalWorld();
    const progress = recordingProgress();
    const world = fixture.world({ progress });
    const ready = await createMachine(specOn(fixture.host), world);
    expect(progress.ids).toEqual(['prepare', 'create', 'boot', 'verify', 'profiles']);
    expect([fixture.host.expectedHostKeys, fixture.host.engineStarts()]).toEqual([[], 1]);
    expect(ready).toMatchObject({
      phase: 'ready',
      endpoint: { url: `tcp://127.0.0.1:${fixture.host.port}`, tls: true },
      host: { ssh: { port: 20_022, hostKey: 'ssh-ed25519 HOST1' } },
    });
    expect(await world.store.read('web')).toEqual(ready);
    expect(await readContextOwner('web', world.clientPaths)).toBe(ID);
    expect(await readFile(world.store.paths('web').record, 'utf8')).not.toContain('PRIVATE');
  });

  test('leaves nothing for a later provision to change', async () => {
    await using fixture = await openLocalWorld();
    const env = ['HTTP_PROXY=http://proxy:3128'];
    const spec = specOn(fixture.host);
    const wanted = { ...spec, engine: { ...spec.engine, env, label: ['a=b'], registryMirror: ['https://mirror'] } };
    await createMachine(wanted, fixture.world());
    const filesBefore = new Map(fixture.host.files);
    await provisionMachine('web', keepSpec, fixture.world());
    expect([fixture.host.executions, fixture.host.engineStarts()]).toEqual([['facts.sh'], 1]);
    expect(fixture.host.files).toEqual(filesBefore);
    expect(fixture.host.expectedHostKeys, 'the key is known from the first packet on').toEqual(['ssh-ed25519 HOST1']);
  });

  test('keeps its key pairs in the store, readable only by the user', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const ready = await createMachine(specOn(fixture.host), world);
    const { ssh } = world.store.paths('web');
    expect(fixture.keyPairComments).toHaveLength(2);
    expect(ready.host.ssh?.keyFile).toBe(join(ssh, 'id_ed25519'));
    for (const file of ['id_ed25519', 'host_ed25519']) expect(await readMode(join(ssh, file), '600')).toBe('600');
    const [boot] = fixture.local.boots;
    expect(boot).toMatchObject({
      authorizedKey: `${(await readFile(join(ssh, 'id_ed25519.pub'), 'utf8')).trim()}`,
      hostKey: { private: await readFile(join(ssh, 'host_ed25519'), 'utf8') },
      enginePort: fixture.host.port,
    });
    expect(`${boot?.hostKey.public} web`).toBe((await readFile(join(ssh, 'host_ed25519.pub'), 'utf8')).trim());
    expect(boot?.files.map(({ content }) => content).join('\n')).not.toContain('PRIVATE LOGIN');
  });

  test('is shown by a dry run with its first-boot files, and nothing is created', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const plan = await planDryRun(await validateSpec(specOn(fixture.host), world), undefined, world);
    expect(plan.map(({ id }) => id)).toEqual(['create']);
    expect([fixture.local.boots, fixture.local.calls, fixture.keyPairComments, await world.store.listNames()]).toEqual([
      [],
      [],
      [],
      [],
    ]);
    await createMachine(specOn(fixture.host), world);
    const paths = plan.flatMap(({ files }) => files).map(({ path }) => path);
    expect(fixture.local.boots[0]?.files.map(({ path }) => path)).toEqual(paths);
  });
});

const KILL_POINTS = ['create', 'boot', 'verify', 'profiles'].flatMap((id) =>
  (['before', 'after'] as const).map((when) => ({ when, id })),
);

describe('a create of a local machine that is killed or fails', () => {
  test.each(KILL_POINTS)('$when $id is continued by the next create, with the same identity', async (killPoint) => {
    await using fixture = await openLocalWorld();
    const killedWorld = fixture.world({ progress: recordingProgress(killPoint) });
    await expect(createMachine(specOn(fixture.host), killedWorld)).rejects.toBe(KILLED);
    const ready = await createMachine(specOn(fixture.host, { id: 'another' }), fixture.world());
    expect(ready.phase).toBe('ready');
    expect(ready.spec.id).toBe(ID);
    const [first, ...others] = fixture.local.boots;
    if (!first) throw new Error('create was called');
    for (const boot of others) expect(boot).toEqual(first);
    const identity = { name: 'web', id: ID, user: 'slipway' };
    const seeds = fixture.local.boots.map((boot) => seedOf({ ...identity, boot }).id);
    expect(new Set(seeds).size).toBe(1);
    expect(others).toHaveLength(killPoint.id === 'create' && killPoint.when === 'before' ? 0 : 1);
    expect([fixture.keyPairComments.length, fixture.host.engineStarts(), fixture.host.expectedHostKeys]).toEqual([
      2,
      1,
      [],
    ]);
  });

  test('before its second key pair exists creates that pair the next time', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const killedWorld = fixture.world({
      newKeyPair: async (comment) => {
        if (comment === 'web') throw KILLED;
        return { private: 'PRIVATE login\n', public: `ssh-ed25519 LOGIN ${comment}` };
      },
    });
    await expect(createMachine(specOn(fixture.host), killedWorld)).rejects.toBe(KILLED);
    await createMachine(specOn(fixture.host), world);
    expect(fixture.keyPairComments).toContain('web');
    expect(fixture.local.boots).toHaveLength(1);
  });

  test('because its machine does not boot is recorded, and can be tried again', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    fixture.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk');
    expect((await catchRejection(createMachine(specOn(fixture.host), world)))?.code).toBe('BOOT_FAILED');
    expect(await world.store.read('web')).toMatchObject({
      phase: 'creating',
      failure: { step: 'boot', code: 'BOOT_FAILED' },
    });
    fixture.local.bootError = undefined;
    expect((await createMachine(specOn(fixture.host), world)).failure).toBeUndefined();
  });

  test('is undone by rm, which also removes the machine', async () => {
    await using fixture = await openLocalWorld();
    const killedWorld = fixture.world({ progress: recordingProgress({ when: 'after', id: 'create' }) });
    await expect(createMachine(specOn(fixture.host), killedWorld)).rejects.toBe(KILLED);
    const world = fixture.world();
    expect(await removeMachine('web', { deprovision: false, force: false }, world)).toMatchObject({ stays: undefined });
    expect(fixture.local.calls).toEqual(['prepare', 'create', 'remove']);
    expect(await world.store.listNames()).toEqual([]);
  });
});

describe('a machine that still needs an SSH connection', () => {
  test('because its image has no engine gets one over SSH, and keeps its first-boot files', async () => {
    await using fixture = await openLocalWorld({ engine: false });
    const progress = recordingProgress();
    const ready = await createMachine(specOn(fixture.host), fixture.world({ progress }));
    expect(ready.phase).toBe('ready');
    const before = ['prepare', 'create', 'boot', 'verify'];
    expect(progress.ids).toEqual([
      ...before,
      'connect',
      'facts',
      'check-packages',
      'install-engine',
      'verify',
      'profiles',
    ]);
    expect([fixture.host.executions, fixture.host.engineStarts()]).toEqual([
      ['facts.sh', 'check-packages.debian.sh', 'install-engine.debian.sh'],
      1,
    ]);
    expect(fixture.host.expectedHostKeys).toEqual(['ssh-ed25519 HOST1']);
  });

  test('because another engine version is requested skips the check of the engine in its image', async () => {
    await using fixture = await openLocalWorld();
    const progress = recordingProgress();
    const spec = specOn(fixture.host);
    await createMachine({ ...spec, engine: { ...spec.engine, version: '28' } }, fixture.world({ progress }));
    expect(progress.ids.filter((id) => id === 'verify')).toHaveLength(1);
    expect(fixture.host.executions).toContain('install-engine.debian.sh');
  });

  test('gets none if its engine accepts any client', async () => {
    await using fixture = await openLocalWorld();
    fixture.host.acceptsAnyClient = true;
    expect((await catchRejection(createMachine(specOn(fixture.host), fixture.world())))?.code).toBe('ENGINE_OPEN');
    expect(fixture.host.expectedHostKeys).toEqual([]);
  });
});

describe('stop, kill and start', () => {
  test('change the state of the machine, and start ends when the engine answers', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const ready = await createMachine(specOn(fixture.host), world);
    await stopMachine('web', 42, world);
    expect(await inspectMachine(ready, world)).toEqual({ state: 'stopped' });
    const progress = recordingProgress();
    expect(await startMachine('web', fixture.world({ progress }))).toEqual(ready);
    expect(progress.ids).toEqual(['start', 'boot', 'verify', 'profiles']);
    await killMachine('web', world);
    expect(await inspectMachine(ready, world)).toEqual({ state: 'stopped' });
    expect(fixture.local.calls.filter((call) => !['prepare', 'create', 'waitUntilBooted'].includes(call))).toEqual([
      'stop in 42',
      'start',
      'kill',
    ]);
    expect(fixture.host.expectedHostKeys).toEqual([]);
    expect(await world.store.read('web')).toEqual(ready);
  });

  test('are what restart calls, if the driver supports both', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const ready = await createMachine(specOn(fixture.host), world);
    expect(await restartMachine('web', 42, world)).toEqual(ready);
    expect(fixture.local.calls.filter((call) => !['prepare', 'create', 'waitUntilBooted'].includes(call))).toEqual([
      'stop in 42',
      'start',
    ]);
    expect(fixture.host.expectedHostKeys).toEqual([]);
  });

  test('renew the certificate and the profiles when the address has changed', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    const ready = await createMachine(specOn(fixture.host), world);
    const readServerNames = (): string =>
      new X509Certificate(fixture.host.files.get(SERVER_CERTIFICATE)?.content ?? '').subjectAltName ?? '';
    expect(readServerNames()).not.toContain(OTHER_ADDRESS);
    await stopMachine('web', 1, world);
    fixture.local.address = OTHER_ADDRESS;
    const movedMachine = await startMachine('web', world);
    expect(movedMachine).toMatchObject({
      phase: 'ready',
      host: { address: OTHER_ADDRESS },
      endpoint: { url: `tcp://${OTHER_ADDRESS}:${fixture.host.port}` },
    });
    expect(readServerNames()).toContain(OTHER_ADDRESS);
    expect(await world.store.read('web')).toEqual(movedMachine);
    const contexts = join(world.clientPaths.dockerConfig, 'contexts', 'meta');
    const [id = ''] = await readdir(contexts);
    expect(await readFile(join(contexts, id, 'meta.json'), 'utf8')).toContain(movedMachine.endpoint.url);
    expect(movedMachine.endpoint.url).not.toBe(ready.endpoint.url);
    // The next start finds the same address.
    fixture.host.executions.length = 0;
    await startMachine('web', world);
    expect(fixture.host.executions).toEqual([]);
  });

  test('suggest another try after a failed start, never rm, because the disk has data', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    fixture.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk', {
      hint: 'Look there',
    });
    expect((await catchRejection(createMachine(specOn(fixture.host), world)))?.hint).toBe(
      'To continue: slipway create web. To undo: slipway rm web. Look there',
    );
    fixture.local.bootError = undefined;
    await createMachine(specOn(fixture.host), world);
    await stopMachine('web', 1, world);
    fixture.local.bootError = new SlipwayError('BOOT_FAILED', 'Machine "web" did not start: no root disk', {
      hint: 'Look there',
    });
    expect((await catchRejection(startMachine('web', world)))?.hint).toBe(
      'To try again: slipway restart web. Look there',
    );
    expect((await world.store.read('web')).phase).toBe('ready');
  });

  test('do not read the console of a machine that already runs: its engine decides', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    await createMachine(specOn(fixture.host), world);
    fixture.local.bootError = new SlipwayError('BOOT_FAILED', 'an old line of the console');
    expect((await startMachine('web', world)).phase).toBe('ready');
  });

  test('and provision keep the engine at the port that is forwarded', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    await createMachine(specOn(fixture.host), world);
    const changePort = (spec: MachineSpec): MachineSpec => ({ ...spec, engine: { ...spec.engine, port: 1 } });
    const error = await catchRejection(provisionMachine('web', changePort, world));
    expect([error?.code, error?.message]).toEqual([
      'USAGE',
      expect.stringContaining('engine port of machine "web" can\'t change') as string,
    ]);
  });

  test('report a machine that is paused, and leave its record ready', async () => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    await createMachine(specOn(fixture.host), world);
    await stopMachine('web', 1, world);
    fixture.local.pausedReason = 'the disk of this computer is full';
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
  ])("report that the driver can't %s", async (verb, act) => {
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
  ])('report that a machine is incomplete: %s', async (_verb, act) => {
    await using fixture = await openLocalWorld();
    const killedWorld = fixture.world({ progress: recordingProgress({ when: 'before', id: 'boot' }) });
    await expect(createMachine(specOn(fixture.host), killedWorld)).rejects.toBe(KILLED);
    const world = fixture.world();
    const before = fixture.local.calls.length;
    expect(await catchRejection(act(world))).toMatchObject({
      code: 'MACHINE_NOT_READY',
      message: 'Machine "web" is incomplete: its creation was interrupted',
      hint: 'To continue: slipway create web. To undo: slipway rm web',
    });
    expect(fixture.local.calls).toHaveLength(before);
  });

  test.each([
    ['start', (world: World) => startMachine('nobody', world)],
    ['stop', (world: World) => stopMachine('nobody', 1, world)],
    ['kill', (world: World) => killMachine('nobody', world)],
  ])('report that a machine does not exist, and create no folder: %s', async (_verb, act) => {
    await using fixture = await openLocalWorld();
    const world = fixture.world();
    expect((await catchRejection(act(world)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await world.store.listNames()).toEqual([]);
  });
});
