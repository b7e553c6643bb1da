import { open, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runChild } from '../../computer/child-process.ts';
import { deleteFile, localFileError } from '../../computer/files.ts';
import { SlipwayError, systemCode } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { qemuImgProgram, requireProgramPath } from './required-programs.ts';

export const GIB = 1024 ** 3;
/** Enough for a guest to start and its engine to pull a small container image; the disk grows as it fills. */
const MIN_FREE_GIB = 1;
const DISK_PAGE_BYTES = 4096;

/** Creates a disk that holds only what differs from its base image. */
export async function createOverlayDisk(
  disk: string,
  base: string,
  gigabytes: number,
  call: DriverCall,
): Promise<void> {
  const qemuImg = await requireProgramPath(qemuImgProgram, call.computer);
  const argv = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base, disk, `${gigabytes}G`];
  const { code, lines } = await runChild(qemuImg, argv, call);
  if (code === 0) return;
  await deleteFile(disk);
  throw new SlipwayError('DRIVER_FAILED', `Could not create the disk ${disk}`, {
    detail: lines,
    hint: 'Free up space there, then run the same command again',
  });
}

/** Returns the size in bytes that the guest sees: the big-endian number at byte 24 of a qcow2 file. */
export async function readVirtualSize(disk: string): Promise<number> {
  const handle = await open(disk, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(8), 0, 8, 24);
    return Number(buffer.readBigUInt64BE());
  } finally {
    await handle.close();
  }
}

/** Grows a disk to this size and never shrinks it. The guest uses the new space from its next start on. */
export async function growDisk(disk: string, gigabytes: number, call: DriverCall): Promise<void> {
  if ((await readVirtualSize(disk)) >= gigabytes * GIB) return;
  const qemuImg = await requireProgramPath(qemuImgProgram, call.computer);
  const { code, lines } = await runChild(qemuImg, ['resize', '-q', disk, `${gigabytes}G`], call);
  if (code === 0) return;
  throw new SlipwayError('DRIVER_FAILED', `Could not grow the disk ${disk} to ${gigabytes} GB`, { detail: lines });
}

export async function requireFreeSpace(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = (bavail * bsize) / GIB;
  if (free >= MIN_FREE_GIB) return;
  throw new SlipwayError(
    'LOCAL_FILES',
    `The disk of ${folder} has ${free.toFixed(1)} GB left; a VM needs at least ${MIN_FREE_GIB} GB`,
    {
      hint: 'Free up space there, or set SLIPWAY_HOME to a folder on another disk. Then run the same command again',
    },
  );
}

/** Writes the seed's bytes to the disk that the guest reads them from. */
export async function writeSeedDisk(folder: string, bytes: Uint8Array): Promise<void> {
  const file = join(folder, VM_FILES.seed);
  // A disk has whole sectors.
  const content = Buffer.alloc(Math.ceil(bytes.length / DISK_PAGE_BYTES) * DISK_PAGE_BYTES);
  content.set(bytes);
  // A new file has its mode from the first byte on; an old one would keep its own mode.
  await deleteFile(file);
  await writeFile(file, content, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
    throw localFileError(file, error);
  });
}

/** Deletes the seed's disk, once the guest has applied it: its private keys need not stay on this computer. */
export async function deleteSeedDisk(folder: string): Promise<void> {
  await deleteFile(join(folder, VM_FILES.seed)).catch((error: unknown) => {
    // Windows keeps a file that a process has open; the next start deletes it.
    if (systemCode(error) !== 'EBUSY' && systemCode(error) !== 'EPERM') throw error;
  });
}
