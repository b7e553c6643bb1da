import { describe, expect, test } from 'vitest';
import { hardwareSignature, type Accelerator } from '../../src/drivers/qemu/command-line.ts';
import { formatGuestCommand } from '../../src/drivers/qemu/guest-channel.ts';
import { fileDigestsOf, seedOf, diffSeedFiles } from '../../src/drivers/qemu/seed.ts';
import { findSurplusSpares, partitionSpares, type SpareRequirements } from '../../src/drivers/qemu/match-spares.ts';
import {
  hardwareDigestOf,
  incompatibilityReason,
  type SnapshotFiles,
  type SnapshotHost,
} from '../../src/drivers/qemu/snapshot.ts';
import type { Spare } from '../../src/drivers/qemu/spare-store.ts';
import { toQemuConfig, type VmSnapshot, type Vm } from '../../src/drivers/qemu/vm.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';
import { vmWithId } from '../fakes/sample-vm.ts';

const HOST: SnapshotHost = {
  qemu: { program: '/usr/bin/qemu-system-x86_64', bytes: 18, mtimeMs: 1000 },
  processor: 'emulated',
};
const FILES: SnapshotFiles = { memory: { bytes: 100, mtimeMs: 5 }, disk: { bytes: 200, mtimeMs: 6 } };
const snapshotWith = (more: Partial<VmSnapshot> = {}): VmSnapshot => ({
  blake2b: 'b'.repeat(128),
  bytes: 100,
  format: 'zstd',
  hardwareDigest: 'hardware',
  qemu: { ...HOST.qemu, version: '7.2.22' },
  processor: 'emulated',
  disk: { bytes: 200, mtimeMs: 6 },
  ...more,
});
const runningVm = (more: Partial<Vm> = {}): Vm & { readonly accelerator: Accelerator } => ({
  ...vmWithId('0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77', {
    devices: { guestChannel: true, seedDiskBytes: 4096 },
    ...more,
  }),
  accelerator: more.accelerator ?? 'tcg',
});

describe('incompatibilityReason', () => {
  test('finds none where nothing has changed', () => {
    expect(incompatibilityReason(snapshotWith(), 'hardware', HOST, FILES)).toBeUndefined();
    // An interrupted suspend has not recorded the disk, which its process may not have closed yet.
    const { disk: _disk, ...open } = snapshotWith();
    expect(incompatibilityReason(open, 'hardware', HOST, FILES)).toBeUndefined();
  });

  test.each<[string, Partial<VmSnapshot>, SnapshotFiles, string]>([
    [
      'another QEMU',
      { qemu: { ...HOST.qemu, program: '/opt/qemu', version: '9.1.0' } },
      FILES,
      'another QEMU wrote its memory (9.1.0)',
    ],
    [
      'a QEMU that was replaced',
      { qemu: { ...HOST.qemu, mtimeMs: 7, version: '7.1.0' } },
      FILES,
      'another QEMU wrote its memory (7.1.0)',
    ],
    ['another processor', { processor: 'other' }, FILES, 'its memory was written on another processor or kernel'],
    [
      'other virtual hardware',
      { hardwareDigest: 'other' },
      FILES,
      'the virtual hardware has changed since its memory was written',
    ],
    ['a missing memory file', {}, { ...FILES, memory: undefined }, 'its memory file is missing'],
    [
      'a memory file that is too short',
      {},
      { ...FILES, memory: { bytes: 99, mtimeMs: 5 } },
      'its memory is damaged (99 of 100 bytes)',
    ],
    ['a missing disk', {}, { ...FILES, disk: undefined }, 'its disk is missing'],
    [
      'a disk that has changed',
      {},
      { ...FILES, disk: { bytes: 200, mtimeMs: 7 } },
      'its disk has changed since its memory was written',
    ],
  ])('names %s', (_what, more, files, why) => {
    expect(incompatibilityReason(snapshotWith(more), 'hardware', HOST, files)).toBe(why);
  });
});

