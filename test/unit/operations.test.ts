import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyFileChanges } from '../../src/computer/files.ts';
import { SlipwayError } from '../../src/errors.ts';
import { loadClientCertificates } from '../../src/operations/credentials.ts';
import { createMachine } from '../../src/operations/create.ts';
import { planDryRun } from '../../src/operations/dry-run.ts';
import { provisionMachine } from '../../src/operations/provision-machine.ts';
import { regenerateCertificates } from '../../src/operations/regenerate-certificates.ts';
import { removeMachine } from '../../src/operations/remove.ts';
import { validateSpec } from '../../src/operations/validate-spec.ts';
import type { World } from '../../src/operations/world.ts';
import type { MachineSpec } from '../../src/machine/model.ts';
import { readCurrentContextName, planContextSwitch } from '../../src/profiles/current-context.ts';
import { readContextOwner, dockerContextProfile } from '../../src/profiles/docker-context.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';

const specOn = (host: FakeHost, more: Partial<MachineSpec> = {}): MachineSpec => {
  const spec = specNamed('web', { options: { ipAddress: host.address, sshUser: 'root', sshPort: 22 }, ...more });
  return { ...spec, engine: { ...spec.engine, port: host.port } };
};
const keepSpec = (spec: MachineSpec): MachineSpec => spec;
const REMOVE_OPTIONS = { deprovision: false, force: false };

/** The certificates of the only docker context. */
async function readContextFiles({ clientPaths }: World): Promise<Record<string, string>> {
  const folder = join(clientPaths.dockerConfig, 'contexts', 'tls');
  const [id = ''] = await readdir(folder);
  const read = async (name: string): Promise<string> => readFile(join(folder, id, 'docker', `${name}.pem`), 'utf8');
  return { ca: await read('ca'), cert: await read('cert'), key: await read('key') };
}

/** Every file below a folder, but the locks, which are nobody's once they are empty. */
async function listFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('lock.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

describe('create', () => {
  test('makes a machine ready in one connection, and says so only once its profiles are written', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const progress = recordingProgress();
    const world = worldIn(home.path, { connect: host.connect, progress });
    const ready = await createMachine(specOn(host), world);
    expect(ready).toMatchObject({ phase: 'ready', endpoint: { url: `tcp://127.0.0.1:${host.port}`, tls: true } });
    expect(await world.store.read('web')).toEqual(ready);
    expect(progress.ids).toEqual(['connect', 'facts', 'configure-engine', 'install-engine', 'verify', 'profiles']);
    expect(host.expectedHostKeys).toHaveLength(1);
    expect(host.executions).toEqual(['facts.sh', 'configure.sh', 'install-engine.debian.sh']);
    expect(host.engineStarts()).toBe(1);
    expect(await readContextOwner('web', world.clientPaths)).toBe(ready.spec.id);
    expect(progress.notes).toEqual([expect.stringContaining('Host key of 127.0.0.1, seen for the first time')]);
  });

  test('restarts an engine that ran already, once', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    expect([host.executions, host.engineStarts()]).toEqual([['facts.sh', 'configure.sh'], 1]);
  });

  test("keeps keys where they belong: the CA's here, the server's on the host, none in the record", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    const paths = world.store.paths('web');
    const caKey = await readFile(join(paths.ca, 'ca-key.pem'), 'utf8');
    expect([...host.files.values()].some(({ content }) => content.includes(caKey))).toBe(false);
    expect(await readFile(paths.record, 'utf8')).not.toContain('PRIVATE KEY');
    for (const file of (await listFiles(home.path)).filter((path) => path.endsWith('.pem')))
      expect((await stat(file)).mode & 0o777, file).toBe(0o600);
    expect(host.files.get('/etc/docker/slipway/server-key.pem')?.mode).toBe('600');
  });

  test('of a machine that is ready is refused with what to type instead', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await world.store.write(readyMachine('web'));
    expect(await catchRejection(createMachine(specNamed('web'), world))).toMatchObject({
      code: 'MACHINE_EXISTS',
      hint: 'To bring it up to date: slipway provision web. To remove it: slipway rm web',
    });
  });

  test("is refused before anything is recorded where a docker context of that name is somebody else's", async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await applyFileChanges(
      dockerContextProfile.changesToAdd({
        machine: readyMachine('web', { spec: specNamed('web', { id: 'x' }) }),
        tls: undefined,
        clientPaths: world.clientPaths,
      }),
    );
    const before = await listFiles(home.path);
    expect((await catchRejection(createMachine(specNamed('web'), world)))?.code).toBe('CONTEXT_TAKEN');
    expect(await listFiles(home.path)).toEqual(before);
    expect(await world.store.listNames()).toEqual([]);
  });

  test('while another command works on that name is refused', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await using _lock = await world.store.lock('web');
    expect((await catchRejection(createMachine(specNamed('web'), world)))?.code).toBe('MACHINE_BUSY');
  });
});

