import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { applyFileChanges } from '../../src/computer/files.ts';
import { SlipwayError } from '../../src/errors.ts';
import { loadClientCertificates } from '../../src/operations/credentials.ts';
import { finishProvision } from '../../src/operations/client-profiles.ts';
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
import { readMode } from '../fakes/file-modes.ts';
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

/** Reads the certificates of the only docker context. */
async function readContextFiles({ clientPaths }: World): Promise<Record<string, string>> {
  const folder = join(clientPaths.dockerConfig, 'contexts', 'tls');
  const [id = ''] = await readdir(folder);
  const read = async (name: string): Promise<string> => readFile(join(folder, id, 'docker', `${name}.pem`), 'utf8');
  return { ca: await read('ca'), cert: await read('cert'), key: await read('key') };
}

/** Lists every file below a folder except locks, which stay behind empty. */
async function listFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('lock.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

describe('create', () => {
  test.each([
    [{ HTTPS_PROXY: 'http://ada:secret@proxy.example:3128' }, true],
    [{ HTTPS_PROXY: 'http://proxy.example:3128', NO_PROXY: '192.0.2.0/24' }, false],
    [{}, false],
  ])('says when the docker CLI would reach the engine through a proxy: %o', async (env, isSaid) => {
    await using home = await createTemporaryFolder();
    const progress = recordingProgress();
    const connect = async (): Promise<never> => Promise.reject(new Error('nothing to connect to'));
    const base = worldIn(home.path, { connect, progress });
    const world = { ...base, computer: { ...base.computer, env } };
    const endpoint = { url: 'tcp://192.0.2.10:2376', tls: true };
    const machine = readyMachine('web', { host: { address: '192.0.2.10', engine: { url: endpoint.url } }, endpoint });
    await finishProvision({ machine, tls: undefined }, world, async () => {});
    const said = progress.notes.join('\n');
    expect(said.includes('proxy.example:3128')).toBe(isSaid);
    expect(said.includes('slipway env --no-proxy web')).toBe(isSaid);
    expect(said).not.toContain('secret');
  });

  test('makes a machine ready over one connection, and records it as ready after its profiles are written', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const progress = recordingProgress();
    const world = worldIn(home.path, { connect: host.connect, progress });
    const ready = await createMachine(specOn(host), world);
    expect(ready).toMatchObject({ phase: 'ready', endpoint: { url: `tcp://127.0.0.1:${host.port}`, tls: true } });
    expect(await world.store.read('web')).toEqual(ready);
    expect(progress.ids).toEqual([
      'connect',
      'facts',
      'check-packages',
      'configure-engine',
      'install-engine',
      'verify',
      'profiles',
    ]);
    expect(host.expectedHostKeys).toHaveLength(1);
    expect(host.executions).toEqual([
      'facts.sh',
      'check-packages.debian.sh',
      'configure.sh',
      'install-engine.debian.sh',
    ]);
    expect(host.engineStarts()).toBe(1);
    expect(await readContextOwner('web', world.clientPaths)).toBe(ready.spec.id);
    expect(progress.notes).toEqual([expect.stringContaining('Host key of 127.0.0.1, seen for the first time')]);
  });

  test('restarts a running engine once', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    expect([host.executions, host.engineStarts()]).toEqual([['facts.sh', 'configure.sh'], 1]);
  });

  test("keeps the CA's key on this computer, the server's on the host, and none in the record", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    const paths = world.store.paths('web');
    const caKey = await readFile(join(paths.ca, 'ca-key.pem'), 'utf8');
    expect([...host.files.values()].some(({ content }) => content.includes(caKey))).toBe(false);
    expect(await readFile(paths.record, 'utf8')).not.toContain('PRIVATE KEY');
    for (const file of (await listFiles(home.path)).filter((path) => path.endsWith('.pem')))
      expect(await readMode(file, '600'), file).toBe('600');
    expect(host.files.get('/etc/docker/slipway/server-key.pem')?.mode).toBe('600');
  });

  test('refuses a machine that is ready, and suggests provision or rm', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await world.store.write(readyMachine('web'));
    expect(await catchRejection(createMachine(specNamed('web'), world))).toMatchObject({
      code: 'MACHINE_EXISTS',
      hint: 'To bring it up to date: slipway provision web. To remove it: slipway rm web',
    });
  });

  test("refuses the name of somebody else's docker context before it records anything", async () => {
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

  test('refuses a name that another command works on', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    await using _lock = await world.store.lock('web');
    expect((await catchRejection(createMachine(specNamed('web'), world)))?.code).toBe('MACHINE_BUSY');
  });
});

