import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deleteFile } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import { archs, type Arch } from '../../images/image.ts';

/** Vendors put the partition of the boot loaders before the root's. */
const SEARCHED_MIB = 256;
/** The boot loader that firmware looks for, as a FAT directory stores its name: `EFI/BOOT/BOOTX64.EFI`. */
const FAT_NAMES: Readonly<Record<Arch, string>> = { amd64: 'BOOTX64 EFI', arm64: 'BOOTAA64EFI' };
const FAT_ENTRY_BYTES = 32;

/** Pure. Returns the architectures for which a disk has a boot loader for UEFI. */
export function findBootLoaders(disk: Buffer): readonly Arch[] {
  return archs.filter((arch) => {
    for (let at = disk.indexOf(FAT_NAMES[arch]); at >= 0; at = disk.indexOf(FAT_NAMES[arch], at + 1))
      if (at % FAT_ENTRY_BYTES === 0) return true;
    return false;
  });
}

/**
 * Throws USAGE if a vendor's disk has a boot loader, and none for this architecture: a machine that can't boot it says
 * nothing for as long as the timeout takes. A disk that boots without UEFI passes.
 */
export async function requireBootLoader(
  disk: string,
  arch: Arch,
  folder: string,
  runQemuImg: (...argv: readonly string[]) => Promise<void>,
): Promise<void> {
  const copy = join(folder, 'beginning.raw');
  await runQemuImg('dd', '-O', 'raw', 'bs=1M', `count=${SEARCHED_MIB}`, `if=${disk}`, `of=${copy}`);
  const [other, ...more] = findBootLoaders(await readFile(copy));
  await deleteFile(copy);
  if (other === undefined || other === arch || more.length > 0) return;
  throw new SlipwayError('USAGE', `The image ${disk} is for ${other}, so it can't start a machine for ${arch}`, {
    hint: `Choose its architecture: slipway create NAME --qemu-arch ${other}, or slipway image pull --arch ${other}`,
  });
}
