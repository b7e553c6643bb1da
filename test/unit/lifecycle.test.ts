import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyChanges } from '../../src/computer/files.ts';
import { SlipwayError } from '../../src/errors.ts';
import { clientCertificates } from '../../src/operations/credentials.ts';
import { createMachine } from '../../src/operations/create.ts';
import { dryRun, provisionMachine, regenerateCertificates } from '../../src/operations/provision.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { currentContext, switchContext } from '../../src/profiles/current-context.ts';
import { contextOwner, dockerContext } from '../../src/profiles/docker-context.ts';
import { rejected } from '../fakes/caught.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/host.ts';
import { readyMachine, specNamed } from '../fakes/machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/world.ts';

const on = (host: FakeHost, more: Partial<MachineSpec> = {}): MachineSpec => {
  const spec = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 }, ...more });
  return { ...spec, engine: { ...spec.engine, port: host.port } };
};
const asItIs = (spec: MachineSpec): MachineSpec => spec;
const GONE = { deprovision: false, force: false };

/** The certificates of the only docker context. */
async function contextFiles({ places }: World): Promise<Record<string, string>> {
  const folder = join(places.dockerConfig, 'contexts', 'tls');
  const [id = ''] = await readdir(folder);
  const read = async (name: string): Promise<string> => readFile(join(folder, id, 'docker', `${name}.pem`), 'utf8');
  return { ca: await read('ca'), cert: await read('cert'), key: await read('key') };
}

/** Every file below a folder, but the locks, which are nobody's once they are empty. */
async function tree(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('lock.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

describe('create', () => {
  test('makes a machine ready in one connection, and says so only once its profiles are written', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const progress = recordingProgress();
    const world = worldIn(home.path, { connect: host.connect, progress });
    const ready = await createMachine(on(host), world);
    expect(ready).toMatchObject({ phase: 'ready', endpoint: { url: `tcp://127.0.0.1:${host.port}`, tls: true } });
    expect(await world.store.read('web')).toEqual(ready);
    expect(progress.ids).toEqual(['connect', 'facts', 'configure-engine', 'install-engine', 'verify', 'profiles']);
    expect(host.demanded).toHaveLength(1);
    expect(host.executions).toEqual(['facts.sh', 'configure.sh', 'install-engine.debian.sh']);
    expect(host.engineStarts()).toBe(1);
    expect(await contextOwner('web', world.places)).toBe(ready.spec.id);
    expect(progress.notes).toEqual([expect.stringContaining('Host key of 127.0.0.1, first seen')]);
  });

  test('restarts an engine that ran already, once', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await createMachine(on(host), worldIn(home.path, { connect: host.connect }));
    expect([host.executions, host.engineStarts()]).toEqual([['facts.sh', 'configure.sh'], 1]);
  });

  test('keeps keys where they belong: the CA’s here, the server’s on the host, none in the record', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    const paths = world.store.paths('web');
    const caKey = await readFile(join(paths.ca, 'ca-key.pem'), 'utf8');
    expect([...host.files.values()].some(({ content }) => content.includes(caKey))).toBe(false);
    expect(await readFile(paths.record, 'utf8')).not.toContain('PRIVATE KEY');
    for (const file of (await tree(home.path)).filter((path) => path.endsWith('.pem')))
      expect((await stat(file)).mode & 0o777, file).toBe(0o600);
    expect(host.files.get('/etc/docker/slipway/server-key.pem')?.mode).toBe('600');
  });

  test('of a machine that is ready is refused with what to type instead', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    await world.store.write(readyMachine('web'));
    expect(await rejected(createMachine(specNamed('web'), world))).toMatchObject({
      code: 'MACHINE_EXISTS',
      hint: 'Bring it up to date with: slipway provision web, or remove it first: slipway rm web',
    });
  });

  test('is refused before anything is recorded where a docker context of that name is somebody else’s', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    await applyChanges(
      dockerContext.add({
        machine: readyMachine('web', { spec: specNamed('web', { id: 'x' }) }),
        tls: undefined,
        places: world.places,
      }),
    );
    const before = await tree(home.path);
    expect((await rejected(createMachine(specNamed('web'), world)))?.code).toBe('CONTEXT_TAKEN');
    expect(await tree(home.path)).toEqual(before);
    expect(await world.store.names()).toEqual([]);
  });

  test('while another command works on that name is refused', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    await using _lock = await world.store.lock('web');
    expect((await rejected(createMachine(specNamed('web'), world)))?.code).toBe('MACHINE_BUSY');
  });
});

const STEPS = ['connect', 'facts', 'configure-engine', 'install-engine', 'verify', 'profiles'];
const DEATHS = STEPS.flatMap((id) => (['before', 'after'] as const).map((when) => ({ when, id })));