const CREATE_STEPS = ['connect', 'facts', 'configure-engine', 'install-engine', 'verify', 'profiles'];
const KILL_POINTS = CREATE_STEPS.flatMap((id) => (['before', 'after'] as const).map((when) => ({ when, id })));

describe('a create that dies', () => {
  test.each(KILL_POINTS)(
    '$when $id is finished by the next one, without a second start of the engine',
    async (dies) => {
      await using home = await createTemporaryFolder();
      await using host = await startFakeHost({ engine: false });
      const dying = worldIn(home.path, { connect: host.connect, progress: recordingProgress(dies) });
      await expect(createMachine(specOn(host), dying)).rejects.toBe(KILLED);
      const half = await dying.store.read('web');
      expect(half.phase).not.toBe('ready');

      const world = worldIn(home.path, { connect: host.connect });
      const ready = await createMachine(specOn(host, { id: 'another' }), world);
      expect(ready.phase).toBe('ready');
      expect(ready.spec.id, 'it is the same machine').toBe(half.spec.id);
      expect(host.engineStarts()).toBe(1);
      expect(await readContextOwner('web', world.clientPaths)).toBe(ready.spec.id);
    },
  );

  test.each(KILL_POINTS)('$when $id is undone by rm, and leaves nothing here', async (dies) => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const dying = worldIn(home.path, { connect: host.connect, progress: recordingProgress(dies) });
    // With an engine there is nothing to install, so that step never comes.
    await createMachine(specOn(host), dying).catch((error: unknown) => expect(error).toBe(KILLED));
    const world = worldIn(home.path, { connect: host.connect });
    await removeMachine('web', REMOVE_OPTIONS, world);
    expect(await listFiles(home.path)).toEqual([]);
    expect(await world.store.list()).toEqual([]);
  });

  test('after its profiles were written has them there, though its record is not ready yet', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const progress = recordingProgress({ when: 'after', id: 'profiles' });
    const world = worldIn(home.path, { connect: host.connect, progress });
    await expect(createMachine(specOn(host), world)).rejects.toBe(KILLED);
    expect((await world.store.read('web')).phase).toBe('created');
    expect(await readContextOwner('web', world.clientPaths)).toBe('id-of-web');
  });

  test('after each of its records finds the same certificates and host key', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const first = worldIn(home.path, {
      connect: host.connect,
      progress: recordingProgress({ when: 'after', id: 'configure-engine' }),
    });
    await expect(createMachine(specOn(host), first)).rejects.toBe(KILLED);
    const laid = host.files.get('/etc/docker/slipway/server-cert.pem');
    await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')).toEqual(laid);
    expect(host.expectedHostKeys).toEqual([undefined, host.hostKey]);
  });
});

