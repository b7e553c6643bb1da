import type { Computer } from '../../computer/computer.ts';
import { archOf, type Arch } from '../../images/image.ts';
import type { QemuOptions } from './options.ts';

/** Returns the architecture of the machines with these options: by default that of this computer. */
export function guestArchOf({ arch }: Partial<Pick<QemuOptions, 'arch'>>, computer: Pick<Computer, 'arch'>): Arch {
  return arch ?? archOf(computer);
}

/** Returns whether this computer runs such guests only by emulating their processor in software. */
export function isForeignArch(arch: Arch, computer: Computer): boolean {
  return arch !== archOf(computer);
}