const CREATE_STEPS = ['connect', 'facts', 'check-packages', 'configure-engine', 'install-engine', 'verify', 'profiles'];
const KILL_POINTS = CREATE_STEPS.flatMap((id) => (['before', 'after'] as const).map((when) => ({ when, id })));

describe('a create that is killed', () => {
  test.each(KILL_POINTS)(
    '$when $id is completed by the next create, and the engine starts only once',
    async (killPoint) => {
      await using home = await createTemporaryFolder();
      await using host = await startFakeHost({ engine: false });
      const killedWorld = worldIn(home.path, { connect: host.connect, progress: recordingProgress(killPoint) });
      await expect(createMachine(specOn(host), killedWorld)).rejects.toBe(KILLED);
      const incomplete = await killedWorld.store.read('web');
      expect(incomplete.phase).not.toBe('ready');

      const world = worldIn(home.path, { connect: host.connect });
      const ready = await createMachine(specOn(host, { id: 'another' }), world);
      expect(ready.phase).toBe('ready');
      expect(ready.spec.id, 'it is the same machine').toBe(incomplete.spec.id);
      expect(host.engineStarts()).toBe(1);
      expect(await readContextOwner('web', world.clientPaths)).toBe(ready.spec.id);
    },
  );

  test.each(KILL_POINTS)('$when $id is undone by rm, which leaves no files on this computer', async (killPoint) => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const killedWorld = worldIn(home.path, { connect: host.connect, progress: recordingProgress(killPoint) });
    // The host has an engine, so the step "install-engine" never runs.
    await createMachine(specOn(host), killedWorld).catch((error: unknown) => expect(error).toBe(KILLED));
    const world = worldIn(home.path, { connect: host.connect });
    await removeMachine('web', REMOVE_OPTIONS, world);
    expect(await listFiles(home.path)).toEqual([]);
    expect(await world.store.list()).toEqual([]);
  });

  test('after its profiles were written leaves them, although its record is not ready yet', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const progress = recordingProgress({ when: 'after', id: 'profiles' });
    const world = worldIn(home.path, { connect: host.connect, progress });
    await expect(createMachine(specOn(host), world)).rejects.toBe(KILLED);
    expect((await world.store.read('web')).phase).toBe('created');
    expect(await readContextOwner('web', world.clientPaths)).toBe('id-of-web');
  });

  test('after it configured the engine is continued with the same certificates and host key', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const first = worldIn(home.path, {
      connect: host.connect,
      progress: recordingProgress({ when: 'after', id: 'configure-engine' }),
    });
    await expect(createMachine(specOn(host), first)).rejects.toBe(KILLED);
    const certificateBefore = host.files.get('/etc/docker/slipway/server-cert.pem');
    await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')).toEqual(certificateBefore);
    expect(host.expectedHostKeys).toEqual([undefined, host.hostKey]);
  });
});