describe('a failure', () => {
  test('stands in the record with its step and code, until a run succeeds', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    host.acceptsAnyClient = true;
    const at = new Date();
    const world = worldIn(home.path, { connect: host.connect, now: () => at });
    const error = await catchRejection(createMachine(specOn(host), world));
    expect(error?.code).toBe('ENGINE_OPEN');
    expect(await world.store.read('web')).toMatchObject({
      phase: 'created',
      failure: { at: at.toISOString(), step: 'verify', code: 'ENGINE_OPEN', message: error?.message },
    });
    host.acceptsAnyClient = false;
    host.files.delete('/etc/docker/slipway/server-key.pem');
    const ready = await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    expect(ready.failure).toBeUndefined();
    expect(await world.store.read('web')).toEqual(ready);
  });

  test('of a connection is put down to connecting, and the key that was shown is kept', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const refusing: World['connect'] = async (target, side, onHostKey) => {
      await using _session = await host.connect(target, side, onHostKey);
      throw new SlipwayError('SSH_REFUSED', 'no key was accepted');
    };
    const world = worldIn(home.path, { connect: refusing });
    expect((await catchRejection(createMachine(specOn(host), world)))?.code).toBe('SSH_REFUSED');
    const machine = await world.store.read('web');
    expect(machine.failure).toMatchObject({ step: 'connect', code: 'SSH_REFUSED' });
    expect(machine.host?.ssh?.hostKey).toBe(host.hostKey);
    expect(await readFile(world.store.paths('web').knownHosts, 'utf8')).toBe(`127.0.0.1 ${host.hostKey}\n`);
  });

  test('of a later provision leaves a ready machine ready', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    const lost = worldIn(home.path, {
      connect: async () => {
        throw new SlipwayError('SSH_UNREACHABLE', 'no answer');
      },
    });
    await catchRejection(provisionMachine('web', keepSpec, lost));
    expect(await world.store.read('web')).toMatchObject({ phase: 'ready', failure: { code: 'SSH_UNREACHABLE' } });
    expect((await provisionMachine('web', keepSpec, world)).failure).toBeUndefined();
  });

  test('of ours, a bug, is not written down as if the user could mend it', async () => {
    await using home = await createTemporaryFolder();
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
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const before = await readTree(home.path);
    host.executions.length = 0;
    expect(await provisionMachine('web', keepSpec, world)).toEqual(ready);
    expect([host.executions, host.engineStarts()]).toEqual([['facts.sh'], 1]);
    expect(await readTree(home.path)).toEqual(before);
  });

  test('of another spec lays what differs, restarts once and keeps the CA', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const before = await loadClientCertificates(ready, world.store);
    const named = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      engine: { ...spec.engine, tlsSan: ['web.example'] },
    });
    const next = await provisionMachine('web', named, world);
    expect(next.spec.engine.tlsSan).toEqual(['web.example']);
    expect(host.engineStarts()).toBe(2);
    expect(await loadClientCertificates(next, world.store)).toEqual(before);
  });

  test('renews certificates that are near their end', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const ready = await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    const in710Days = new Date(Date.now() + 710 * 24 * 60 * 60 * 1000);
    const world = worldIn(home.path, { connect: host.connect, now: () => in710Days });
    const before = await loadClientCertificates(ready, world.store);
    // The new ones begin an hour before that day, so nobody can use them today: what was laid is what counts.
    const dying = { ...world, progress: recordingProgress({ when: 'before', id: 'verify' }) };
    await expect(provisionMachine('web', keepSpec, dying)).rejects.toBe(KILLED);
    const after = await loadClientCertificates(ready, world.store);
    expect(after?.ca).toBe(before?.ca);
    expect(after?.cert).not.toBe(before?.cert);
  });

  test.each([
    ['of the CA that is there', false],
    ['of a new CA', true],
  ])('makes new certificates %s when asked, and lays them with one restart', async (_what, all) => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const before = await loadClientCertificates(ready, world.store);
    const laid = host.files.get('/etc/docker/slipway/server-cert.pem')?.content;
    expect(await regenerateCertificates('web', { all }, world)).toEqual(ready);
    const after = await loadClientCertificates(ready, world.store);
    expect([after?.ca === before?.ca, after?.cert === before?.cert, after?.key === before?.key]).toEqual([
      !all,
      false,
      false,
    ]);
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')?.content).not.toBe(laid);
    expect([host.engineStarts(), host.files.get('/etc/docker/slipway/ca.pem')?.content]).toEqual([2, after?.ca]);
    expect(await readContextFiles(world)).toEqual(after);
  });

  test.each(['facts', 'configure-engine', 'verify', 'profiles'])(
    'ends what making new certificates left when it was killed before "%s"',
    async (id) => {
      await using home = await createTemporaryFolder();
      await using host = await startFakeHost({ engine: true });
      const world = worldIn(home.path, { connect: host.connect });
      const ready = await createMachine(specOn(host), world);
      const dying = { ...world, progress: recordingProgress({ when: 'before', id }) };
      await expect(regenerateCertificates('web', { all: true }, dying)).rejects.toBe(KILLED);
      const stored = await loadClientCertificates(ready, world.store);
      expect(await provisionMachine('web', keepSpec, world)).toEqual(ready);
      // What was made is what there is now, on all sides.
      expect(await loadClientCertificates(ready, world.store)).toEqual(stored);
      expect(host.files.get('/etc/docker/slipway/ca.pem')?.content).toBe(stored?.ca);
      expect(await readContextFiles(world)).toEqual(stored);
    },
  );

  test('makes none for a machine that is half made, or for an engine that somebody else runs', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await world.store.write({ version: 1, phase: 'creating', spec: specNamed('web') });
    const engine = { url: 'tcp://192.0.2.1:2376' };
    await world.store.write(readyMachine('old', { spec: specNamed('old'), host: { address: '192.0.2.1', engine } }));
    const codes = ['web', 'old', 'nobody'].map(
      async (name) => (await catchRejection(regenerateCertificates(name, { all: false }, world)))?.code,
    );
    expect(await Promise.all(codes)).toEqual(['MACHINE_NOT_READY', 'DRIVER_UNSUPPORTED', 'MACHINE_NOT_FOUND']);
  });

  test('demands the key of the first meeting, until the user names another or another host', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    await provisionMachine('web', keepSpec, world);
    const given = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      options: { ...spec.options, hostKey: host.hostKey },
    });
    await provisionMachine('web', given, world);
    await provisionMachine('web', keepSpec, world);
    expect(host.expectedHostKeys).toEqual([undefined, host.hostKey, undefined, host.hostKey]);
  });

  test('of a name that is free is refused and makes no folder', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    expect((await catchRejection(provisionMachine('web', keepSpec, world)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await readdir(home.path)).toEqual([]);
  });

  test('as a dry run shows the plan and writes nothing anywhere', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const world = worldIn(home.path, { connect: host.connect });
    const plan = await planDryRun(await validateSpec(specOn(host), world), undefined, world);
    expect(plan.map(({ id }) => id)).toEqual(['configure-engine', 'install-engine']);
    expect([host.executions, host.files.size]).toEqual([['facts.sh'], 0]);
    expect(await readdir(home.path)).toEqual([]);
  });
});

