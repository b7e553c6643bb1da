import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ignoreMissing, readFileIfExists } from '../../computer/files.ts';
import { canceledError, SlipwayError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { parseBootResult } from './console.ts';
import { decidePower, type PowerAction, type PowerVerb, type VmCondition } from './power-table.ts';
import { findVmPid, getRunState, type RunState } from './qemu-process.ts';
import type { Vm } from './vm.ts';

/** A VM, or what is known of one whose record is broken. */
export type KnownVm = Pick<Vm, 'id' | 'name' | 'monitorPort' | 'snapshot'>;

/** How long a QEMU may take to answer on a computer that swaps. */
const MONITOR_SILENCE_SECONDS = 30;

/** Pure. Returns the condition of a VM from the state of its process and the files in its folder. */
export function conditionOf(
  state: RunState,
  files: { readonly hasSnapshot: boolean; readonly hasBooted: boolean; readonly isShutdownAsked: boolean },
): VmCondition {
  if (state === 'silent' || state === 'unknown') return state;
  if (state === 'running') return files.isShutdownAsked ? 'shutting-down' : files.hasBooted ? 'running' : 'booting';
  if (state === 'none') return files.hasSnapshot ? 'suspended' : 'stopped';
  // The record mentions a memory file only while the guest has not run since the file was written.
  if (files.hasSnapshot) return state === 'written' ? 'suspending' : 'resuming';
  return state === 'written' ? 'paused' : state;
}

export async function readCondition(folder: string, vm: KnownVm, call: DriverCall): Promise<VmCondition> {
  const state = await getRunState(folder, vm, call);
  return conditionOf(state, {
    hasSnapshot: vm.snapshot !== undefined,
    hasBooted: state !== 'running' || (await hasBooted(folder)),
    isShutdownAsked: (await ignoreMissing(stat(join(folder, VM_FILES.shutdown)))) !== undefined,
  });
}

async function hasBooted(folder: string): Promise<boolean> {
  return parseBootResult((await readFileIfExists(join(folder, VM_FILES.console))) ?? '') !== undefined;
}

/**
 * Returns a VM's condition and what a command does with it. Waits while QEMU is silent, since it may only be busy.
 * Throws if the command can't do anything with the VM in this condition.
 */
export async function decideFor(
  verb: PowerVerb,
  vm: KnownVm,
  folder: string,
  call: DriverCall,
): Promise<{ readonly condition: VmCondition; readonly action: PowerAction }> {
  const end = performance.now() + MONITOR_SILENCE_SECONDS * 1000;
  let isNoted = false;
  for (;;) {
    const condition = await readCondition(folder, vm, call);
    const action = decidePower(verb, condition);
    if (action !== 'wait' && action !== 'refuse') return { condition, action };
    if (action === 'refuse' || performance.now() > end) throw await refusalError(verb, condition, vm, folder, call);
    if (!isNoted)
      call.note(
        `Machine "${vm.name}": its QEMU process does not answer; waiting up to ${MONITOR_SILENCE_SECONDS} seconds`,
      );
    isNoted = true;
    await sleep(500, undefined, { signal: call.signal }).catch(() => {
      throw canceledError();
    });
  }
}

/** Returns the error of a command that changes nothing because of a VM's condition. */
export async function refusalError(
  verb: PowerVerb,
  condition: VmCondition,
  vm: KnownVm,
  folder: string,
  call: DriverCall,
): Promise<unknown> {
  const { name } = vm;
  if (condition === 'unknown') return await unknownProcessError(vm, folder, call);
  if (condition === 'silent') {
    return new SlipwayError('DRIVER_FAILED', `Machine "${name}": its QEMU process does not answer`, {
      hint: `It may only be busy: run the same command again later. To power it off without a shutdown: slipway kill ${name}`,
    });
  }
  const [reason, hint] =
    condition === 'shutting-down'
      ? ['it is shutting down', `To start it again: slipway start ${name}`]
      : ['it is not running', `To start it: slipway start ${name}`];
  const participle = verb === 'suspend' ? 'suspended' : 'changed';
  return new SlipwayError('MACHINE_NOT_READY', `Machine "${name}" can't be ${participle}: ${reason}`, { hint });
}

/** Returns the system's own error, if it still does not say whether the VM's process runs. */
async function unknownProcessError(vm: KnownVm, folder: string, call: DriverCall): Promise<unknown> {
  try {
    await findVmPid(folder, vm, call);
  } catch (error) {
    return error;
  }
  return new SlipwayError('DRIVER_FAILED', `Could not find out whether the QEMU process of "${vm.name}" runs`, {
    hint: 'Run the same command again',
  });
}
