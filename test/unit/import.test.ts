import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isManagedBySlipway } from '../../src/docker-machine/config-json/mark.ts';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { driver as qemu } from '../../src/drivers/qemu/driver.ts';
import { qemu as qemuManifest } from '../../src/drivers/qemu/manifest.ts';
import { readVm } from '../../src/drivers/qemu/vm-record.ts';
import { vmFolder } from '../../src/drivers/qemu/vm.ts';
import { createMachine } from '../../src/operations/create.ts';
import { importMachine, type ImportSource } from '../../src/operations/import.ts';
import type { World } from '../../src/operations/world.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { startFakeHost, type FakeHost } from '../fakes/fake-host.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { KILLED, recordingProgress, worldIn } from '../fakes/test-world.ts';
import { engineSpec } from './host-facts.ts';

type ImportFixture = {
  readonly host: FakeHost;
  readonly world: World;
  readonly source: ImportSource;
  readonly root: string;
};

/** Creates a machine of the drop-in on a host in memory, with its SSH key in its folder. */
async function createImportFixture(home: string, host: FakeHost): Promise<ImportFixture> {
  const root = join(home, '.docker', 'machine');
  const store = openDockerMachineStore(root);
  const world = worldIn(home, { connect: host.connect });
  const { folder } = store.paths('web');
  await mkdir(folder, { recursive: true });
  const sshKey = join(folder, 'key');
  await writeFile(sshKey, 'PRIVATE');
  const options = { ipAddress: host.address, sshUser: 'root', sshPort: 22, sshKey };
  const env = ['PROXY=http://me:hunter2@proxy'];
  const spec = specNamed('web', { options, engine: engineSpec({ port: host.port, env }), profiles: [] });
  await createMachine(spec, { ...world, store });
  return { host, world, root, source: { store, readCaKey: async () => undefined, isViewOf: isManagedBySlipway } };
}

const expectImported = async ({ world, source, root }: ImportFixture): Promise<void> => {
  const { tls, ca, ssh, serverCert } = world.store.paths('web');
  const files = [join(tls, 'key.pem'), join(ca, 'ca-key.pem'), join(ssh, 'key'), serverCert];
  await Promise.all(files.map((file) => access(file)));
  const machine = await world.store.read('web');
  expect(machine).toMatchObject({
    phase: 'ready',
    spec: { options: { sshKey: join(ssh, 'key') }, profiles: ['docker-context'] },
    host: { ssh: { keyFile: join(ssh, 'key') } },
  });
  expect(machine.spec.engine.env).toEqual(['PROXY=http://me:hunter2@proxy']);
  expect(JSON.stringify(JSON.parse(await readFile(world.store.paths('web').record, 'utf8')))).not.toContain(root);
  expect(await source.store.listNames()).toEqual([]);
};

test('import brings certificates, keys and secrets, and leaves the host unchanged', async () => {
  await using home = await createTemporaryFolder();
  await using host = await startFakeHost({ engine: true });
  const fixture = await createImportFixture(home.path, host);
  const [files, starts] = [new Map(host.files), host.engineStarts()];
  const { engineProblem } = await importMachine('web', fixture.source, { keep: false }, fixture.world);
  expect(engineProblem).toBeUndefined();
  await expectImported(fixture);
  expect([host.files, host.engineStarts()]).toEqual([files, starts]);
});

const importSteps = ['connect', 'verify', 'import', 'profiles', 'forget'];

describe.each(importSteps.flatMap((id) => (['before', 'after'] as const).map((when) => ({ id, when }))))(
  'an import that is killed $when the step "$id"',
  ({ id, when }) => {
    test('leaves the old machine complete until the new one is, and the same command continues', async () => {
      await using home = await createTemporaryFolder();
      await using host = await startFakeHost({ engine: true });
      const fixture = await createImportFixture(home.path, host);
      const killedWorld = { ...fixture.world, progress: recordingProgress({ id, when }) };
      await expect(importMachine('web', fixture.source, { keep: false }, killedWorld)).rejects.toBe(KILLED);
      if (id === 'forget' && when === 'after') return await expectImported(fixture);
      // The old machine is unchanged.
      expect(await fixture.source.store.read('web')).toMatchObject({ phase: 'ready', spec: { profiles: [] } });
      await importMachine('web', fixture.source, { keep: false }, fixture.world);
      await expectImported(fixture);
    });
  },
);

