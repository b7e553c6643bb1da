import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, SlipwayError } from '../../errors.ts';
import { archOf } from '../../images/image.ts';
import type { DriverCall, Target } from '../contract.ts';
import { deleteSeedDisk } from './disk.ts';
import { ensureRunning } from './ensure-running.ts';
import { discardMemory } from './memory.ts';
import type { QemuOptions } from './options.ts';
import { createExitCheck, getRunState, killProcess, openVmMonitor } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { requireVm } from './require-vm.ts';
import { canSuspend } from './snapshot.ts';
import { suspendVm } from './suspend.ts';
import type { Vm } from './vm.ts';

export async function start(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  if (vm.seedApplied) await deleteSeedDisk(folder);
  await ensureRunning(vm, target, folder, call);
}

/** Asks the guest to shut down, and kills a VM that still runs after these seconds. */
export async function stop(
  target: Target<QemuOptions>,
  { seconds }: { readonly seconds: number },
  call: DriverCall,
): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  const state = await getRunState(folder, vm, call);
  if (state === 'none') return;
  if (state !== 'running') return await killProcess(folder, vm, call);
  // By the pid: the monitor closes some time before the process exits.
  const hasExited = await createExitCheck(folder, vm, call);
  await pressPowerButton(folder, vm);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    if (await hasExited()) return;
    await sleep(200, undefined, { signal: call.signal }).catch(() => {
      throw canceledError();
    });
  }
  call.note(`Machine "${vm.name}" did not shut down within ${seconds} seconds, so it was killed`);
  await killProcess(folder, vm, call);
}

/** Closes the monitor at once: it serves one client at a time, and other commands ask it for the VM's state. */
async function pressPowerButton(folder: string, vm: Vm): Promise<void> {
  await using monitor = await openVmMonitor(folder, vm);
  await monitor?.execute('system_powerdown');
}

/** Kills a VM, and discards the memory of a suspended one, so that its next start is a boot as after a power cut. */
export async function kill(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { folder, vm } = await requireVm(target, call);
  await killProcess(folder, vm, call);
  await discardMemory(vm, folder);
}

export async function suspend(target: Target<QemuOptions>, call: DriverCall): Promise<void> {
  const { name } = target;
  const { folder, vm } = await requireVm(target, call);
  const state = await getRunState(folder, vm, call);
  // An interrupted suspend may have left its process, whose guest has not run since.
  if (vm.snapshot && state !== 'running') return await killProcess(folder, vm, call);
  const { accelerator } = vm;
  if (state !== 'running' || accelerator === undefined) {
    throw new SlipwayError('MACHINE_NOT_READY', `Machine "${name}" can't be suspended: it is not running`, {
      hint: `To start it: slipway start ${name}`,
    });
  }
  requireSuspendable(target, vm, call);
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  await suspendVm({ ...vm, accelerator }, folder, [{ do: 'sync' }], program, call);
}

/** Throws if a VM could not resume with its memory, or would lose options that apply at its next start. */
function requireSuspendable({ name, options }: Target<QemuOptions>, vm: Vm, { computer }: DriverCall): void {
  if (!canSuspend(computer)) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'Suspending VMs is not supported on this system', {
      hint: `To shut it down instead: slipway stop ${name}`,
    });
  }
  if (!vm.devices?.guestChannel) {
    const message = `Machine "${name}" can't be suspended: an older version of Slipway started it`;
    throw new SlipwayError('DRIVER_UNSUPPORTED', message, { hint: `To make that possible: slipway restart ${name}` });
  }
  if (options.cpus === vm.cpus && options.memory === vm.memory) return;
  const message = `Machine "${name}" can't be suspended: it has options that apply at its next start`;
  throw new SlipwayError('USAGE', message, { hint: `To apply them first: slipway restart ${name}` });
}
