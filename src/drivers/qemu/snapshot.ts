import { createHash } from 'node:crypto';
import { open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Computer } from '../../computer.ts';
import { canceled, SlipwayError, systemCode } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { findProgram } from '../../programs.ts';
import type { Call } from '../driver.ts';
import { FILES, machineOf, type Accelerator } from './command-line.ts';
import type { Monitor } from './monitor.ts';
import { tell, type Word } from './port.ts';
import { killProcess, openVm } from './process.ts';
import { packer } from './programs.ts';
import { shapeOf, writeVm, type Snapshot, type Vm } from './vm.ts';

/** What a guest may take to write what it holds to its disk. */
const SYNC_SECONDS = 60;
const WRITE_MINUTES = 15;
/** QEMU's own limit is of networks. */
const BYTES_A_SECOND = 2 ** 40;
/** What is being written of a memory: its name says when the program that packs it has ended. */
const PART = `${FILES.memory}.part`;

/** QEMU's command of a shell that writes a memory out, in the VM's folder. */
export function unpacking({ packed }: Snapshot): string {
  return packed === 'zstd' ? `zstd -dcq ${FILES.memory}` : `cat ${FILES.memory}`;
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
  const [memory, part] = [join(folder, FILES.memory), join(folder, PART)];
  const packed = (await findProgram(packer, call.computer)) === undefined ? 'plain' : 'zstd';
  for (const file of [memory, part]) await rm(file, { force: true });
  await writeFile(part, '', { mode: 0o600, flag: 'wx' });
  const version = await writeMemory(vm, folder, packed, call);
  await synced(memory);
  const { bytes = 0 } = (await sizeOf(memory)) ?? {};
  const snapshot: Snapshot = {
    blake2b: await hashFile(memory, 'blake2b512', { signal: new AbortController().signal }),
    bytes,
    packed,
    machine: machineDigest(vm),
    qemu: { ...(await presentOf(program, vm.accelerator)).qemu, version },
    processor: processorOf(vm.accelerator),
  };
  await rm(join(folder, FILES.seed), { force: true });
  await writeVm(folder, { ...vm, suspended: snapshot });
  await killProcess(folder, vm, call);
  const { disk } = await filesIn(folder);
  const suspended = { ...vm, suspended: { ...snapshot, ...(disk ? { disk } : {}) } };
  await writeVm(folder, suspended);
  return suspended;
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
async function writeMemory(vm: Vm, folder: string, packed: Snapshot['packed'], call: Call): Promise<string> {
  await using monitor = await openVm(folder, vm);
  if (!monitor) throw failed(vm, 'its QEMU process has ended');
  const command = `${packed === 'zstd' ? 'zstd -1 -q -c' : 'cat'} >${PART} && mv ${PART} ${FILES.memory}`;
  await monitor.execute('stop');
  try {
    await monitor.execute('migrate-set-parameters', { 'max-bandwidth': BYTES_A_SECOND });
    await monitor.execute('migrate', { uri: `exec:${command}` });
    await written(monitor, vm, folder, call.signal);
  } catch (error) {
    await monitor.execute('migrate_cancel').catch(() => undefined);
    await monitor.execute('cont').catch(() => undefined);
    for (const file of [FILES.memory, PART]) await rm(join(folder, file), { force: true });
    throw call.signal.aborted ? canceled() : error;
  }
  return monitor.version;
}

async function written(monitor: Monitor, vm: Vm, folder: string, signal: AbortSignal): Promise<void> {
  const end = performance.now() + WRITE_MINUTES * 60_000;
  for (;;) {
    const { status, 'error-desc': why } = (await monitor.execute('query-migrate')) as {
      readonly status?: string;
      readonly 'error-desc'?: string;
    };
    if (status === 'completed' && (await filesIn(folder)).memory !== undefined) return;
    if (status === 'failed' || status === 'cancelled') throw failed(vm, why ?? 'is there room for it?');
    if (performance.now() > end) throw failed(vm, `it was not written after ${WRITE_MINUTES} minutes`);
    await sleep(50, undefined, { signal });
  }
}

function failed({ name }: Vm, why: string): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `The memory of ${name} could not be written: ${why}`, {
    hint: `It goes on as it was; make room on this computer’s disk, or shut it down: slipway stop ${name}`,
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
