import { createHash } from 'node:crypto';
import { open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../../computer/computer.ts';
import { canceled, reasonOf, SlipwayError, systemCode } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { findProgram } from '../../computer/programs.ts';
import type { Call } from '../contract.ts';
import { FILES, machineOf, type Accelerator } from './command-line.ts';
import type { Monitor } from './monitor.ts';
import { tell, type Word } from './port.ts';
import { killProcess, openVm } from './process.ts';
import { packer } from './programs.ts';
import { shapeOf, writeVm, type Snapshot, type Vm } from './vm.ts';

/** What a guest may take to write what it holds to its disk. */
const SYNC_SECONDS = 60;
export const WRITE_MINUTES = 15;
/** From the end of a migration to the name of its file, which the shell behind QEMU's pipe gives it. */
const NAME_SECONDS = 10;
/** For QEMU to leave off writing a memory: what packs it has to read what it was given first. */
const CANCEL_SECONDS = 30;
/** QEMU's own limit is of networks. */
const BYTES_A_SECOND = 2 ** 40;
/** What is being written of a memory: its name says when the program that packs it has ended. */
const PART = `${FILES.memory}.part`;
const ENDED = 'its QEMU process has ended';
const ROOM = 'is there room for it?';

/** QEMU's command of a shell that writes a memory out, in the VM's folder. For one that ends without a byte QEMU would wait for ever. */
export function unpacking({ packed }: Snapshot): string {
  return `${packed === 'zstd' ? 'zstd -dcq' : 'cat'} ${FILES.memory} || echo failed`;
}

/** QEMU reaches a file through a shell's command on these systems, and hardware's own state is known to survive on them. */
export function canSuspend({ platform }: Pick<Computer, 'platform'>): boolean {
  return platform === 'linux';
}

/** What of this computer a memory that was written goes on with. */
export type Present = {
  readonly qemu: Pick<Snapshot['qemu'], 'program' | 'bytes' | 'mtimeMs'>;
  readonly processor: string;
};

export async function presentOf(program: string, accelerator: Accelerator): Promise<Present> {
  const { size, mtimeMs } = await stat(program);
  return { qemu: { program, bytes: size, mtimeMs }, processor: processorOf(accelerator) };
}

/** An emulated processor is the same everywhere; another is this computer's, as this kernel shows it. */
function processorOf(accelerator: Accelerator): string {
  return accelerator === 'tcg' ? 'emulated' : `${cpus()[0]?.model ?? ''} ${release()}`;
}

export function machineDigest(vm: Vm & { readonly accelerator: Accelerator }): string {
  return createHash('sha256')
    .update(machineOf(shapeOf(vm)))
    .digest('hex')
    .slice(0, 16);
}

type FileSize = { readonly bytes: number; readonly mtimeMs: number };

/** How the two files of a suspended machine are; undefined for one that is gone. */
export type Files = { readonly memory: FileSize | undefined; readonly disk: FileSize | undefined };

export async function filesIn(folder: string): Promise<Files> {
  const [memory, disk] = await Promise.all([FILES.memory, FILES.disk].map((file) => sizeOf(join(folder, file))));
  return { memory, disk };
}

async function sizeOf(path: string): Promise<FileSize | undefined> {
  try {
    const { size, mtimeMs } = await stat(path);
    return { bytes: size, mtimeMs };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Pure. Why a machine can't go on with what was written, as a sentence goes on; undefined where nothing speaks against it. */
export function whyUnfit(snapshot: Snapshot, machine: string, present: Present, files: Files): string | undefined {
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
export async function isWhole({ blake2b }: Snapshot, folder: string, signal: AbortSignal): Promise<boolean> {
  return (await hashFile(join(folder, FILES.memory), 'blake2b512', { signal })) === blake2b;
}

/**
 * Writes the memory of a VM that runs to a file, and ends its process. Stopped before its end it goes on where it was; a kill leaves
 * it held up, or off as by a power cut after all was on its disk.
 */
export async function suspendVm(
  vm: Vm & { readonly accelerator: Accelerator },
  folder: string,
  before: readonly Word[],
  program: string,
  call: Call,
): Promise<Vm> {
  const { signal } = call;
  if (!(await tell(folder, before, { seconds: SYNC_SECONDS, signal }))) {
    if (signal.aborted) throw canceled();
    throw new SlipwayError('DRIVER_UNSUPPORTED', `${vm.name} can’t be suspended: nothing in it listens to that`, {
      hint: `Its image is of an older version, or its start has not ended; shut it down: slipway stop ${vm.name}`,
    });
  }
  const packed = (await findProgram(packer, call.computer)) === undefined ? 'plain' : 'zstd';
  let snapshot: Snapshot;
  try {
    const version = await writeMemory(vm, folder, packed, call);
    snapshot = await snapshotOf(vm, folder, { packed, version, program });
    await rm(join(folder, FILES.seed), { force: true });
    await writeVm(folder, { ...vm, suspended: snapshot });
  } catch (error) {
    const goesOn = await takenBack(vm, folder, call);
    if (signal.aborted) throw canceled();
    throw goesOn && error instanceof SlipwayError ? error : failed(vm, error, goesOn);
  }
  await killProcess(folder, vm, call);
  const { disk } = await filesIn(folder);
  const suspended = { ...vm, suspended: { ...snapshot, ...(disk ? { disk } : {}) } };
  await writeVm(folder, suspended);
  return suspended;
}

/** Whether the guest goes on; its record says nothing of a memory yet, being written last. */
async function takenBack(vm: Vm, folder: string, { log }: Call): Promise<boolean> {
  try {
    await letGoOn(vm, folder);
    return true;
  } catch (error) {
    log(`${vm.name} does not go on: ${String(error)}`);
    return false;
  }
}

/** Of a memory that was written, which is on the disk for good when this returns. */
async function snapshotOf(
  vm: Vm & { readonly accelerator: Accelerator },
  folder: string,
  how: { readonly packed: Snapshot['packed']; readonly version: string; readonly program: string },
): Promise<Snapshot> {
  const memory = join(folder, FILES.memory);
  await synced(memory);
  const { bytes = 0 } = (await sizeOf(memory)) ?? {};
  return {
    blake2b: await hashFile(memory, 'blake2b512', { signal: new AbortController().signal }),
    bytes,
    packed: how.packed,
    machine: machineDigest(vm),
    qemu: { ...(await presentOf(how.program, vm.accelerator)).qemu, version: how.version },
    processor: processorOf(vm.accelerator),
  };
}

/** What it has taken is in it; the disk that it came on has to be there all the same, as large as it was, when it goes on. */
export async function blankSeed({ devices }: Vm, folder: string): Promise<void> {
  if (!devices || devices.seed === 0) return;
  const seed = join(folder, FILES.seed);
  await rm(seed, { force: true });
  await writeFile(seed, '', { mode: 0o600, flag: 'wx' });
  await truncate(seed, devices.seed);
}

/** Returns the version of the QEMU that did it. */
async function writeMemory(vm: Vm, folder: string, packed: Snapshot['packed'], { signal }: Call): Promise<string> {
  await dropMemory(folder);
  await writeFile(join(folder, PART), '', { mode: 0o600, flag: 'wx' });
  const version = await beginToWrite(vm, folder, packed);
  // It may have ended in time that QEMU did not answer in: it waits for the program behind its pipe.
  const why = await asking(vm, folder, { seconds: WRITE_MINUTES * 60, signal }, whyNotWritten);
  if (why !== '') throw new Error(why);
  await named(folder);
  return version;
}

async function beginToWrite(vm: Vm, folder: string, packed: Snapshot['packed']): Promise<string> {
  await using monitor = await openVm(folder, vm);
  if (!monitor) throw new Error(ENDED);
  // QEMU does not ask how it ended: what is there afterwards tells.
  const command = `${packed === 'zstd' ? 'zstd -1 -q -c' : 'cat'} >${PART} && mv ${PART} ${FILES.memory} || rm -f ${PART}`;
  await monitor.execute('stop');
  await monitor.execute('migrate-set-parameters', { 'max-bandwidth': BYTES_A_SECOND });
  await monitor.execute('migrate', { uri: `exec:${command}` });
  return monitor.version;
}

type Migration = { readonly status?: string; readonly 'error-desc'?: string };

/** Undefined while it is being written, '' once QEMU is done. */
async function whyNotWritten(monitor: Monitor): Promise<string | undefined> {
  const { status, 'error-desc': why } = (await monitor.execute('query-migrate')) as Migration;
  if (status === 'completed') return '';
  return status === 'failed' || status === 'cancelled' ? (why ?? ROOM) : undefined;
}

/** QEMU is done also where the program behind its pipe failed at its end. */
async function named(folder: string): Promise<void> {
  const end = performance.now() + NAME_SECONDS * 1000;
  for (;;) {
    const part = await sizeOf(join(folder, PART));
    if ((await filesIn(folder)).memory !== undefined) return;
    if (part === undefined || performance.now() > end) throw new Error(ROOM);
    await sleep(50);
  }
}

/**
 * Lets a guest go on that is held up, be it because its memory is, or was, to be written: that ends first, since QEMU would stop the
 * guest once more at its end.
 */
export async function letGoOn(vm: Vm, folder: string): Promise<void> {
  const { signal } = new AbortController();
  await asking(vm, folder, { seconds: CANCEL_SECONDS, signal }, async (monitor) => {
    await monitor.execute('migrate_cancel');
    const { status = 'none' } = (await monitor.execute('query-migrate')) as Migration;
    if (!['none', 'completed', 'failed', 'cancelled'].includes(status)) return undefined;
    // What can't be removed is of no use, and harms nobody.
    await dropMemory(folder).catch(() => undefined);
    await monitor.execute('cont');
    return true;
  });
}

/** In this order: what is written still can't get its name any more. */
export async function dropMemory(folder: string): Promise<void> {
  for (const file of [PART, FILES.memory]) await rm(join(folder, file), { force: true });
}

/**
 * Asks the QEMU of a VM until it has an answer. One that is busy with a memory may be silent for longer than a monitor waits, and is
 * called anew.
 */
export async function asking<T>(
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
      await using monitor = await openVm(folder, vm);
      if (!monitor) break;
      const found = await askingOne(monitor, ask, isOver);
      if (found !== undefined) return found;
    } catch (error) {
      trouble = reasonOf(error);
    }
    if (signal.aborted) throw canceled();
    if (isOver()) throw new Error(trouble);
    await sleep(100);
  }
  throw new Error(ENDED);
}

async function askingOne<T>(
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

function failed({ name }: Vm, cause: unknown, goesOn: boolean): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `The memory of ${name} could not be written: ${reasonOf(cause)}`, {
    hint: goesOn
      ? `It goes on as it was; make room on this computer’s disk, or shut it down: slipway stop ${name}`
      : `It is held up; let it go on: slipway start ${name}`,
    cause,
  });
}

async function synced(path: string): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
