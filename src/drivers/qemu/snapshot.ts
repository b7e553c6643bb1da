/**
 * What a suspended VM needs to resume: an intact memory file, and a computer on which nothing relevant has changed.
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import { systemCode } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { VM_FILES, hardwareSignature, vmArguments, withMachineType, type Accelerator } from './command-line.ts';
import { toQemuConfig, type MemoryWriter, type VmSnapshot, type VmWithAccelerator } from './vm.ts';

/**
 * Returns whether VMs can be suspended on this system. Only on Linux: there QEMU reads and writes a file through a
 * shell command, and the state of its virtual hardware is known to survive.
 */
export function canSuspend({ platform }: Pick<Computer, 'platform'>): boolean {
  return platform === 'linux';
}

/** The parts of this computer that a resume depends on. */
export type SnapshotHost = {
  readonly qemu: Pick<VmSnapshot['qemu'], 'program' | 'bytes' | 'mtimeMs'>;
  readonly processor: string;
};

export async function readSnapshotHost(program: string, accelerator: Accelerator): Promise<SnapshotHost> {
  const { size, mtimeMs } = await stat(program);
  return { qemu: { program, bytes: size, mtimeMs }, processor: processorOf(accelerator) };
}

/** Names the guest's processor: an emulated one is the same everywhere, any other depends on computer and kernel. */
function processorOf(accelerator: Accelerator): string {
  return accelerator === 'tcg' ? 'emulated' : `${cpus()[0]?.model ?? ''} ${release()}`;
}

/**
 * Returns whether the guest's processor is the one with which a memory was written. Another kernel of this computer
 * does not change it.
 */
export function isSameProcessor({ processor }: VmSnapshot, accelerator: Accelerator): boolean {
  return accelerator === 'tcg' || processor.startsWith(cpus()[0]?.model ?? '');
}

/** Returns a digest of a VM's virtual hardware. */
export function hardwareDigestOf(vm: VmWithAccelerator): string {
  return createHash('sha256')
    .update(hardwareSignature(toQemuConfig(vm)))
    .digest('hex')
    .slice(0, 16);
}

type FileStamp = { readonly bytes: number; readonly mtimeMs: number };

/** The state of a suspended VM's two files; undefined for one that is missing. */
export type SnapshotFiles = { readonly memory: FileStamp | undefined; readonly disk: FileStamp | undefined };

export async function readSnapshotFiles(folder: string): Promise<SnapshotFiles> {
  const [memory, disk] = await Promise.all(
    [VM_FILES.memory, VM_FILES.disk].map((file) => readFileStamp(join(folder, file))),
  );
  return { memory, disk };
}

export async function readFileStamp(path: string): Promise<FileStamp | undefined> {
  try {
    const { size, mtimeMs } = await stat(path);
    return { bytes: size, mtimeMs };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Pure. Returns why a spare is not used any more, as the end of a sentence. It is stricter than a resume of the user's
 * own memory has to be: another spare can be built.
 */
export function incompatibilityReason(
  snapshot: VmSnapshot,
  hardwareDigest: string,
  host: SnapshotHost,
  files: SnapshotFiles,
): string | undefined {
  const { qemu } = snapshot;
  if (qemu.program !== host.qemu.program || qemu.bytes !== host.qemu.bytes || qemu.mtimeMs !== host.qemu.mtimeMs)
    return `another QEMU wrote its memory (${qemu.version})`;
  if (snapshot.processor !== host.processor) return 'its memory was written on another processor or kernel';
  if (snapshot.hardwareDigest !== hardwareDigest)
    return 'the virtual hardware has changed since its memory was written';
  return findDamage(snapshot, files);
}

/** Pure. Returns why a VM can never resume with these files, as the end of a sentence. */
export function findDamage(snapshot: VmSnapshot, files: SnapshotFiles): string | undefined {
  const { disk } = snapshot;
  if (files.memory === undefined) return 'its memory file is missing';
  if (files.memory.bytes !== snapshot.bytes)
    return `its memory is damaged (${files.memory.bytes} of ${snapshot.bytes} bytes)`;
  if (files.disk === undefined) return 'its disk is missing';
  if (disk && (disk.bytes !== files.disk.bytes || disk.mtimeMs !== files.disk.mtimeMs))
    return 'its disk has changed since its memory was written';
  return undefined;
}

/** Returns whether every byte of the memory file is as it was written. */
export async function isMemoryIntact({ blake2b }: VmSnapshot, folder: string, signal: AbortSignal): Promise<boolean> {
  return (await hashFile(join(folder, VM_FILES.memory), 'blake2b512', { signal })) === blake2b;
}

/** Describes a memory file that QEMU has written. First waits until all of it is on the disk. */
export async function createSnapshot(
  vm: VmWithAccelerator,
  folder: string,
  writer: MemoryWriter & { readonly format: VmSnapshot['format']; readonly program: string },
): Promise<VmSnapshot> {
  const memory = join(folder, VM_FILES.memory);
  await syncFile(memory);
  const { bytes = 0 } = (await readFileStamp(memory)) ?? {};
  const { qemu, processor } = await readSnapshotHost(writer.program, vm.accelerator);
  return {
    // Without the caller's signal: the guest is stopped already, and the rest takes moments.
    blake2b: await hashFile(memory, 'blake2b512', { signal: new AbortController().signal }),
    bytes,
    format: writer.format,
    argv: withMachineType(vm.argv ?? vmArguments(toQemuConfig(vm), []), writer.machineType),
    hardwareDigest: hardwareDigestOf(vm),
    qemu: { ...qemu, version: writer.version },
    processor,
  };
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