describe('a create that dies', () => {
  test.each(DEATHS)('$when $id is finished by the next one, without a second start of the engine', async (dies) => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const dying = worldIn(home.path, { connect: host.connect, progress: recordingProgress(dies) });
    await expect(createMachine(on(host), dying)).rejects.toBe(KILLED);
    const half = await dying.store.read('web');
    expect(half.phase).not.toBe('ready');

    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(on(host, { id: 'another' }), world);
    expect(ready.phase).toBe('ready');
    expect(ready.spec.id, 'it is the same machine').toBe(half.spec.id);
    expect(host.engineStarts()).toBe(1);
    expect(await contextOwner('web', world.places)).toBe(ready.spec.id);
  });

  test.each(DEATHS)('$when $id is undone by rm, and leaves nothing here', async (dies) => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const dying = worldIn(home.path, { connect: host.connect, progress: recordingProgress(dies) });
    // With an engine there is nothing to install, so that step never comes.
    await createMachine(on(host), dying).catch((error: unknown) => expect(error).toBe(KILLED));
    const world = worldIn(home.path, { connect: host.connect });
    await removeMachine('web', GONE, world);
    expect(await tree(home.path)).toEqual([]);
    expect(await world.store.list()).toEqual([]);
  });

  test('after its profiles were written has them there, though its record is not ready yet', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const progress = recordingProgress({ when: 'after', id: 'profiles' });
    const world = worldIn(home.path, { connect: host.connect, progress });
    await expect(createMachine(on(host), world)).rejects.toBe(KILLED);
    expect((await world.store.read('web')).phase).toBe('created');
    expect(await contextOwner('web', world.places)).toBe('id-of-web');
  });

  test('after each of its records finds the same certificates and host key', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const first = worldIn(home.path, {
      connect: host.connect,
      progress: recordingProgress({ when: 'after', id: 'configure-engine' }),
    });
    await expect(createMachine(on(host), first)).rejects.toBe(KILLED);
    const laid = host.files.get('/etc/docker/slipway/server-cert.pem');
    await createMachine(on(host), worldIn(home.path, { connect: host.connect }));
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')).toEqual(laid);
    expect(host.demanded).toEqual([undefined, host.hostKey]);
  });
});

describe('a failure', () => {
  test('stands in the record with its step and code, until a run succeeds', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    host.open = true;
    const at = new Date();
    const world = worldIn(home.path, { connect: host.connect, now: () => at });
    const error = await rejected(createMachine(on(host), world));
    expect(error?.code).toBe('ENGINE_OPEN');
    expect(await world.store.read('web')).toMatchObject({
      phase: 'created',
      failure: { at: at.toISOString(), step: 'verify', code: 'ENGINE_OPEN', message: error?.message },
    });
    host.open = false;
    host.files.delete('/etc/docker/slipway/server-key.pem');
    const ready = await createMachine(on(host), worldIn(home.path, { connect: host.connect }));
    expect(ready.failure).toBeUndefined();
    expect(await world.store.read('web')).toEqual(ready);
  });

  test('of a connection is put down to connecting, and the key that was shown is kept', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const refusing: World['connect'] = async (target, side, onHostKey) => {
      await using _session = await host.connect(target, side, onHostKey);
      throw new SlipwayError('SSH_REFUSED', 'no key was accepted');
    };
    const world = worldIn(home.path, { connect: refusing });
    expect((await rejected(createMachine(on(host), world)))?.code).toBe('SSH_REFUSED');
    const machine = await world.store.read('web');
    expect(machine.failure).toMatchObject({ step: 'connect', code: 'SSH_REFUSED' });
    expect(machine.host?.ssh?.hostKey).toBe(host.hostKey);
    expect(await readFile(world.store.paths('web').knownHosts, 'utf8')).toBe(`127.0.0.1 ${host.hostKey}\n`);
  });

  test('of a later provision leaves a ready machine ready', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    const lost = worldIn(home.path, {
      connect: async () => {
        throw new SlipwayError('SSH_UNREACHABLE', 'no answer');
      },
    });
    await rejected(provisionMachine('web', asItIs, lost));
    expect(await world.store.read('web')).toMatchObject({ phase: 'ready', failure: { code: 'SSH_UNREACHABLE' } });
    expect((await provisionMachine('web', asItIs, world)).failure).toBeUndefined();
  });

  test('of ours, a bug, is not written down as if the user could mend it', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, {
      connect: async () => {
        throw new TypeError('x is undefined');
      },
    });
    await expect(createMachine(specNamed('web'), world)).rejects.toThrow(TypeError);
    expect((await world.store.read('web')).failure).toBeUndefined();
  });
});