test('import refuses the name of another machine', async () => {
  await using home = await createTemporaryFolder();
  await using host = await startFakeHost({ engine: true });
  const fixture = await createImportFixture(home.path, host);
  await fixture.world.store.write(readyMachine('web', { spec: specNamed('web', { id: 'another' }) }));
  expect(await catchRejection(importMachine('web', fixture.source, { keep: false }, fixture.world))).toMatchObject({
    code: 'MACHINE_EXISTS',
    hint: expect.stringContaining('slipway rm web'),
  });
  expect((await fixture.world.store.read('web')).spec.id).toBe('another');
});

test('import requires the pinned host key', async () => {
  await using home = await createTemporaryFolder();
  await using host = await startFakeHost({ engine: true });
  const fixture = await createImportFixture(home.path, host);
  await importMachine('web', fixture.source, { keep: true }, fixture.world);
  expect(host.expectedHostKeys.at(-1)).toBe(host.hostKey);
});

test('import reports an engine that does not answer; without an SSH connection it imports nothing', async () => {
  await using home = await createTemporaryFolder();
  await using host = await startFakeHost({ engine: true });
  const fixture = await createImportFixture(home.path, host);
  const old = await fixture.source.store.read('web');
  // Nothing listens on this port.
  const endpoint = { url: 'tcp://127.0.0.1:9', tls: true };
  if (old.phase !== 'ready') throw new Error('not ready');
  await fixture.source.store.write({ ...old, endpoint });
  const worldWithTimeout = { ...fixture.world, signal: AbortSignal.timeout(60_000) };
  const { engineProblem } = await importMachine('web', fixture.source, { keep: true }, worldWithTimeout);
  expect(engineProblem).toMatch(/slipway provision web$/);
  const machineWithoutSsh = readyMachine('bare', {
    spec: specNamed('bare', { driver: 'none', options: { url: 'tcp://127.0.0.1:9' } }),
    host: { address: '127.0.0.1', engine: { url: 'tcp://127.0.0.1:9' } },
    endpoint: { url: 'tcp://127.0.0.1:9', tls: false },
  });
  await fixture.source.store.write(machineWithoutSsh);
  expect(await catchRejection(importMachine('bare', fixture.source, { keep: false }, worldWithTimeout))).toMatchObject({
    code: 'ENGINE_UNREACHABLE',
  });
  expect(await fixture.world.store.find('bare')).toBeUndefined();
  expect(await fixture.source.store.find('bare')).toBeDefined();
  // Some of its certificates are missing: it is no engine without TLS.
  const { tls } = fixture.source.store.paths('bare');
  await mkdir(tls, { recursive: true });
  for (const file of ['ca.pem', 'cert.pem']) await writeFile(join(tls, file), '');
  expect(await catchRejection(importMachine('bare', fixture.source, { keep: false }, worldWithTimeout))).toMatchObject({
    code: 'LOCAL_FILES',
    message: `Machine "bare" can't be imported: ${join(tls, 'key.pem')} is missing`,
  });
});

test('import assigns a VM of this computer to the store that its machine moved to', async () => {
  await using home = await createTemporaryFolder();
  const { computer, debug } = worldIn(home.path, { connect: async () => Promise.reject(new Error('not here')) });
  const call = { computer, log: debug, note: debug, signal: new AbortController().signal };
  const folder = vmFolder(computer, 'id-1');
  await mkdir(folder, { recursive: true });
  const vm = { version: 1, id: 'id-1', name: 'web', records: '/elsewhere', ports: { ssh: 1, engine: 2 } };
  await writeFile(join(folder, 'vm.json'), JSON.stringify(vm));
  expect(await qemu.machines.findIdsByName?.('web', call)).toEqual([]);
  await qemu.machines.onImported?.({ id: 'id-1', name: 'web', options: qemuManifest.options.parse({}) }, call);
  expect(JSON.parse(await readFile(join(folder, 'vm.json'), 'utf8'))).not.toHaveProperty('records');
  expect(await readVm(folder)).not.toHaveProperty('storeHome');
  expect(await qemu.machines.findIdsByName?.('web', call)).toEqual(['id-1']);
});
