import { expect, test } from 'vitest';
import { qemu } from '../../src/drivers/qemu/manifest.ts';
import { archOf, archs } from '../../src/images/image.ts';
import { requiredPrograms } from '../../src/drivers/qemu/required-programs.ts';
import { packagesOf } from '../../src/computer/programs.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';

// On a computer whose apt can fetch packages, the machine's image is built from them.
const computer = computerWithPrograms('/nonexistent');
const commandsFor = (...args: Parameters<typeof requiredPrograms>): readonly string[] =>
  requiredPrograms(...args).map(({ command }) => command);

test('a machine needs the QEMU of its architecture, by default that of this computer', () => {
  expect(commandsFor(computer)).toContain('qemu-system-x86_64');
  expect(commandsFor(computer, { arch: 'amd64' })).toEqual(commandsFor(computer));
  expect(commandsFor({ ...computer, arch: 'arm64' })).toContain('qemu-system-aarch64');
  expect(commandsFor({ ...computer, arch: 'arm64' }, { arch: 'amd64' })).toContain('qemu-system-x86_64');
});

test('a machine of another architecture also needs the programs that build its image', () => {
  const builders = ['mmdebstrap', 'mke2fs', 'fakeroot'];
  expect(commandsFor(computer, { arch: 'arm64' })).toEqual([
    'qemu-system-aarch64',
    'qemu-img',
    ...builders,
    'qemu-aarch64-static',
    'arch-test',
  ]);
  expect(packagesOf(requiredPrograms(computer, { arch: 'arm64' }), 'apt')).toEqual(
    expect.arrayContaining(['qemu-system-arm', 'qemu-efi-aarch64', 'qemu-user-static', 'arch-test']) as string[],
  );
  // This computer downloads a vendor's image.
  expect(commandsFor({ ...computer, platform: 'darwin' }, { arch: 'arm64' })).toEqual([
    'qemu-system-aarch64',
    'qemu-img',
  ]);
});

test('to name the architecture that a machine has anyway changes nothing, and another one needs a new machine', () => {
  const own = archOf(process);
  const kinds = archs.map((arch) => [
    qemu.changeKindOf?.('arch', undefined, arch),
    qemu.changeKindOf?.('arch', arch, undefined),
    arch === own,
  ]);
  expect(kinds.toSorted()).toEqual([
    ['live', 'live', true],
    ['replace', 'replace', false],
  ]);
});
