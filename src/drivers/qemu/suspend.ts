import { createHash } from 'node:crypto';
import { open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../../computer/computer.ts';
import { canceledError, reasonOf, SlipwayError, systemCode } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { findProgram } from '../../computer/programs.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES, hardwareSignature, type Accelerator } from './command-line.ts';
import type { Monitor } from './monitor.ts';
import { sendGuestCommands, type GuestCommand } from './guest-channel.ts';
import { killProcess, openVmMonitor } from './qemu-process.ts';
import { zstdProgram } from './required-programs.ts';
import { toQemuConfig, writeVm, type VmSnapshot, type Vm } from './vm.ts';

/** What a guest may take to write what it holds to its disk. */
const GUEST_SYNC_SECONDS = 60;
export const MEMORY_WRITE_MINUTES = 15;
/** From the end of a migration to the name of its file, which the shell behind QEMU's pipe gives it. */
const RENAME_SECONDS = 10;
/** For QEMU to leave off writing a memory: what packs it has to read what it was given first. */
const MIGRATION_CANCEL_SECONDS = 30;
/** QEMU's own limit is of networks. */
const MAX_BYTES_PER_SECOND = 2 ** 40;
/** What is being written of a memory: its name says when the program that packs it has ended. */
const PARTIAL_MEMORY_FILE = `${VM_FILES.memory}.part`;
const QEMU_ENDED_MESSAGE = 'its QEMU process has ended';
const NO_SPACE_MESSAGE = 'is there room for it?';

/** QEMU's command of a shell that writes a memory out, in the VM's folder. For one that ends without a byte QEMU would wait for ever. */
export function unpackCommand({ packed }: VmSnapshot): string {
  return `${packed === 'zstd' ? 'zstd -dcq' : 'cat'} ${VM_FILES.memory} || echo failed`;
}

/** QEMU reaches a file through a shell's command on these systems, and hardware's own state is known to survive on them. */
export function canSuspend({ platform }: Pick<Computer, 'platform'>): boolean {
  return platform === 'linux';
}

/** What of this computer a memory that was written goes on with. */
export type SnapshotHost = {
  readonly qemu: Pick<VmSnapshot['qemu'], 'program' | 'bytes' | 'mtimeMs'>;
  readonly processor: string;
};

export async function readSnapshotHost(program: string, accelerator: Accelerator): Promise<SnapshotHost> {
  const { size, mtimeMs } = await stat(program);
  return { qemu: { program, bytes: size, mtimeMs }, processor: processorOf(accelerator) };
}

/** An emulated processor is the same everywhere; another is this computer's, as this kernel shows it. */
function processorOf(accelerator: Accelerator): string {
  return accelerator === 'tcg' ? 'emulated' : `${cpus()[0]?.model ?? ''} ${release()}`;
}

export function hardwareDigest(vm: Vm & { readonly accelerator: Accelerator }): string {
  return createHash('sha256')
    .update(hardwareSignature(toQemuConfig(vm)))
    .digest('hex')
    .slice(0, 16);
}

type FileStamp = { readonly bytes: number; readonly mtimeMs: number };

/** How the two files of a suspended machine are; undefined for one that is gone. */
export type SnapshotFiles = { readonly memory: FileStamp | undefined; readonly disk: FileStamp | undefined };

export async function readSnapshotFiles(folder: string): Promise<SnapshotFiles> {
  const [memory, disk] = await Promise.all(
    [VM_FILES.memory, VM_FILES.disk].map((file) => readFileStamp(join(folder, file))),
  );
  return { memory, disk };
}

async function readFileStamp(path: string): Promise<FileStamp | undefined> {
  try {
    const { size, mtimeMs } = await stat(path);
    return { bytes: size, mtimeMs };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Pure. Why a machine can't go on with what was written, as a sentence goes on; undefined where nothing speaks against it. */
export function incompatibilityReason(
  snapshot: VmSnapshot,
  machine: string,
  present: SnapshotHost,
  files: SnapshotFiles,
): string | undefined {
  const { qemu } = snapshot;
  if (
    qemu.program !== present.qemu.program ||
    qemu.bytes !== present.qemu.bytes ||
    qemu.mtimeMs !== present.qemu.mtimeMs
  )
    return `another QEMU wrote its memory (${qemu.version})`;
  if (snapshot.processor !== present.processor) return 'its memory was written on another processor or kernel';
  if (snapshot.machine !== machine) return 'machines are built otherwise since its memory was written';
  if (files.memory === undefined) return 'its memory is gone';
  if (files.memory.bytes !== snapshot.bytes)
    return `its memory is damaged (${files.memory.bytes} of ${snapshot.bytes} bytes)`;
  if (files.disk === undefined) return 'its disk is gone';
  const { disk } = snapshot;
  if (disk && (disk.bytes !== files.disk.bytes || disk.mtimeMs !== files.disk.mtimeMs))
    return 'its disk has changed since its memory was written';
  return undefined;
}

/** Whether every byte of a memory is what was written. */
export async function isMemoryIntact({ blake2b }: VmSnapshot, folder: string, signal: AbortSignal): Promise<boolean> {
  return (await hashFile(join(folder, VM_FILES.memory), 'blake2b512', { signal })) === blake2b;
}

/**
 * Writes the memory of a VM that runs to a file, and ends its process. Stopped before its end it goes on where it was; a kill leaves
 * it held up, or off as by a power cut after all was on its disk.
 */
export async function suspendVm(
  vm: Vm & { readonly accelerator: Accelerator },
  folder: string,
  before: readonly GuestCommand[],
  program: string,
  call: DriverCall,
): Promise<Vm> {
  const { signal } = call;
  if (!(await sendGuestCommands(folder, before, { seconds: GUEST_SYNC_SECONDS, signal }))) {
    if (signal.aborted) throw canceledError();
    throw new SlipwayError('DRIVER_UNSUPPORTED', `${vm.name} can't be suspended: nothing in it listens to that`, {
      hint: `Its image is of an older version, or its start has not ended; shut it down: slipway stop ${vm.name}`,
    });
  }
  const packed = (await findProgram(zstdProgram, call.computer)) === undefined ? 'plain' : 'zstd';
  let snapshot: VmSnapshot;
  try {
    const version = await writeMemory(vm, folder, packed, call);
    snapshot = await createSnapshot(vm, folder, { packed, version, program });
    await rm(join(folder, VM_FILES.seed), { force: true });
    await writeVm(folder, { ...vm, suspended: snapshot });
  } catch (error) {
    const goesOn = await tryResumeCpus(vm, folder, call);
    if (signal.aborted) throw canceledError();
    throw goesOn && error instanceof SlipwayError ? error : suspendError(vm, error, goesOn);
  }
  await killProcess(folder, vm, call);
  const { disk } = await readSnapshotFiles(folder);
  const suspended = { ...vm, suspended: { ...snapshot, ...(disk ? { disk } : {}) } };
  await writeVm(folder, suspended);
  return suspended;
}

/** Whether the guest goes on; its record says nothing of a memory yet, being written last. */
async function tryResumeCpus(vm: Vm, folder: string, { log }: DriverCall): Promise<boolean> {
  try {
    await resumeCpus(vm, folder);
    return true;
  } catch (error) {
    log(`${vm.name} does not go on: ${String(error)}`);
    return false;
  }
}

/** Of a memory that was written, which is on the disk for good when this returns. */
async function createSnapshot(
  vm: Vm & { readonly accelerator: Accelerator },
  folder: string,
  how: { readonly packed: VmSnapshot['packed']; readonly version: string; readonly program: string },
): Promise<VmSnapshot> {
  const memory = join(folder, VM_FILES.memory);
  await syncFile(memory);
  const { bytes = 0 } = (await readFileStamp(memory)) ?? {};
  return {
    blake2b: await hashFile(memory, 'blake2b512', { signal: new AbortController().signal }),
    bytes,
    packed: how.packed,
    machine: hardwareDigest(vm),
    qemu: { ...(await readSnapshotHost(how.program, vm.accelerator)).qemu, version: how.version },
    processor: processorOf(vm.accelerator),
  };
}

/** What it has taken is in it; the disk that it came on has to be there all the same, as large as it was, when it goes on. */
export async function writeBlankSeed({ devices }: Vm, folder: string): Promise<void> {
  if (!devices || devices.seed === 0) return;
  const seed = join(folder, VM_FILES.seed);
  await rm(seed, { force: true });
  await writeFile(seed, '', { mode: 0o600, flag: 'wx' });
  await truncate(seed, devices.seed);
}

/** Returns the version of the QEMU that did it. */
async function writeMemory(
  vm: Vm,
  folder: string,
  packed: VmSnapshot['packed'],
  { signal }: DriverCall,
): Promise<string> {
  await deleteMemory(folder);
  await writeFile(join(folder, PARTIAL_MEMORY_FILE), '', { mode: 0o600, flag: 'wx' });
  const version = await startMigration(vm, folder, packed);
  // It may have ended in time that QEMU did not answer in: it waits for the program behind its pipe.
  const why = await pollMonitor(vm, folder, { seconds: MEMORY_WRITE_MINUTES * 60, signal }, checkMigration);
  if (why !== '') throw new Error(why);
  await waitForMemoryFile(folder);
  return version;
}

async function startMigration(vm: Vm, folder: string, packed: VmSnapshot['packed']): Promise<string> {
  await using monitor = await openVmMonitor(folder, vm);
  if (!monitor) throw new Error(QEMU_ENDED_MESSAGE);
  // QEMU does not ask how it ended: what is there afterwards tells.
  const command = `${packed === 'zstd' ? 'zstd -1 -q -c' : 'cat'} >${PARTIAL_MEMORY_FILE} && mv ${PARTIAL_MEMORY_FILE} ${VM_FILES.memory} || rm -f ${PARTIAL_MEMORY_FILE}`;
  await monitor.execute('stop');
  await monitor.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BYTES_PER_SECOND });
  await monitor.execute('migrate', { uri: `exec:${command}` });
  return monitor.version;
}

type QmpMigration = { readonly status?: string; readonly 'error-desc'?: string };

/** Undefined while it is being written, '' once QEMU is done. */
async function checkMigration(monitor: Monitor): Promise<string | undefined> {
  const { status, 'error-desc': why } = (await monitor.execute('query-migrate')) as QmpMigration;
  if (status === 'completed') return '';
  return status === 'failed' || status === 'cancelled' ? (why ?? NO_SPACE_MESSAGE) : undefined;
}

/** QEMU is done also where the program behind its pipe failed at its end. */
async function waitForMemoryFile(folder: string): Promise<void> {
  const end = performance.now() + RENAME_SECONDS * 1000;
  for (;;) {
    const part = await readFileStamp(join(folder, PARTIAL_MEMORY_FILE));
    if ((await readSnapshotFiles(folder)).memory !== undefined) return;
    if (part === undefined || performance.now() > end) throw new Error(NO_SPACE_MESSAGE);
    await sleep(50);
  }
}

/**
 * Lets a guest go on that is held up, be it because its memory is, or was, to be written: that ends first, since QEMU would stop the
 * guest once more at its end.
 */
export async function resumeCpus(vm: Vm, folder: string): Promise<void> {
  const { signal } = new AbortController();
  await pollMonitor(vm, folder, { seconds: MIGRATION_CANCEL_SECONDS, signal }, async (monitor) => {
    await monitor.execute('migrate_cancel');
    const { status = 'none' } = (await monitor.execute('query-migrate')) as QmpMigration;
    if (!['none', 'completed', 'failed', 'cancelled'].includes(status)) return undefined;
    // What can't be removed is of no use, and harms nobody.
    await deleteMemory(folder).catch(() => undefined);
    await monitor.execute('cont');
    return true;
  });
}

/** In this order: what is written still can't get its name any more. */
export async function deleteMemory(folder: string): Promise<void> {
  for (const file of [PARTIAL_MEMORY_FILE, VM_FILES.memory]) await rm(join(folder, file), { force: true });
}

/**
 * Asks the QEMU of a VM until it has an answer. One that is busy with a memory may be silent for longer than a monitor waits, and is
 * called anew.
 */
export async function pollMonitor<T>(
  vm: Vm,
  folder: string,
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
  ask: (monitor: Monitor) => Promise<T | undefined>,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  const isOver = (): boolean => signal.aborted || performance.now() > end;
  for (;;) {
    let trouble = `QEMU was not done with it after ${seconds} seconds`;
    try {
      await using monitor = await openVmMonitor(folder, vm);
      if (!monitor) break;
      const found = await pollConnection(monitor, ask, isOver);
      if (found !== undefined) return found;
    } catch (error) {
      trouble = reasonOf(error);
    }
    if (signal.aborted) throw canceledError();
    if (isOver()) throw new Error(trouble);
    await sleep(100);
  }
  throw new Error(QEMU_ENDED_MESSAGE);
}

async function pollConnection<T>(
  monitor: Monitor,
  ask: (monitor: Monitor) => Promise<T | undefined>,
  isOver: () => boolean,
): Promise<T | undefined> {
  for (;;) {
    const found = await ask(monitor);
    if (found !== undefined || isOver()) return found;
    await sleep(20);
  }
}

function suspendError({ name }: Vm, cause: unknown, goesOn: boolean): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `The memory of ${name} could not be written: ${reasonOf(cause)}`, {
    hint: goesOn
      ? `It goes on as it was; make room on this computer's disk, or shut it down: slipway stop ${name}`
      : `It is held up; let it go on: slipway start ${name}`,
    cause,
  });
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
