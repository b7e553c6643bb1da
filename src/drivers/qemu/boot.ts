import { join } from 'node:path';
import { readFileIfExists } from '../../computer/files.ts';
import { canceledError, SlipwayError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES, type Accelerator } from './command-line.ts';
import { parseBootResult, readConsoleTail, waitForBootResult, type BootResult } from './console.ts';
import { giveUpVm } from './end-vm.ts';
import { RESUME_COMMANDS, sendGuestCommands } from './guest-channel.ts';
import { getRunState } from './qemu-process.ts';
import { writeVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

/** How long a resumed guest may take to carry out its commands. */
const GUEST_COMMAND_SECONDS = 30;
/** How long a guest may take to report that it is ready; software emulation on a busy computer takes minutes. */
const BOOT_TIMEOUT_SECONDS: Readonly<Record<Accelerator, number>> = { kvm: 180, hvf: 180, whpx: 300, tcg: 900 };

/** Waits until the guest reports on its console how its boot went. Throws BOOT_FAILED if it never will. */
export async function waitForVmBoot(folder: string, vm: Vm, call: DriverCall): Promise<BootResult> {
  const file = join(folder, VM_FILES.console);
  const machine = `Machine "${vm.name}"`;
  const seconds = BOOT_TIMEOUT_SECONDS[vm.accelerator ?? 'tcg'];
  const end = performance.now() + seconds * 1000;
  return await waitForBootResult(file, {
    log: call.log,
    signal: call.signal,
    requireAlive: async () => {
      if (performance.now() > end) throw await bootError(`${machine} was not ready within ${seconds} seconds`, file);
      const state = await getRunState(folder, vm, call);
      if (state === 'none' || state === 'ended' || state === 'crashed')
        throw await bootError(`${machine} exited while it was starting`, file);
      if (state === 'io-error') throw await bootError(`${machine} is paused: the disk of this computer is full`, file);
    },
  }).catch((error: unknown) => {
    throw call.signal.aborted ? canceledError() : error;
  });
}

/** Returns an error with the last lines of the guest's console. */
export async function bootError(message: string, consoleFile: string): Promise<SlipwayError> {
  return new SlipwayError('BOOT_FAILED', message, {
    hint: `Read its console: ${consoleFile}`,
    detail: await readConsoleTail(consoleFile),
  });
}

/** Returns whether the guest has reported that its boot failed. Only another start can change that. */
export async function hasBootFailed(folder: string): Promise<boolean> {
  return parseBootResult((await readFileIfExists(join(folder, VM_FILES.console))) ?? '')?.ready === false;
}

/**
 * Sends a resumed guest its pending commands, and returns the VM without them. A guest that does not answer keeps
 * running, unless it is a spare: a spare needs the commands to become its machine.
 */
export async function sendPendingCommands(vm: Vm, folder: string, call: DriverCall): Promise<Vm> {
  if (!vm.pendingCommands) return vm;
  const answered = await sendGuestCommands(folder, [...RESUME_COMMANDS, ...vm.pendingCommands], {
    seconds: GUEST_COMMAND_SECONDS,
    signal: call.signal,
  });
  if (call.signal.aborted) throw canceledError();
  if (!answered && vm.spareFiles) {
    await giveUpVm('replace', vm, folder, call);
    throw new SlipwayError('BOOT_FAILED', `The spare for "${vm.name}" does not respond`, {
      hint: 'Run the same command again: it starts the machine cold',
    });
  }
  if (!answered)
    call.note(
      `Machine "${vm.name}" has resumed, but its guest agent does not respond: its clock is wrong until it syncs itself`,
    );
  const { pendingCommands: _sent, spareFiles: _spareFiles, ...rest } = vm;
  await writeVm(folder, rest);
  return rest;
}