describe('a failure', () => {
  test('is recorded with its step and code until a command succeeds', async () => {
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

  test('of a connection is recorded for the step "connect", and the host key that was shown is pinned', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const refuseConnection: World['connect'] = async (target, side, onHostKey) => {
      await using _session = await host.connect(target, side, onHostKey);
      throw new SlipwayError('SSH_REFUSED', 'no key was accepted');
    };
    const world = worldIn(home.path, { connect: refuseConnection });
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
    const unreachableWorld = worldIn(home.path, {
      connect: async () => {
        throw new SlipwayError('SSH_UNREACHABLE', 'no answer');
      },
    });
    await catchRejection(provisionMachine('web', keepSpec, unreachableWorld));
    expect(await world.store.read('web')).toMatchObject({ phase: 'ready', failure: { code: 'SSH_UNREACHABLE' } });
    expect((await provisionMachine('web', keepSpec, world)).failure).toBeUndefined();
  });

  test("that is a bug of Slipway is not recorded, because the user can't fix it", async () => {
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
  test('of an up-to-date machine collects facts and changes nothing', async () => {
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

  test('with a changed spec writes what differs, restarts once and keeps the CA', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const before = await loadClientCertificates(ready, world.store);
    const addName = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      engine: { ...spec.engine, tlsSan: ['web.example'] },
    });
    const next = await provisionMachine('web', addName, world);
    expect(next.spec.engine.tlsSan).toEqual(['web.example']);
    expect(host.engineStarts()).toBe(2);
    expect(await loadClientCertificates(next, world.store)).toEqual(before);
  });

  test.each([
    ['tls/key.pem', 'missing', true],
    ['tls/key.pem', 'damaged', true],
    ['tls/cert.pem', 'missing', true],
    ['tls/cert.pem', 'damaged', true],
    ['tls/ca.pem', 'missing', true],
    ['tls/ca.pem', 'damaged', true],
    ['ca/ca-key.pem', 'missing', false],
    ['ca/ca-key.pem', 'damaged', false],
    ['server/cert.pem', 'missing', false],
    ['server/key.pem', 'damaged', false],
  ])('creates %s again if it is %s, as the error of other commands says', async (file, state, isOfClient) => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const path = join(world.store.paths('web').folder, file);
    await (state === 'missing' ? rm(path) : writeFile(path, 'not a PEM'));
    if (isOfClient) {
      const error = await catchRejection(loadClientCertificates(ready, world.store));
      expect(error).toMatchObject({ code: 'LOCAL_FILES', hint: 'To create it again: slipway provision web' });
      expect(error?.message).toMatch(/^The client certificate of machine "web" can't be used: /);
      expect(error?.message).toContain(path);
    }
    await provisionMachine('web', keepSpec, world);
    expect(await loadClientCertificates(ready, world.store)).toBeDefined();
    expect(await readFile(path, 'utf8')).toContain('-----BEGIN ');
  });

  test('renews certificates that expire soon', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const ready = await createMachine(specOn(host), worldIn(home.path, { connect: host.connect }));
    const in710Days = new Date(Date.now() + 710 * 24 * 60 * 60 * 1000);
    const world = worldIn(home.path, { connect: host.connect, now: () => in710Days });
    const before = await loadClientCertificates(ready, world.store);
    // The new certificates become valid an hour before that day, so no client can use them today: only the files are
    // compared.
    const killedWorld = { ...world, progress: recordingProgress({ when: 'before', id: 'verify' }) };
    await expect(provisionMachine('web', keepSpec, killedWorld)).rejects.toBe(KILLED);
    const after = await loadClientCertificates(ready, world.store);
    expect(after?.ca).toBe(before?.ca);
    expect(after?.cert).not.toBe(before?.cert);
  });

  test('requires the pinned host key, until the user gives another key or host', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    await provisionMachine('web', keepSpec, world);
    const setHostKey = (spec: MachineSpec): MachineSpec => ({
      ...spec,
      options: { ...spec.options, hostKey: host.hostKey },
    });
    await provisionMachine('web', setHostKey, world);
    await provisionMachine('web', keepSpec, world);
    expect(host.expectedHostKeys).toEqual([undefined, host.hostKey, undefined, host.hostKey]);
  });

  test('refuses an unknown name, and creates no folder', async () => {
    await using home = await createTemporaryFolder();
    const world = worldIn(home.path, { connect: failOnConnect });
    expect((await catchRejection(provisionMachine('web', keepSpec, world)))?.code).toBe('MACHINE_NOT_FOUND');
    expect(await readdir(home.path)).toEqual([]);
  });

  test('with --dry-run shows the plan and writes nothing', async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: false });
    const world = worldIn(home.path, { connect: host.connect });
    const plan = await planDryRun(await validateSpec(specOn(host), world), undefined, world);
    expect(plan.map(({ id }) => id)).toEqual(['check-packages', 'configure-engine', 'install-engine']);
    expect([host.executions, host.files.size]).toEqual([['facts.sh', 'check-packages.debian.sh'], 0]);
    expect(await readdir(home.path)).toEqual([]);
  });
});

