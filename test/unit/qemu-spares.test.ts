import { describe, expect, test } from 'vitest';
import { machineOf, type Accelerator } from '../../src/drivers/qemu/command-line.ts';
import { linesOf } from '../../src/drivers/qemu/port.ts';
import { digestsOf, seedOf, toBecome } from '../../src/drivers/qemu/seed.ts';
import { machineDigest, whyUnfit, type Files, type Present } from '../../src/drivers/qemu/snapshot.ts';
import { sorted, type Spare, type Wish } from '../../src/drivers/qemu/spares.ts';
import { shapeOf, type Snapshot, type Vm } from '../../src/drivers/qemu/vm.ts';
import { identity } from '../fakes/identity.ts';
import { vmNamed } from '../fakes/vm.ts';

const PRESENT: Present = {
  qemu: { program: '/usr/bin/qemu-system-x86_64', bytes: 18, mtimeMs: 1000 },
  processor: 'emulated',
};
const FILES: Files = { memory: { bytes: 100, mtimeMs: 5 }, disk: { bytes: 200, mtimeMs: 6 } };
const snapshot = (more: Partial<Snapshot> = {}): Snapshot => ({
  blake2b: 'b'.repeat(128),
  bytes: 100,
  packed: 'zstd',
  machine: 'machine',
  qemu: { ...PRESENT.qemu, version: '7.2.22' },
  processor: 'emulated',
  disk: { bytes: 200, mtimeMs: 6 },
  ...more,
});
const running = (more: Partial<Vm> = {}): Vm & { readonly accelerator: Accelerator } => ({
  ...vmNamed('0b6f0d2c-1f3a-4e0e-9d53-6d3f6b1f2a77', { devices: { port: true, seed: 4096 }, ...more }),
  accelerator: more.accelerator ?? 'tcg',
});

describe('a memory that was written', () => {
  test('is gone on with where nothing has changed', () => {
    expect(whyUnfit(snapshot(), 'machine', PRESENT, FILES)).toBeUndefined();
    // A process that was killed may not have closed its disk yet.
    const { disk: _disk, ...open } = snapshot();
    expect(whyUnfit(open, 'machine', PRESENT, FILES)).toBeUndefined();
  });

  test.each<[string, Partial<Snapshot>, Files, string]>([
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
    expect(whyUnfit(snapshot(more), 'machine', PRESENT, files)).toBe(why);
  });
});

describe('what a machine consists of', () => {
  test('does not depend on what may be another when it goes on', () => {
    const moved = running({
      id: 'other',
      name: 'other',
      ports: { ssh: 1, engine: 2 },
      enginePort: 3,
      imageFolder: '/elsewhere',
      seed: 'x',
    });
    expect(machineDigest(moved)).toBe(machineDigest(running()));
    expect(machineOf({ ...shapeOf(running()), incoming: 'cat memory' })).toBe(machineOf(shapeOf(running())));
  });

  test.each<[string, Partial<Vm>]>([
    ['CPUs', { cpus: 4 }],
    ['memory', { memory: 1024 }],
    ['architecture', { arch: 'arm64' }],
    ['the disk of its seed', { devices: { port: true, seed: 0 } }],
    ['its port', { devices: { port: false, seed: 4096 } }],
    ['its root', { root: '/dev/vda1' }],
  ])('depends on %s', (_what, more) => {
    expect(machineDigest(running(more))).not.toBe(machineDigest(running()));
  });
});

describe('of the spares that are ready', () => {
  const wish: Wish = {
    image: 'debian-13',
    digest: 'sha256:0',
    cpus: 2,
    memory: 2048,
    disk: 20,
    user: 'slipway',
    accelerator: 'tcg',
  };
  const spare = (id: string, more: Partial<Spare> = {}, vm: Partial<Vm> = {}) => ({
    spare: {
      version: 1,
      vm: { ...running({ id, ...vm }), suspended: snapshot() },
      image: 'debian-13',
      disk: 20,
      born: {},
      made: '2026-01-02T00:00:00.000Z',
      ...more,
    } as Spare,
    files: FILES,
  });
  const now = { present: PRESENT, machineOf: () => 'machine' };
  const ids = (spares: readonly Spare[]): readonly string[] => spares.map(({ vm }) => vm.id);

  test('the oldest that fits comes first', () => {
    const all = [
      spare('young', { made: '2026-03-01T00:00:00.000Z' }),
      spare('old', { made: '2026-01-01T00:00:00.000Z' }),
    ];
    expect(ids(sorted(all, wish, now).fit)).toEqual(['old', 'young']);
  });

  test.each<[string, Partial<Spare>, Partial<Vm>]>([
    ['of another image', { image: 'debian-12' }, {}],
    ['with another disk', { disk: 40 }, {}],
    ['with other CPUs', {}, { cpus: 4 }],
    ['with other memory', {}, { memory: 1024 }],
    ['for another user', {}, { user: 'dev' }],
    ['with another accelerator', {}, { accelerator: 'kvm' }],
  ])('one %s is left alone', (_what, more, vm) => {
    expect(sorted([spare('other', more, vm)], wish, now)).toEqual({ fit: [], unfit: [] });
  });

  test('one that can’t go on any more is told apart, with the reason', () => {
    const all = [
      spare('anew', {}, { image: 'sha256:1' }),
      { ...spare('cut'), files: { ...FILES, memory: { bytes: 1, mtimeMs: 5 } } },
      spare('good'),
    ];
    const { fit, unfit } = sorted(all, wish, now);
    expect(ids(fit)).toEqual(['good']);
    expect(unfit.map(({ spare: { vm }, why }) => `${vm.id}: ${why}`)).toEqual([
      'anew: its image was made anew since',
      'cut: its memory is damaged (1 of 100 bytes)',
    ]);
  });
});

describe('a spare becomes a machine', () => {
  const spare = seedOf(identity({ name: 'spare', id: 'ffffffff-ffff-4fff-bfff-ffffffffffff' }));

  test('by being told its name alone, where all else is the same', () => {
    const { told, same } = toBecome(seedOf(identity()), digestsOf(spare));
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
    const seed = seedOf(identity({ boot: { ...identity().boot, ...more } }));
    expect(toBecome(seed, digestsOf(spare)).same).toBe(false);
  });

  test('and what is kept of its seed tells no secret', () => {
    expect(JSON.stringify(digestsOf(spare))).not.toMatch(/PRIVATE|AAAA/);
  });
});

test('words to a guest are lines that it can count', () => {
  const now = new Date('2026-01-02T03:04:05.678Z');
  expect(linesOf({ do: 'clock' }, now)).toEqual(['clock 1767323045.678']);
  expect(linesOf({ do: 'file', path: '/etc/hosts', content: 'a\n\nb\n' }, now)).toEqual([
    'file /etc/hosts 3',
    'a',
    '',
    'b',
  ]);
  expect(linesOf({ do: 'name', name: 'web' }, now)).toEqual(['name web']);
  expect(linesOf({ do: 'random' }, now)[0]).toMatch(/^random [0-9a-f]{64}$/);
});