describe('rm', () => {
  test('takes profiles and record away, gives the docker CLI its default back, and says what stays', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    await applyFileChanges(await planContextSwitch('web', world.clientPaths));
    expect(await removeMachine('web', REMOVE_OPTIONS, world)).toEqual({
      name: 'web',
      stays: 'the host itself and its engine stay as they are',
      contextReset: true,
    });
    expect(await readCurrentContextName(world.clientPaths)).toBeUndefined();
    expect(await listFiles(home.path)).toEqual([join(home.path, '.docker', 'config.json')]);
    expect(host.files.size).toBeGreaterThan(0);
  });

  test('with --deprovision takes back what was laid on the host too', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    expect(await removeMachine('web', { deprovision: true, force: false }, world)).toMatchObject({ stays: undefined });
    expect([...host.files.keys()]).toEqual([]);
  });

  test("leaves a context of that name that is somebody else's, also as the current one", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    const foreign = readyMachine('web', { spec: specNamed('web', { id: 'somebody' }) });
    await applyFileChanges(
      dockerContextProfile.changesToAdd({ machine: foreign, tls: undefined, clientPaths: world.clientPaths }),
    );
    await applyFileChanges(await planContextSwitch('web', world.clientPaths));
    expect(await removeMachine('web', REMOVE_OPTIONS, world)).toMatchObject({ contextReset: false });
    expect(await readContextOwner('web', world.clientPaths)).toBe('somebody');
    expect(await readCurrentContextName(world.clientPaths)).toBe('web');
    expect(await world.store.find('web')).toBeUndefined();
  });

  test('of a host that is gone keeps the machine, unless forced', async () => {
    await using home = await createTemporaryFolder();
    const progress = recordingProgress();
    const world = worldIn(home.path, {
      progress,
      connect: async () => {
        throw new SlipwayError('SSH_UNREACHABLE', 'no answer');
      },
    });
    await world.store.write(readyMachine('web'));
    const error = await catchRejection(removeMachine('web', { deprovision: true, force: false }, world));
    expect(error?.code).toBe('SSH_UNREACHABLE');
    expect(await world.store.find('web')).toBeDefined();
    await removeMachine('web', { deprovision: true, force: true }, world);
    expect(progress.notes).toEqual(['The files on the host were not removed: no answer']);
    expect(await world.store.find('web')).toBeUndefined();
  });

  test('of a broken record needs --force', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await mkdir(world.store.paths('web').folder, { recursive: true });
    await writeFile(world.store.paths('web').record, '{');
    expect((await catchRejection(removeMachine('web', REMOVE_OPTIONS, world)))?.code).toBe('RECORD_BROKEN');
    await removeMachine('web', { deprovision: false, force: true }, world);
    expect(await listFiles(home.path)).toEqual([]);
  });
});

