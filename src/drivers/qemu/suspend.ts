import { join } from 'node:path';
import { deleteFile } from '../../computer/files.ts';
import { findProgram } from '../../computer/programs.ts';
import { canceledError, reasonOf, SlipwayError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { endVm } from './end-vm.ts';
import { sendGuestCommands, type GuestCommand } from './guest-channel.ts';
import { resumeCpus, writeMemory } from './memory.ts';
import { zstdProgram } from './required-programs.ts';
import { createSnapshot, readSnapshotFiles } from './snapshot.ts';
import { writeVm } from './vm-record.ts';
import type { SuspendedVm, Vm, VmSnapshot, VmWithAccelerator } from './vm.ts';

/** How long a guest may take to write its caches to its disk. */
const GUEST_SYNC_SECONDS = 60;

/**
 * Writes the memory of a running VM to a file and ends its process. If it is canceled or fails, the VM keeps running.
 * If the command is killed, the VM is paused, or off as after a power cut, with everything on its disk.
 */
export async function suspendVm(
  vm: VmWithAccelerator,
  folder: string,
  commandsBefore: readonly GuestCommand[],
  program: string,
  call: DriverCall,
): Promise<VmWithAccelerator & SuspendedVm> {
  await prepareGuest(vm, folder, commandsBefore, call);
  const snapshot = await writeSnapshot(vm, folder, program, call);
  await endVm('suspend', 'suspending', { ...vm, snapshot }, folder, call);
  // The process has closed the disk now, so the disk's modification time is final.
  const { disk } = await readSnapshotFiles(folder);
  const suspended = { ...vm, snapshot: { ...snapshot, ...(disk ? { disk } : {}) } };
  await writeVm(folder, suspended);
  return suspended;
}

async function prepareGuest(
  vm: Vm,
  folder: string,
  commands: readonly GuestCommand[],
  { signal }: DriverCall,
): Promise<void> {
  if (await sendGuestCommands(folder, commands, { seconds: GUEST_SYNC_SECONDS, signal })) return;
  if (signal.aborted) throw canceledError();
  const message = `Machine "${vm.name}" can't be suspended: its guest agent does not respond`;
  throw new SlipwayError('DRIVER_UNSUPPORTED', message, {
    hint: `Its image is of an older version, or it is still starting. To shut it down instead: slipway stop ${vm.name}`,
  });
}

/**
 * Writes the memory file and then the record. If that fails, resumes the guest: the record is written last, so it does
 * not mention the memory file yet.
 */
async function writeSnapshot(
  vm: VmWithAccelerator,
  folder: string,
  program: string,
  call: DriverCall,
): Promise<VmSnapshot> {
  const format = (await findProgram(zstdProgram, call.computer)) === undefined ? 'plain' : 'zstd';
  try {
    const writer = await writeMemory(vm, folder, format, call);
    const snapshot = await createSnapshot(vm, folder, { ...writer, format, program });
    await deleteFile(join(folder, VM_FILES.seed));
    await writeVm(folder, { ...vm, snapshot });
    return snapshot;
  } catch (error) {
    const isRunning = await tryResumeCpus(vm, folder, call);
    if (call.signal.aborted) throw canceledError();
    throw isRunning && error instanceof SlipwayError ? error : suspendError(vm, error, isRunning);
  }
}

/** Resumes the guest, and returns whether it runs again. */
async function tryResumeCpus(vm: Vm, folder: string, { log }: DriverCall): Promise<boolean> {
  try {
    await resumeCpus(vm, folder);
    return true;
  } catch (error) {
    log(`Machine "${vm.name}" could not be resumed: ${String(error)}`);
    return false;
  }
}

function suspendError({ name }: Vm, cause: unknown, isRunning: boolean): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `Could not write the memory of "${name}": ${reasonOf(cause)}`, {
    hint: isRunning
      ? `It is still running. Free up disk space on this computer, or shut it down: slipway stop ${name}`
      : `It is paused. To resume it: slipway start ${name}`,
    cause,
  });
}
