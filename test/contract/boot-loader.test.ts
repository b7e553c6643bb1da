import { execFileSync } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { requireBootLoader } from '../../src/drivers/qemu/boot-loader.ts';
import type { Arch } from '../../src/images/image.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { hasProgram } from '../fakes/run-program.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const hasPrograms = ['qemu-img', 'mcopy', 'mkfs.vfat'].every((program) => hasProgram(program));

/** Creates a qcow2 disk with a FAT file system that contains these boot loaders. */
async function createDisk(folder: string, ...loaders: readonly string[]): Promise<string> {
  const run = (program: string, ...argv: readonly string[]): unknown => execFileSync(program, argv, { cwd: folder });
  run('mkfs.vfat', '-C', 'fat.raw', '20480');
  run('mmd', '-i', 'fat.raw', '::EFI', '::EFI/BOOT');
  await writeFile(join(folder, 'loader'), 'a boot loader');
  for (const loader of loaders) run('mcopy', '-i', 'fat.raw', 'loader', `::EFI/BOOT/${loader}`);
  run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'fat.raw', 'disk.qcow2');
  return join(folder, 'disk.qcow2');
}

const requireLoader = (disk: string, arch: Arch, folder: string): Promise<void> =>
  requireBootLoader(disk, arch, folder, async (...argv) => void execFileSync('qemu-img', argv));

test.runIf(hasPrograms)(
  'a disk whose boot loader is for another architecture is refused, with the right one',
  async () => {
    await using folder = await createTemporaryFolder();
    const disk = await createDisk(folder.path, 'BOOTAA64.EFI', 'grubaa64.efi');
    const before = await readdir(folder.path);
    const refused = await catchRejection(requireLoader(disk, 'amd64', folder.path));
    expect([refused?.code, refused?.message]).toEqual([
      'USAGE',
      `The image ${disk} is for arm64, so it can't start a machine for amd64`,
    ]);
    expect(refused?.hint).toContain('--qemu-arch arm64');
    await requireLoader(disk, 'arm64', folder.path);
    expect(await readdir(folder.path)).toEqual(before);
  },
);

test.runIf(hasPrograms).each<[string, readonly string[]]>([
  ['boot loaders for both architectures', ['BOOTAA64.EFI', 'BOOTX64.EFI']],
  ['no boot loader for UEFI', []],
])('a disk with %s is accepted', async (_what, loaders) => {
  await using folder = await createTemporaryFolder();
  const disk = await createDisk(folder.path, ...loaders);
  await requireLoader(disk, 'amd64', folder.path);
  await requireLoader(disk, 'arm64', folder.path);
});