describe('provision', () => {
  test('of a machine that is as it should be asks the facts and does nothing', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(on(host), world);
    const before = await snapshot(home.path);
    host.executions.length = 0;
    expect(await provisionMachine('web', asItIs, world)).toEqual(ready);
    expect([host.executions, host.engineStarts()]).toEqual([['facts.sh'], 1]);
    expect(await snapshot(home.path)).toEqual(before);
  });

  test('of another spec lays what differs, restarts once and keeps the CA', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(on(host), world);
    const before = await clientCertificates(ready, world.store);
    const named = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      engine: { ...spec.engine, tlsSan: ['web.example'] },
    });
    const next = await provisionMachine('web', named, world);
    expect(next.spec.engine.tlsSan).toEqual(['web.example']);
    expect(host.engineStarts()).toBe(2);
    expect(await clientCertificates(next, world.store)).toEqual(before);
  });

  test('renews certificates that are near their end', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const ready = await createMachine(on(host), worldIn(home.path, { connect: host.connect }));
    const in710Days = new Date(Date.now() + 710 * 24 * 60 * 60 * 1000);
    const world = worldIn(home.path, { connect: host.connect, now: () => in710Days });
    const before = await clientCertificates(ready, world.store);
    // The new ones begin an hour before that day, so nobody can use them today: what was laid is what counts.
    const dying = { ...world, progress: recordingProgress({ when: 'before', id: 'verify' }) };
    await expect(provisionMachine('web', asItIs, dying)).rejects.toBe(KILLED);
    const after = await clientCertificates(ready, world.store);
    expect(after?.ca).toBe(before?.ca);
    expect(after?.cert).not.toBe(before?.cert);
  });

  test.each([
    ['of the CA that is there', false],
    ['of a new CA', true],
  ])('makes new certificates %s when asked, and lays them with one restart', async (_what, all) => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(on(host), world);
    const before = await clientCertificates(ready, world.store);
    const laid = host.files.get('/etc/docker/slipway/server-cert.pem')?.content;
    expect(await regenerateCertificates('web', { all }, world)).toEqual(ready);
    const after = await clientCertificates(ready, world.store);
    expect([after?.ca === before?.ca, after?.cert === before?.cert, after?.key === before?.key]).toEqual([
      !all,
      false,
      false,
    ]);
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')?.content).not.toBe(laid);
    expect([host.engineStarts(), host.files.get('/etc/docker/slipway/ca.pem')?.content]).toEqual([2, after?.ca]);
    expect(await contextFiles(world)).toEqual(after);
  });

  test.each(['facts', 'configure-engine', 'verify', 'profiles'])(
    'ends what making new certificates left when it was killed before "%s"',
    async (id) => {
      await using home = await temporaryFolder();
      await using host = await startFakeHost({ engine: true });
      const world = worldIn(home.path, { connect: host.connect });
      const ready = await createMachine(on(host), world);
      const dying = { ...world, progress: recordingProgress({ when: 'before', id }) };
      await expect(regenerateCertificates('web', { all: true }, dying)).rejects.toBe(KILLED);
      const stored = await clientCertificates(ready, world.store);
      expect(await provisionMachine('web', asItIs, world)).toEqual(ready);
      // What was made is what there is now, on all sides.
      expect(await clientCertificates(ready, world.store)).toEqual(stored);
      expect(host.files.get('/etc/docker/slipway/ca.pem')?.content).toBe(stored?.ca);
      expect(await contextFiles(world)).toEqual(stored);
    },
  );

  test('makes none for a machine that is half made, or for an engine that somebody else runs', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    await world.store.write({ version: 1, phase: 'creating', spec: specNamed('web') });
    const engine = { url: 'tcp://192.0.2.1:2376' };
    await world.store.write(readyMachine('old', { spec: specNamed('old'), host: { address: '192.0.2.1', engine } }));
    const codes = ['web', 'old', 'nobody'].map(
      async (name) => (await rejected(regenerateCertificates(name, { all: false }, world)))?.code,
    );
    expect(await Promise.all(codes)).toEqual(['MACHINE_NOT_READY', 'DRIVER_UNSUPPORTED', 'MACHINE_NOT_FOUND']);
  });

  test('demands the key of the first meeting, until the user names another or another host', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    await provisionMachine('web', asItIs, world);
    const given = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      options: { ...spec.options, hostKey: host.hostKey },
    });
    await provisionMachine('web', given, world);
    await provisionMachine('web', asItIs, world);
    expect(host.demanded).toEqual([undefined, host.hostKey, undefined, host.hostKey]);
  });

  test('of a name that is free is refused and makes no folder', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    expect((await rejected(provisionMachine('web', asItIs, world)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await readdir(home.path)).toEqual([]);
  });

  test('as a dry run shows the plan and writes nothing anywhere', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const plan = await dryRun(on(host), undefined, worldIn(home.path, { connect: host.connect }));
    expect(plan.map(({ id }) => id)).toEqual(['configure-engine', 'install-engine']);
    expect([host.executions, host.files.size]).toEqual([['facts.sh'], 0]);
    expect(await readdir(home.path)).toEqual([]);
  });
});

