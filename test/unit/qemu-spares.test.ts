import { describe, expect, test } from 'vitest';
import { hardwareSignature, type Accelerator } from '../../src/drivers/qemu/command-line.ts';
import { formatGuestCommand } from '../../src/drivers/qemu/guest-channel.ts';
import { fileDigestsOf, seedOf, diffSeedFiles } from '../../src/drivers/qemu/seed.ts';
import {
  hardwareDigest,
  incompatibilityReason,
  type SnapshotFiles,
  type SnapshotHost,
} from '../../src/drivers/qemu/suspend.ts';
import { partitionSpares, type SpareRecord, type SpareRequirements } from '../../src/drivers/qemu/warm-pool.ts';
import { toQemuConfig, type VmSnapshot, type Vm } from '../../src/drivers/qemu/vm.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';
import { vmWithId } from '../fakes/sample-vm.ts';

const PRESENT: SnapshotHost = {
  qemu: { program: '/usr/bin/qemu-system-x86_64', bytes: 18, mtimeMs: 1000 },
  processor: 'emulated',
};
const FILES: SnapshotFiles = { memory: { bytes: 100, mtimeMs: 5 }, disk: { bytes: 200, mtimeMs: 6 } };
const snapshotWith = (more: Partial<VmSnapshot> = {}): VmSnapshot => ({
  blake2b: 'b'.repeat(128),
  bytes: 100,
  packed: 'zstd',
  machine: 'machine',
  qemu: { ...PRESENT.qemu, version: '7.2.22' },
  processor: 'emulated',
  disk: { bytes: 200, mtimeMs: 6 },
  ...more,
});
const runningVm = (more: Partial<Vm> = {}): Vm & { readonly accelerator: Accelerator } => ({
  ...vmWithId('0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77', { devices: { port: true, seed: 4096 }, ...more }),
  accelerator: more.accelerator ?? 'tcg',
});

describe('a memory that was written', () => {
  test('is gone on with where nothing has changed', () => {
    expect(incompatibilityReason(snapshotWith(), 'machine', PRESENT, FILES)).toBeUndefined();
    // A process that was killed may not have closed its disk yet.
    const { disk: _disk, ...open } = snapshotWith();
    expect(incompatibilityReason(open, 'machine', PRESENT, FILES)).toBeUndefined();
  });

  test.each<[string, Partial<VmSnapshot>, SnapshotFiles, string]>([
    [
      'another program',
      { qemu: { ...PRESENT.qemu, program: '/opt/qemu', version: '9.1.0' } },
      FILES,
      'another QEMU wrote its memory (9.1.0)',
    ],
    [
      'a program that was exchanged',
      { qemu: { ...PRESENT.qemu, mtimeMs: 7, version: '7.1.0' } },
      FILES,
      'another QEMU wrote its memory (7.1.0)',
    ],
    ['another processor', { processor: 'other' }, FILES, 'its memory was written on another processor or kernel'],
    ['other devices', { machine: 'other' }, FILES, 'machines are built otherwise since its memory was written'],
    ['no memory', {}, { ...FILES, memory: undefined }, 'its memory is gone'],
    [
      'a memory that is cut off',
      {},
      { ...FILES, memory: { bytes: 99, mtimeMs: 5 } },
      'its memory is damaged (99 of 100 bytes)',
    ],
    ['no disk', {}, { ...FILES, disk: undefined }, 'its disk is gone'],
    [
      'a disk that has changed',
      {},
      { ...FILES, disk: { bytes: 200, mtimeMs: 7 } },
      'its disk has changed since its memory was written',
    ],
  ])('is of no use with %s', (_what, more, files, why) => {
    expect(incompatibilityReason(snapshotWith(more), 'machine', PRESENT, files)).toBe(why);
  });
});

describe('what a machine consists of', () => {
  test('does not depend on what may be another when it goes on', () => {
    const moved = runningVm({
      id: 'other',
      name: 'other',
      ports: { ssh: 1, engine: 2 },
      enginePort: 3,
      imageFolder: '/elsewhere',
      seed: 'x',
    });
    expect(hardwareDigest(moved)).toBe(hardwareDigest(runningVm()));
    expect(hardwareSignature({ ...toQemuConfig(runningVm()), incomingCommand: 'cat memory' })).toBe(
      hardwareSignature(toQemuConfig(runningVm())),
    );
  });

  test.each<[string, Partial<Vm>]>([
    ['CPUs', { cpus: 4 }],
    ['memory', { memory: 1024 }],
    ['architecture', { arch: 'arm64' }],
    ['the disk of its seed', { devices: { port: true, seed: 0 } }],
    ['its port', { devices: { port: false, seed: 4096 } }],
    ['its root', { root: '/dev/vda1' }],
  ])('depends on %s', (_what, more) => {
    expect(hardwareDigest(runningVm(more))).not.toBe(hardwareDigest(runningVm()));
  });
});

