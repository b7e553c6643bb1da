/** The file that holds the memory of a suspended VM, and QEMU's migration that writes it. */
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile, localFileError } from '../../computer/files.ts';
import type { DriverCall } from '../contract.ts';
import { machineTypeOf, VM_FILES } from './command-line.ts';
import type { Monitor } from './monitor.ts';
import { pollMonitor, QEMU_EXITED_MESSAGE } from './poll-monitor.ts';
import { openVmMonitor } from './qemu-process.ts';
import { readFileStamp } from './snapshot.ts';
import { writeVm } from './vm-record.ts';
import type { MemoryWriter, Vm, VmSnapshot } from './vm.ts';

export const MEMORY_WRITE_MINUTES = 15;
/** How long the shell behind QEMU's pipe may take to rename the file after the end of a migration. */
const RENAME_SECONDS = 10;
/** How long QEMU may take to cancel a migration: the program that compresses the memory first has to read its input. */
const MIGRATION_CANCEL_SECONDS = 30;
/** QEMU's default limit is meant for networks. */
const MAX_BYTES_PER_SECOND = 2 ** 40;
/** A memory file that is being written. It gets its final name once the program that compresses it has succeeded. */
const PARTIAL_MEMORY_FILE = `${VM_FILES.memory}.part`;
const NO_SPACE_MESSAGE = 'the disk may be full';

/** Stops a VM's CPUs and writes its memory to a file. */
export async function writeMemory(
  vm: Vm,
  folder: string,
  format: VmSnapshot['format'],
  { signal }: DriverCall,
): Promise<MemoryWriter> {
  await deleteMemory(folder);
  await writeFile(join(folder, PARTIAL_MEMORY_FILE), '', { mode: 0o600, flag: 'wx' });
  const writer = await startMigration(vm, folder, format);
  // QEMU may not answer while it finishes, because it waits for the program behind its pipe.
  const failure = await pollMonitor(vm, folder, { seconds: MEMORY_WRITE_MINUTES * 60, signal }, checkMigration);
  if (failure !== '') throw new Error(failure);
  await waitForMemoryFile(folder);
  return writer;
}

async function startMigration(vm: Vm, folder: string, format: VmSnapshot['format']): Promise<MemoryWriter> {
  await using monitor = await openVmMonitor(folder, vm);
  if (!monitor) throw new Error(QEMU_EXITED_MESSAGE);
  // QEMU ignores the command's exit status, so the file that exists afterwards shows whether it succeeded.
  const [part, done] = [PARTIAL_MEMORY_FILE, VM_FILES.memory];
  const command = `${format === 'zstd' ? 'zstd -1 -q -c' : 'cat'} >${part} && mv ${part} ${done} || rm -f ${part}`;
  const machineType = await readMachineType(vm, monitor);
  await monitor.execute('stop');
  await monitor.execute('migrate-set-parameters', { 'max-bandwidth': MAX_BYTES_PER_SECOND });
  await monitor.execute('migrate', { uri: `exec:${command}` });
  return { version: monitor.version, machineType };
}

type QmpMachine = { readonly name: string; readonly alias?: string };

/** Returns the machine type of a running VM with its version: `q35` names another type in each version of QEMU. */
async function readMachineType({ argv, arch }: Vm, monitor: Monitor): Promise<string> {
  const alias = argv ? machineTypeOf(argv) : arch === 'arm64' ? 'virt' : 'q35';
  const machines = (await monitor.execute('query-machines')) as readonly QmpMachine[];
  return machines.find((machine) => machine.alias === alias)?.name ?? alias;
}

type QmpMigration = { readonly status?: string; readonly 'error-desc'?: string };

/** Returns undefined while QEMU writes, '' once it is done, or why it failed. */
async function checkMigration(monitor: Monitor): Promise<string | undefined> {
  const { status, 'error-desc': reason } = (await monitor.execute('query-migrate')) as QmpMigration;
  if (status === 'completed') return '';
  return status === 'failed' || status === 'cancelled' ? (reason ?? NO_SPACE_MESSAGE) : undefined;
}

/** Waits for the final name. QEMU also reports success if the program behind its pipe fails at the end. */
async function waitForMemoryFile(folder: string): Promise<void> {
  const end = performance.now() + RENAME_SECONDS * 1000;
  for (;;) {
    const partial = await readFileStamp(join(folder, PARTIAL_MEMORY_FILE));
    if ((await readFileStamp(join(folder, VM_FILES.memory))) !== undefined) return;
    if (partial === undefined || performance.now() > end) throw new Error(NO_SPACE_MESSAGE);
    await sleep(50);
  }
}

/**
 * Resumes the CPUs of a paused VM, whatever paused them. Cancels a migration first, since QEMU would stop the CPUs
 * again at its end.
 */
export async function resumeCpus(vm: Vm, folder: string): Promise<void> {
  const { signal } = new AbortController();
  await pollMonitor(vm, folder, { seconds: MIGRATION_CANCEL_SECONDS, signal }, async (monitor) => {
    await monitor.execute('migrate_cancel');
    const { status = 'none' } = (await monitor.execute('query-migrate')) as QmpMigration;
    if (!['none', 'completed', 'failed', 'cancelled'].includes(status)) return undefined;
    // A memory file that can't be deleted is never used, and harms nothing.
    await deleteMemory(folder).catch(() => undefined);
    await monitor.execute('cont');
    return true;
  });
}

/**
 * Returns the shell command that QEMU runs in the VM's folder to read the memory file. If the file can't be read, the
 * command prints a word, because QEMU would wait forever for a first byte.
 */
export function decompressCommand({ format }: VmSnapshot): string {
  return `${format === 'zstd' ? 'zstd -dcq' : 'cat'} ${VM_FILES.memory} || echo failed`;
}

/** Deletes the memory files. The partial file comes first, so that a shell that still writes it can't rename it. */
async function deleteMemory(folder: string): Promise<void> {
  for (const file of [PARTIAL_MEMORY_FILE, VM_FILES.memory]) await deleteFile(join(folder, file));
}

/** Deletes what an interrupted suspend left of a VM that has no snapshot. Returns the VM as it boots. */
export async function deleteStaleMemory(vm: Vm, folder: string): Promise<Vm> {
  if (vm.snapshot) throw new Error('the memory of a suspended VM is not stale');
  return await discardMemory(vm, folder);
}

/** Discards a VM's memory, so that its next start is a boot. Returns the VM without it. Call it from `end-vm.ts`. */
export async function discardMemory(vm: Vm, folder: string): Promise<Vm> {
  const { snapshot, pendingCommands: _pendingCommands, ...rest } = vm;
  if (snapshot) await writeVm(folder, rest);
  await deleteMemory(folder);
  return rest;
}

/**
 * Writes an empty disk in place of the seed's. The guest has applied the seed, but a resume needs the disk, in its
 * size.
 */
export async function writeBlankSeedDisk({ devices }: Vm, folder: string): Promise<void> {
  if (!devices || devices.seedDiskBytes === 0) return;
  const disk = join(folder, VM_FILES.seed);
  try {
    await deleteFile(disk);
    await writeFile(disk, '', { mode: 0o600, flag: 'wx' });
    await truncate(disk, devices.seedDiskBytes);
  } catch (error) {
    throw localFileError(disk, error);
  }
}