describe('regenerate-certs', () => {
  test.each([
    ['of the existing CA', false],
    ['of a new CA', true],
  ])('creates certificates %s, and installs them with one restart', async (_what, all) => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    const ready = await createMachine(specOn(host), world);
    const before = await loadClientCertificates(ready, world.store);
    const certificateBefore = host.files.get('/etc/docker/slipway/server-cert.pem')?.content;
    expect(await regenerateCertificates('web', { all }, world)).toEqual(ready);
    const after = await loadClientCertificates(ready, world.store);
    expect([after?.ca === before?.ca, after?.cert === before?.cert, after?.key === before?.key]).toEqual([
      !all,
      false,
      false,
    ]);
    expect(host.files.get('/etc/docker/slipway/server-cert.pem')?.content).not.toBe(certificateBefore);
    expect([host.engineStarts(), host.files.get('/etc/docker/slipway/ca.pem')?.content]).toEqual([2, after?.ca]);
    expect(await readContextFiles(world)).toEqual(after);
  });

  test.each(['facts', 'configure-engine', 'verify', 'profiles'])(
    'that is killed before "%s" is completed by provision',
    async (id) => {
      await using home = await createTemporaryFolder();
      await using host = await startFakeHost({ engine: true });
      const world = worldIn(home.path, { connect: host.connect });
      const ready = await createMachine(specOn(host), world);
      const killedWorld = { ...world, progress: recordingProgress({ when: 'before', id }) };
      await expect(regenerateCertificates('web', { all: true }, killedWorld)).rejects.toBe(KILLED);
      const stored = await loadClientCertificates(ready, world.store);
      expect(await provisionMachine('web', keepSpec, world)).toEqual(ready);
      // The new certificates are in use everywhere: in the store, on the host and in the context.
      expect(await loadClientCertificates(ready, world.store)).toEqual(stored);
      expect(host.files.get('/etc/docker/slipway/ca.pem')?.content).toBe(stored?.ca);
      expect(await readContextFiles(world)).toEqual(stored);
    },
  );

  test('refuses a machine that is incomplete, that has an engine of its own, or that does not exist', async () => {
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
});

describe('rm', () => {
  test('removes profiles and record, resets the docker CLI to its default context, and says what stays', async () => {
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

  test("with --deprovision also removes Slipway's files from the host", async () => {
    await using home = await createTemporaryFolder();
    await using host = await startFakeHost({ engine: true });
    const world = worldIn(home.path, { connect: host.connect });
    await createMachine(specOn(host), world);
    expect(await removeMachine('web', { deprovision: true, force: false }, world)).toMatchObject({ stays: undefined });
    expect([...host.files.keys()]).toEqual([]);
  });

  test("keeps somebody else's context of the same name, even as the current one", async () => {
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

  test('with --deprovision keeps the machine if its host is unreachable, unless forced', async () => {
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

describe('an existing engine', () => {
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

  test('is refused without its certificates, before anything is recorded', async () => {
    await using home = await createTemporaryFolder();
    const options = { url: 'tcp://127.0.0.1:1', tlsCa: '/none', tlsCert: '/none', tlsKey: '/none' };
    const world = worldIn(home.path, { connect: failOnConnect });
    const error = await catchRejection(createMachine(specNamed('web', { driver: 'none', options }), world));
    expect(error?.message).toBe("/none can't be read: it does not exist");
    expect(await world.store.listNames()).toEqual([]);
  });
});

const failOnConnect: World['connect'] = async () => {
  throw new Error('this test must not connect');
};

async function readReadyMachine({ store }: World) {
  const machine = await store.read('web');
  if (machine.phase !== 'ready') throw new Error('the machine is not ready');
  return machine;
}

async function readTree(folder: string): Promise<readonly string[]> {
  return Promise.all((await listFiles(folder)).map(async (file) => `${file}\n${await readFile(file, 'utf8')}`));
}