describe('an engine that exists', () => {
  test('is adopted by its URL and certificates, which are copied to where clients look', async () => {
    await using home = await createTemporaryFolder();
    await using other = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const first = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), first);
    const { tls } = first.store.paths('web');
    const [tlsCa, tlsCert, tlsKey] = ['ca', 'cert', 'key'].map((file) => join(tls, `${file}.pem`));
    const options = { url: `tcp://127.0.0.1:${host.port}`, tlsCa, tlsCert, tlsKey };
    const world = worldIn(other.path, { connect: failOnConnect });
    const ready = await createMachine(specNamed('adopted', { driver: 'none', options }), world);
    expect(ready).toMatchObject({ endpoint: { url: options.url, tls: true }, host: { engine: { url: options.url } } });
    expect(await loadClientCertificates(ready, world.store)).toEqual(
      await loadClientCertificates(await readReadyMachine(first), first.store),
    );
    await removeMachine('adopted', REMOVE_OPTIONS, world);
    expect(await listFiles(other.path)).toEqual([]);
  });

  test('without its certificates on this computer is refused before anything is recorded', async () => {
    await using home = await createTemporaryFolder();
    const options = { url: 'tcp://127.0.0.1:1', tlsCa: '/none', tlsCert: '/none', tlsKey: '/none' };
    const world = worldIn(home.path, { connect: failOnConnect });
    const error = await catchRejection(createMachine(specNamed('web', { driver: 'none', options }), world));
    expect(error?.message).toBe("/none can't be read");
    expect(await world.store.listNames()).toEqual([]);
  });
});

const failOnConnect: World['connect'] = async () => {
  throw new Error('nothing here may connect');
};

async function readReadyMachine({ store }: World) {
  const machine = await store.read('web');
  if (machine.phase !== 'ready') throw new Error('it is ready');
  return machine;
}

async function readTree(folder: string): Promise<readonly string[]> {
  return Promise.all((await listFiles(folder)).map(async (file) => `${file}\n${await readFile(file, 'utf8')}`));
}
