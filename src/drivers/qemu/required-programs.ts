import { existsSync } from 'node:fs';
import type { Computer } from '../../computer/computer.ts';
import { SlipwayError } from '../../errors.ts';
import { archOf } from '../../images/image.ts';
import { findProgram, type Program } from '../../computer/programs.ts';

const downloadPage = 'https://www.qemu.org/download/';
const installFolders = ['C:\\Program Files\\qemu', '/opt/homebrew/bin', '/usr/local/bin', '/opt/local/bin'];
const commonPackages = { brew: ['qemu'], winget: ['SoftwareFreedomConservancy.QEMU'], choco: ['qemu'] } as const;

export function qemuSystemProgram(arch: 'amd64' | 'arm64'): Program {
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
export const imageBuildPrograms: readonly Program[] = [
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

export function requiredPrograms(computer: Computer): readonly Program[] {
  return [qemuSystemProgram(archOf(computer)), qemuImgProgram, ...(canBuildImages(computer) ? imageBuildPrograms : [])];
}

/** Returns whether this computer can fetch and unpack Debian's packages. */
export function canBuildImages({ platform, env }: Computer): boolean {
  const folders = [...(env.PATH ?? '').split(':'), '/usr/bin'];
  return platform === 'linux' && folders.some((folder) => existsSync(`${folder}/apt-get`));
}

export async function requireProgramPath(program: Program, computer: Computer): Promise<string> {
  const path = await findProgram(program, computer);
  if (path !== undefined) return path;
  throw new SlipwayError('PROGRAM_MISSING', `Missing on this computer: ${program.command}, which ${program.purpose}`, {
    hint: 'Install it: slipway doctor --fix',
  });
}
