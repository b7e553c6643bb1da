import { existsSync } from 'node:fs';
import type { Computer } from '../../computer/computer.ts';
import { SlipwayError } from '../../errors.ts';
import type { Arch } from '../../images/image.ts';
import { findProgram, planInstall, type Program } from '../../computer/programs.ts';
import { guestArchOf, isForeignArch } from './guest-arch.ts';
import type { QemuOptions } from './options.ts';

const downloadPage = 'https://www.qemu.org/download/';
const installFolders = ['C:\\Program Files\\qemu', '/opt/homebrew/bin', '/usr/local/bin', '/opt/local/bin'];
const commonPackages = { brew: ['qemu'], winget: ['SoftwareFreedomConservancy.QEMU'], choco: ['qemu'] } as const;

export function qemuSystemProgram(arch: Arch): Program {
  const arm = arch === 'arm64';
  return {
    command: arm ? 'qemu-system-aarch64' : 'qemu-system-x86_64',
    purpose: 'runs local VMs',
    packages: {
      // The firmware starts cloud images; Debian's QEMU only recommends it.
      apt: arm ? ['qemu-system-arm', 'qemu-efi-aarch64'] : ['qemu-system-x86'],
      dnf: [arm ? 'qemu-system-aarch64-core' : 'qemu-system-x86-core'],
      pacman: [arm ? 'qemu-system-aarch64' : 'qemu-base'],
      zypper: [arm ? 'qemu-arm' : 'qemu-x86'],
      ...commonPackages,
    },
    link: downloadPage,
    folders: installFolders,
  };
}

export const qemuImgProgram: Program = {
  command: 'qemu-img',
  purpose: 'creates the disks of VMs',
  packages: { apt: ['qemu-utils'], dnf: ['qemu-img'], pacman: ['qemu-img'], zypper: ['qemu-img'], ...commonPackages },
  link: downloadPage,
  folders: installFolders,
};

/** Compresses the memory of suspended VMs to a third. Without it, memory is written uncompressed. */
export const zstdProgram: Program = {
  command: 'zstd',
  purpose: 'compresses the memory of suspended VMs',
  packages: { apt: ['zstd'], dnf: ['zstd'], pacman: ['zstd'], zypper: ['zstd'], brew: ['zstd'] },
  link: 'https://github.com/facebook/zstd',
};

/** The programs that build images from packages, which is possible on Debian and distributions derived from it. */
const imageBuildPrograms: readonly Program[] = [
  {
    command: 'mmdebstrap',
    purpose: 'builds images of VMs from signed packages',
    packages: { apt: ['mmdebstrap', 'debian-archive-keyring'] },
    link: 'https://gitlab.mister-muffin.de/josch/mmdebstrap',
  },
  {
    command: 'mke2fs',
    purpose: 'creates the file systems of images',
    packages: { apt: ['e2fsprogs'] },
    link: 'https://e2fsprogs.sourceforge.net/',
  },
  // Required for root too, since another user may run the next command.
  {
    command: 'fakeroot',
    purpose: 'keeps file owners in images that are built without root',
    packages: { apt: ['fakeroot'] },
    link: 'https://packages.debian.org/fakeroot',
  },
];

/** Tells whether this computer can run programs of another architecture. */
export const archTestProgram: Program = {
  command: 'arch-test',
  purpose: 'finds out which programs this computer can run',
  packages: { apt: ['arch-test'] },
  link: 'https://packages.debian.org/arch-test',
};

/** Runs programs of another architecture, which configure the packages in an image. The kernel starts it by itself. */
function userEmulator(arch: Arch): Program {
  const name = arch === 'arm64' ? 'qemu-aarch64' : 'qemu-x86_64';
  return {
    command: `${name}-static`,
    // The name since Debian 13.
    alternatives: [name],
    purpose: `runs programs for ${arch} while an image is built`,
    packages: { apt: ['qemu-user-static'] },
    link: 'https://packages.debian.org/qemu-user-static',
  };
}

/** Returns the programs that build images for this architecture. */
export function buildProgramsFor(arch: Arch, computer: Computer): readonly Program[] {
  return isForeignArch(arch, computer)
    ? [...imageBuildPrograms, userEmulator(arch), archTestProgram]
    : imageBuildPrograms;
}

export function requiredPrograms(
  computer: Computer,
  options: Partial<Pick<QemuOptions, 'arch'>> = {},
): readonly Program[] {
  const arch = guestArchOf(options, computer);
  return [
    qemuSystemProgram(arch),
    qemuImgProgram,
    ...(canBuildImages(computer) ? buildProgramsFor(arch, computer) : []),
  ];
}

/** Returns whether this computer can fetch and unpack Debian's packages. */
export function canBuildImages({ platform, env }: Computer): boolean {
  const folders = [...(env.PATH ?? '').split(':'), '/usr/bin'];
  return platform === 'linux' && folders.some((folder) => existsSync(`${folder}/apt-get`));
}

export async function requireProgramPath(program: Program, computer: Computer): Promise<string> {
  const path = await findProgram(program, computer);
  if (path !== undefined) return path;
  // Of all architectures, `doctor` installs only what the machines of this computer's own need.
  const isUsual = requiredPrograms(computer).some(({ command }) => command === program.command);
  throw new SlipwayError('PROGRAM_MISSING', `Missing on this computer: ${program.command}, which ${program.purpose}`, {
    hint: `Install it: ${isUsual ? 'slipway doctor --fix' : (await planInstall([program], computer)).instruction}`,
  });
}