describe('hardwareDigestOf', () => {
  test('does not depend on what may change between suspend and resume', () => {
    const changed = runningVm({
      id: 'other',
      name: 'other',
      ports: { ssh: 1, engine: 2 },
      enginePort: 3,
      imageFolder: '/elsewhere',
      seedId: 'x',
    });
    expect(hardwareDigestOf(changed)).toBe(hardwareDigestOf(runningVm()));
    expect(hardwareSignature({ ...toQemuConfig(runningVm()), incomingCommand: 'cat memory' })).toBe(
      hardwareSignature(toQemuConfig(runningVm())),
    );
  });

  test.each<[string, Partial<Vm>]>([
    ['CPUs', { cpus: 4 }],
    ['memory', { memory: 1024 }],
    ['architecture', { arch: 'arm64' }],
    ["the seed's disk", { devices: { guestChannel: true, seedDiskBytes: 0 } }],
    ['the guest channel', { devices: { guestChannel: false, seedDiskBytes: 4096 } }],
    ['the root device', { root: '/dev/vda1' }],
  ])('depends on %s', (_what, more) => {
    expect(hardwareDigestOf(runningVm(more))).not.toBe(hardwareDigestOf(runningVm()));
  });
});

describe('partitionSpares', () => {
  const requirements: SpareRequirements = {
    image: 'debian-13',
    arch: 'amd64',
    digest: 'sha256:0',
    cpus: 2,
    memory: 2048,
    disk: 20,
    user: 'slipway',
    accelerator: 'tcg',
  };
  const spare = (id: string, more: Partial<Spare> = {}, vm: Partial<Vm> = {}) => ({
    spare: {
      vm: { ...runningVm({ id, ...vm }), snapshot: snapshotWith() },
      imageName: 'debian-13',
      diskGb: 20,
      seedFiles: {},
      createdAt: '2026-01-02T00:00:00.000Z',
      ...more,
    } satisfies Spare,
    files: FILES,
  });
  const present = { host: HOST, hardwareDigestOf: () => 'hardware' };
  const ids = (spares: readonly Spare[]): readonly string[] => spares.map(({ vm }) => vm.id);

  test('returns the usable ones oldest first', () => {
    const all = [
      spare('young', { createdAt: '2026-03-01T00:00:00.000Z' }),
      spare('old', { createdAt: '2026-01-01T00:00:00.000Z' }),
    ];
    expect(ids(partitionSpares(all, requirements, present).usable)).toEqual(['old', 'young']);
  });

  test.each<[string, Partial<Spare>, Partial<Vm>]>([
    ['of another image', { imageName: 'debian-12' }, {}],
    ['for another architecture', {}, { arch: 'arm64', imageDigest: 'sha256:1' }],
    ['with another disk', { diskGb: 40 }, {}],
    ['with other CPUs', {}, { cpus: 4 }],
    ['with other memory', {}, { memory: 1024 }],
    ['for another user', {}, { user: 'dev' }],
    ['with another accelerator', {}, { accelerator: 'kvm' }],
  ])('leaves out a spare %s', (_what, more, vm) => {
    expect(partitionSpares([spare('other', more, vm)], requirements, present)).toEqual({ usable: [], unusable: [] });
  });

  test("returns those that can't resume any more, with the reason", () => {
    const all = [
      spare('old', {}, { imageDigest: 'sha256:1' }),
      { ...spare('cut'), files: { ...FILES, memory: { bytes: 1, mtimeMs: 5 } } },
      spare('good'),
    ];
    const { usable, unusable } = partitionSpares(all, requirements, present);
    expect(ids(usable)).toEqual(['good']);
    expect(unusable.map(({ spare: { vm }, reason }) => `${vm.id}: ${reason}`)).toEqual([
      'old: its image has been replaced since',
      'cut: its memory is damaged (1 of 100 bytes)',
    ]);
  });
});

