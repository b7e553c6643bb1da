import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readSpare, writeSpare } from '../../src/drivers/qemu/spare-store.ts';
import { readVm, writeVm } from '../../src/drivers/qemu/vm-record.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

// Users have files with these keys: a change here would make their VMs unreadable.
const SNAPSHOT = {
  blake2b: 'b'.repeat(128),
  bytes: 100,
  packed: 'zstd',
  machine: '0123456789abcdef',
  qemu: { program: '/usr/bin/qemu-system-x86_64', bytes: 18, mtimeMs: 1000.5, version: '7.2.22' },
  processor: 'emulated',
  disk: { bytes: 200, mtimeMs: 6 },
};
const VM_RECORD = {
  version: 1,
  id: '0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77',
  name: 'web',
  records: '/elsewhere',
  image: 'sha256:1',
  imageFolder: '/images/one',
  root: '/dev/vda',
  arch: 'amd64',
  cpus: 2,
  memory: 2048,
  user: 'slipway',
  ports: { ssh: 20_022, engine: 22_376 },
  enginePort: 2376,
  seed: 'abcdef0123456789',
  taken: true,
  accelerator: 'tcg',
  devices: { port: true, seed: 4096 },
  suspended: SNAPSHOT,
  untold: [{ do: 'name', name: 'web' }],
  born: { '/etc/hostname': 'digest' },
};
const SPARE_RECORD = {
  version: 1,
  vm: VM_RECORD,
  image: 'debian-13',
  disk: 20,
  born: { '/etc/hostname': 'digest' },
  made: '2026-01-02T00:00:00.000Z',
};

test('a vm.json of an earlier version is read completely, and written with the same keys', async () => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'vm.json');
  await writeFile(file, JSON.stringify(VM_RECORD));
  const vm = await readVm(folder.path);
  expect(vm).toMatchObject({
    storeHome: '/elsewhere',
    imageDigest: 'sha256:1',
    seedId: 'abcdef0123456789',
    seedApplied: true,
    devices: { guestChannel: true, seedDiskBytes: 4096 },
    snapshot: { format: 'zstd', hardwareDigest: '0123456789abcdef', bytes: 100 },
    pendingCommands: [{ do: 'name', name: 'web' }],
    spareFiles: { '/etc/hostname': 'digest' },
  });
  if (vm) await writeVm(folder.path, vm);
  expect(await readFile(file, 'utf8')).toBe(`${JSON.stringify(VM_RECORD, null, 2)}\n`);
});

test('a vm.json without optional keys gives a VM without them, and stays without them', async () => {
  await using folder = await createTemporaryFolder();
  const { records: _r, devices: _d, suspended: _s, untold: _u, born: _b, accelerator: _a, ...least } = VM_RECORD;
  const file = join(folder.path, 'vm.json');
  await writeFile(file, JSON.stringify(least));
  const vm = await readVm(folder.path);
  for (const name of ['storeHome', 'devices', 'snapshot', 'pendingCommands', 'spareFiles', 'accelerator'])
    expect(vm).not.toHaveProperty(name);
  if (vm) await writeVm(folder.path, vm);
  expect(await readFile(file, 'utf8')).toBe(`${JSON.stringify(least, null, 2)}\n`);
});

test('a spare.json of an earlier version is read completely, and written with the same keys', async () => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'spare.json');
  await writeFile(file, JSON.stringify(SPARE_RECORD));
  const spare = await readSpare(folder.path);
  expect(spare).toMatchObject({ imageName: 'debian-13', diskGb: 20, seedFiles: { '/etc/hostname': 'digest' } });
  if (spare) await writeSpare(folder.path, spare, 'secrets');
  expect(await readFile(file, 'utf8')).toBe(`${JSON.stringify(SPARE_RECORD, null, 2)}\n`);
  expect(await readFile(join(folder.path, 'kept.json'), 'utf8')).toBe('secrets');
});
