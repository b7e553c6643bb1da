import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile } from '../../computer/files.ts';
import { canceledError, SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { sendPendingCommands } from './boot.ts';
import { VM_FILES } from './command-line.ts';
import { deleteSeedDisk, requireFreeSpace } from './disk.ts';
import { cutPowerAfterTimeout, endVm, powerOff } from './end-vm.ts';
import { continueVm, ensureRunning } from './ensure-running.ts';
import type { QemuOptions } from './options.ts';
import { createExitCheck } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { requestShutdown } from './request-shutdown.ts';
import { requireVm } from './require-vm.ts';
import { canSuspend } from './snapshot.ts';
import { suspendVm } from './suspend.ts';
import { decideFor } from './vm-condition.ts';
import { readVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

/** A guest that is starting may miss a request, so it is repeated. */
const SHUTDOWN_REQUEST_SECONDS = 5;
/** A shorter timeout is announced only when it has passed. */
const MIN_ANNOUNCED_SECONDS = 20;

export async function start(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  if (vm.seedApplied) await deleteSeedDisk(folder);
  await ensureRunning(vm, target, folder, call);
}

/**
 * Shuts a guest down. If it still runs after these seconds, powers it off, which is announced. A guest that can't shut
 * down, because its process is silent or this computer's disk is full, is never powered off.
 */
export async function stop(
  target: Target<QemuOptions>,
  { seconds, restarts = false }: { readonly seconds: number; readonly restarts?: boolean },
  call: DriverCall,
): Promise<void> {
  const verb = restarts ? 'restart' : 'stop';
  const { folder, vm } = await requireVm(target, call);
  const { condition, action } = await decideFor(verb, vm, folder, call);
  switch (action) {
    case 'leave':
      if (condition === 'suspended') call.note(suspendedNote(vm));
      return;
    case 'end':
      return await endVm(verb, condition, vm, folder, call);
    case 'continue, then shut-down':
      await continueVm(vm, condition, folder);
      break;
    case 'resume, then shut-down':
      await ensureRunning(vm, target, folder, call);
      await sendPendingCommands((await readVm(folder)) ?? vm, folder, call);
      break;
    default:
  }
  await shutDown(verb, (await readVm(folder)) ?? vm, folder, seconds, call);
}

function suspendedNote({ name }: Vm): string {
  return `Machine "${name}" is suspended, so it is off already, and its memory is kept. To discard its memory: slipway kill ${name}`;
}

/** Asks the guest to shut down until its process has exited. */
async function shutDown(
  verb: 'stop' | 'restart',
  vm: Vm,
  folder: string,
  seconds: number,
  call: DriverCall,
): Promise<void> {
  // By the pid: the monitor closes some time before the process exits.
  const hasExited = await createExitCheck(folder, vm, call);
  await writeFile(join(folder, VM_FILES.shutdown), '', { mode: 0o600 });
  const begin = performance.now();
  let requests = 0;
  let isAnnounced = seconds < MIN_ANNOUNCED_SECONDS;
  for (;;) {
    if (await hasExited()) break;
    const elapsed = (performance.now() - begin) / 1000;
    if (elapsed >= seconds) {
      if ((await cutPowerAfterTimeout(verb, seconds, vm, folder, call)) === 'paused')
        throw await explainPause(vm, folder);
      break;
    }
    if (!isAnnounced && elapsed >= seconds / 2) {
      isAnnounced = true;
      const left = Math.round(seconds - elapsed);
      call.note(
        `Machine "${vm.name}" is still shutting down. It is powered off in ${left} seconds; Ctrl-C prevents that`,
      );
    }
    if (elapsed >= requests * SHUTDOWN_REQUEST_SECONDS) {
      requests += 1;
      await requestShutdown(vm, folder, call);
    }
    await sleep(200, undefined, { signal: call.signal }).catch(() => {
      throw canceledError();
    });
  }
  await deleteFile(join(folder, VM_FILES.shutdown));
}

/** Returns the error for a guest that was paused while it was shutting down, most often because the disk is full. */
async function explainPause({ name }: Vm, folder: string): Promise<unknown> {
  try {
    await requireFreeSpace(folder);
  } catch (error) {
    return error;
  }
  return new SlipwayError('DRIVER_FAILED', `Machine "${name}" was paused while it was shutting down`, {
    hint: `Run the same command again. To power it off without a shutdown: slipway kill ${name}`,
  });
}

/** Kills a VM, and discards the memory of a suspended one, so that its next start is a boot as after a power cut. */
export async function kill(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  await powerOff(vm, folder, call);
}

export async function suspend(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  const { condition, action } = await decideFor('suspend', vm, folder, call);
  if (action === 'leave') return;
  if (action === 'end') return await endVm('suspend', condition, vm, folder, call);
  const program = await requireProgramPath(qemuSystemProgram(vm.arch), call.computer);
  const { accelerator } = requireSuspendable(target, vm, call);
  if (action === 'continue, then suspend') await continueVm(vm, condition, folder);
  await suspendVm({ ...vm, accelerator }, folder, [{ do: 'sync' }], program, call);
}

/** Returns a VM's accelerator. Throws if the VM could not resume, or has options that apply at its next start. */
function requireSuspendable(
  { name, options }: Target<QemuOptions>,
  vm: Vm,
  { computer }: DriverCall,
): { readonly accelerator: NonNullable<Vm['accelerator']> } {
  if (!canSuspend(computer)) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'Suspending VMs is not supported on this system', {
      hint: `To shut it down instead: slipway stop ${name}`,
    });
  }
  const { accelerator } = vm;
  if (!vm.devices?.guestChannel || accelerator === undefined) {
    const message = `Machine "${name}" can't be suspended: an older version of Slipway started it`;
    throw new SlipwayError('DRIVER_UNSUPPORTED', message, { hint: `To make that possible: slipway restart ${name}` });
  }
  if (options.cpus === vm.cpus && options.memory === vm.memory) return { accelerator };
  const message = `Machine "${name}" can't be suspended: it has options that apply at its next start`;
  throw new SlipwayError('USAGE', message, { hint: `To apply them first: slipway restart ${name}` });
}