describe('of the spares that are ready', () => {
  const wish: SpareRequirements = {
    image: 'debian-13',
    digest: 'sha256:0',
    cpus: 2,
    memory: 2048,
    disk: 20,
    user: 'slipway',
    accelerator: 'tcg',
  };
  const spare = (id: string, more: Partial<SpareRecord> = {}, vm: Partial<Vm> = {}) => ({
    spare: {
      version: 1,
      vm: { ...runningVm({ id, ...vm }), suspended: snapshotWith() },
      image: 'debian-13',
      disk: 20,
      born: {},
      made: '2026-01-02T00:00:00.000Z',
      ...more,
    } as SpareRecord,
    files: FILES,
  });
  const now = { present: PRESENT, machineOf: () => 'machine' };
  const ids = (spares: readonly SpareRecord[]): readonly string[] => spares.map(({ vm }) => vm.id);

  test('the oldest that fits comes first', () => {
    const all = [
      spare('young', { made: '2026-03-01T00:00:00.000Z' }),
      spare('old', { made: '2026-01-01T00:00:00.000Z' }),
    ];
    expect(ids(partitionSpares(all, wish, now).fit)).toEqual(['old', 'young']);
  });

  test.each<[string, Partial<SpareRecord>, Partial<Vm>]>([
    ['of another image', { image: 'debian-12' }, {}],
    ['with another disk', { disk: 40 }, {}],
    ['with other CPUs', {}, { cpus: 4 }],
    ['with other memory', {}, { memory: 1024 }],
    ['for another user', {}, { user: 'dev' }],
    ['with another accelerator', {}, { accelerator: 'kvm' }],
  ])('one %s is left alone', (_what, more, vm) => {
    expect(partitionSpares([spare('other', more, vm)], wish, now)).toEqual({ fit: [], unfit: [] });
  });

  test("one that can't go on any more is told apart, with the reason", () => {
    const all = [
      spare('anew', {}, { image: 'sha256:1' }),
      { ...spare('cut'), files: { ...FILES, memory: { bytes: 1, mtimeMs: 5 } } },
      spare('good'),
    ];
    const { fit, unfit } = partitionSpares(all, wish, now);
    expect(ids(fit)).toEqual(['good']);
    expect(unfit.map(({ spare: { vm }, why }) => `${vm.id}: ${why}`)).toEqual([
      'anew: its image was made anew since',
      'cut: its memory is damaged (1 of 100 bytes)',
    ]);
  });
});

describe('a spare becomes a machine', () => {
  const spare = seedOf(fakeIdentity({ name: 'spare', id: 'ffffffff-ffff-4fff-bfff-ffffffffffff' }));

  test('by being told its name alone, where all else is the same', () => {
    const { told, same } = diffSeedFiles(seedOf(fakeIdentity()), fileDigestsOf(spare));
    expect(same).toBe(true);
    expect(told.map(({ path, content }) => [path, content])).toEqual([
      ['/etc/hostname', 'web\n'],
      ['/etc/hosts', expect.stringContaining('127.0.1.1 web') as string],
    ]);
  });

  test.each([
    ['a file that something was started with is another', { files: [{ path: '/etc/x', mode: '644', content: 'y' }] }],
    ['a file is gone', { files: [] }],
    ['its host key is another', { hostKey: { private: 'OTHER', public: 'ssh-ed25519 OTHER' } }],
  ])('and is visited where %s', (_what, more) => {
    const seed = seedOf(fakeIdentity({ boot: { ...fakeIdentity().boot, ...more } }));
    expect(diffSeedFiles(seed, fileDigestsOf(spare)).same).toBe(false);
  });

  test('and what is kept of its seed tells no secret', () => {
    expect(JSON.stringify(fileDigestsOf(spare))).not.toMatch(/PRIVATE|AAAA/);
  });
});

test('words to a guest are lines that it can count', () => {
  const now = new Date('2026-01-02T03:04:05.678Z');
  expect(formatGuestCommand({ do: 'clock' }, now)).toEqual(['clock 1767323045.678']);
  expect(formatGuestCommand({ do: 'file', path: '/etc/hosts', content: 'a\n\nb\n' }, now)).toEqual([
    'file /etc/hosts 3',
    'a',
    '',
    'b',
  ]);
  expect(formatGuestCommand({ do: 'name', name: 'web' }, now)).toEqual(['name web']);
  expect(formatGuestCommand({ do: 'random' }, now)[0]).toMatch(/^random [0-9a-f]{64}$/);
});
