/**
 * Ends VMs and deletes their memory, which only this file does, and only as `power-table.ts` decides
 * (test/unit/qemu-power.test.ts).
 */
import type { DriverCall } from '../contract.ts';
import { discardMemory } from './memory.ts';
import { decidePower, isEnding, type PowerVerb, type VmCondition } from './power-table.ts';
import { killProcess } from './qemu-process.ts';
import { refusalError, readCondition, type KnownVm } from './vm-condition.ts';
import type { Vm } from './vm.ts';

/** Ends the process of a VM in this condition, without a shutdown of its guest. Its memory file stays. */
export async function endVm(
  verb: PowerVerb,
  condition: VmCondition,
  vm: KnownVm,
  folder: string,
  call: DriverCall,
): Promise<void> {
  const action = decidePower(verb, condition);
  if (action === 'refuse') throw await refusalError(verb, condition, vm, folder, call);
  if (!isEnding(action)) throw new Error(`${verb} must not end a VM that is ${condition}`);
  await killProcess(folder, vm, call);
}

/** Ends the process of a VM for a command that gives the VM up in any condition. */
export async function giveUpVm(
  verb: 'kill' | 'rm' | 'replace',
  vm: KnownVm,
  folder: string,
  call: DriverCall,
): Promise<void> {
  await endVm(verb, await readCondition(folder, vm, call), vm, folder, call);
}

/** Ends a VM and discards its memory, so that its next start is a boot. */
export async function powerOff(vm: Vm, folder: string, call: DriverCall): Promise<void> {
  await giveUpVm('kill', vm, folder, call);
  await discardMemory(vm, folder);
}

/**
 * Ends the process of a guest that has not shut down within the time that was announced. Refuses if the guest could
 * not shut down, because its process is silent or paused.
 */
export async function cutPowerAfterTimeout(
  verb: 'stop' | 'restart',
  seconds: number,
  vm: KnownVm,
  folder: string,
  call: DriverCall,
): Promise<'ended' | 'paused'> {
  const condition = await readCondition(folder, vm, call);
  const action = decidePower(verb, condition);
  if (action === 'leave') return 'ended';
  if (action === 'wait' || action === 'refuse') throw await refusalError(verb, condition, vm, folder, call);
  if (action !== 'shut-down' && action !== 'end') return 'paused';
  if (action === 'shut-down')
    call.note(`Machine "${vm.name}" did not shut down within ${seconds} seconds, so it was powered off`);
  await killProcess(folder, vm, call);
  return 'ended';
}