describe('rm', () => {
  test('takes profiles and record away, gives the docker CLI its default back, and says what stays', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    await applyChanges(await switchContext('web', world.places));
    expect(await removeMachine('web', GONE, world)).toEqual({
      name: 'web',
      stays: 'the host itself and its engine stay as they are',
      contextReset: true,
    });
    expect(await currentContext(world.places)).toBeUndefined();
    expect(await tree(home.path)).toEqual([join(home.path, '.docker', 'config.json')]);
    expect(host.files.size).toBeGreaterThan(0);
  });

  test('with --deprovision takes back what was laid on the host too', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    expect(await removeMachine('web', { deprovision: true, force: false }, world)).toMatchObject({ stays: undefined });
    expect([...host.files.keys()]).toEqual([]);
  });

  test('leaves a context of that name that is somebody else’s, also as the current one', async () => {
    await using home = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), world);
    const foreign = readyMachine('web', { spec: specNamed('web', { id: 'somebody' }) });
    await applyChanges(dockerContext.add({ machine: foreign, tls: undefined, places: world.places }));
    await applyChanges(await switchContext('web', world.places));
    expect(await removeMachine('web', GONE, world)).toMatchObject({ contextReset: false });
    expect(await contextOwner('web', world.places)).toBe('somebody');
    expect(await currentContext(world.places)).toBe('web');
    expect(await world.store.find('web')).toBeUndefined();
  });

  test('of a host that is gone keeps the machine, unless forced', async () => {
    await using home = await temporaryFolder();
    const progress = recordingProgress();
    const world = worldIn(home.path, {
      progress,
      connect: async () => {
        throw new SlipwayError('SSH_UNREACHABLE', 'no answer');
      },
    });
    await world.store.write(readyMachine('web'));
    const error = await rejected(removeMachine('web', { deprovision: true, force: false }, world));
    expect(error?.code).toBe('SSH_UNREACHABLE');
    expect(await world.store.find('web')).toBeDefined();
    await removeMachine('web', { deprovision: true, force: true }, world);
    expect(progress.notes).toEqual(['The host keeps what was written on it: no answer']);
    expect(await world.store.find('web')).toBeUndefined();
  });

  test('of a broken record needs --force', async () => {
    await using home = await temporaryFolder();
    const world = worldIn(home.path, { connect: neverConnects });
    await mkdir(world.store.paths('web').folder, { recursive: true });
    await writeFile(world.store.paths('web').record, '{');
    expect((await rejected(removeMachine('web', GONE, world)))?.code).toBe('RECORD_BROKEN');
    await removeMachine('web', { deprovision: false, force: true }, world);
    expect(await tree(home.path)).toEqual([]);
  });
});

describe('an engine that exists', () => {
  test('is adopted by its URL and certificates, which are copied to where clients look', async () => {
    await using home = await temporaryFolder();
    await using other = await temporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const first = worldIn(home.path, { connect: host.connect });
    await createMachine(on(host), first);
    const { tls } = first.store.paths('web');
    const [tlsCa, tlsCert, tlsKey] = ['ca', 'cert', 'key'].map((file) => join(tls, `${file}.pem`));
    const options = { url: `tcp://127.0.0.1:${host.port}`, tlsCa, tlsCert, tlsKey };
    const world = worldIn(other.path, { connect: neverConnects });
    const ready = await createMachine(specNamed('adopted', { driver: 'none', options }), world);
    expect(ready).toMatchObject({ endpoint: { url: options.url, tls: true }, host: { engine: { url: options.url } } });
    expect(await clientCertificates(ready, world.store)).toEqual(
      await clientCertificates(await readReady(first), first.store),
    );
    await removeMachine('adopted', GONE, world);
    expect(await tree(other.path)).toEqual([]);
  });

  test('without its certificates on this computer is refused before anything is recorded', async () => {
    await using home = await temporaryFolder();
    const options = { url: 'tcp://127.0.0.1:1', tlsCa: '/none', tlsCert: '/none', tlsKey: '/none' };
    const world = worldIn(home.path, { connect: neverConnects });
    const error = await rejected(createMachine(specNamed('web', { driver: 'none', options }), world));
    expect(error?.message).toBe("/none can't be read");
    expect(await world.store.names()).toEqual([]);
  });
});

const neverConnects: World['connect'] = async () => {
  throw new Error('nothing here may connect');
};

async function readReady({ store }: World) {
  const machine = await store.read('web');
  if (machine.phase !== 'ready') throw new Error('it is ready');
  return machine;
}

async function snapshot(folder: string): Promise<readonly string[]> {
  return Promise.all((await tree(folder)).map(async (file) => `${file}\n${await readFile(file, 'utf8')}`));
}