describe('findSurplusSpares', () => {
  const now = new Date('2026-06-30T00:00:00Z');
  const spare = (memory: number, createdAt: string): Spare => ({
    vm: { ...runningVm({ id: `${memory} ${createdAt}`, memory }), snapshot: snapshotWith() },
    imageName: 'debian-13',
    diskGb: 20,
    seedFiles: {},
    createdAt,
  });
  const surplusOf = (spares: readonly Spare[]): readonly string[] =>
    findSurplusSpares(spares, now).map(({ vm }) => vm.id);

  test('finds none of three kinds, however many spares of each the user has asked for', () => {
    const spares = [1024, 2048, 4096].flatMap((memory) =>
      Array.from({ length: 20 }, (_none, day) =>
        spare(memory, `2026-06-${String(day + 1).padStart(2, '0')}T00:00:00Z`),
      ),
    );
    expect(surplusOf(spares)).toEqual([]);
  });

  test('finds the kinds of which none was built for the longest time', () => {
    const dates = ['2026-06-04', '2026-06-02', '2026-06-05', '2026-06-03', '2026-06-01'];
    const spares = dates.map((date, index) => spare(1024 + index, date));
    expect(surplusOf(spares)).toEqual(['1025 2026-06-02', '1028 2026-06-01']);
    // A new spare of an old kind means that the kind is in use.
    expect(surplusOf([...spares, spare(1028, '2026-06-06')])).toEqual(['1025 2026-06-02', '1027 2026-06-03']);
  });

  test('counts machines of another architecture as another kind', () => {
    const foreign = (day: string): Spare => {
      const { vm, ...rest } = spare(1024, day);
      return { ...rest, vm: { ...vm, id: `arm64 ${day}`, arch: 'arm64' } };
    };
    const spares = [1024, 2048, 4096].map((memory) => spare(memory, '2026-06-02'));
    expect(surplusOf([foreign('2026-06-01'), ...spares])).toEqual(['arm64 2026-06-01']);
  });

  test('finds those that nobody has taken for more than 30 days', () => {
    expect(surplusOf([spare(1024, '2026-05-30T23:00:00Z'), spare(1024, '2026-06-01T00:00:00Z')])).toEqual([
      '1024 2026-05-30T23:00:00Z',
    ]);
  });
});

describe('diffSeedFiles', () => {
  const spare = seedOf(fakeIdentity({ name: 'spare', id: 'ffffffff-ffff-4fff-bfff-ffffffffffff' }));

  test('finds that the name is sufficient where all else is the same', () => {
    const { liveFiles, isSufficient } = diffSeedFiles(seedOf(fakeIdentity()), fileDigestsOf(spare));
    expect(isSufficient).toBe(true);
    expect(liveFiles.map(({ path, content }) => [path, content])).toEqual([
      ['/etc/hostname', 'web\n'],
      ['/etc/hosts', expect.stringContaining('127.0.1.1 web') as string],
    ]);
  });

  test.each([
    [
      'a program was started with another content of a file',
      { files: [{ path: '/etc/x', mode: '644', content: 'y' }] },
    ],
    ['a file is missing', { files: [] }],
    ['its host key has changed', { hostKey: { private: 'OTHER', public: 'ssh-ed25519 OTHER' } }],
  ])('finds live files insufficient where %s', (_what, more) => {
    const seed = seedOf(fakeIdentity({ boot: { ...fakeIdentity().boot, ...more } }));
    expect(diffSeedFiles(seed, fileDigestsOf(spare)).isSufficient).toBe(false);
  });

  test('compares digests that reveal no secret', () => {
    expect(JSON.stringify(fileDigestsOf(spare))).not.toMatch(/PRIVATE|AAAA/);
  });
});

test('formatGuestCommand writes lines, and says how many belong to a file', () => {
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
