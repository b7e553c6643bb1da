import { expect, test } from 'vitest';
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
