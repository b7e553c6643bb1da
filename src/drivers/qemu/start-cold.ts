import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SlipwayError } from '../../errors.ts';
import type { Image } from '../../images/image.ts';
import type { Target } from '../contract.ts';
import { VM_FILES, vmArguments } from './command-line.ts';
import { growDisk } from './disk.ts';
import { canHaveGuestChannel } from './guest-channel.ts';
import type { QemuOptions } from './options.ts';
import { startOnFreePorts } from './start-on-free-ports.ts';
import type { StartCall } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { resolveAccelerator } from './resolve-accelerator.ts';
import { toQemuConfig, type Vm, type VmWithAccelerator } from './vm.ts';

/** Boots a VM that is stopped, with the size that its options ask for now and the accelerator that works now. */
export async function startCold(
  vm: Vm,
  image: Image,
  { options }: Target<QemuOptions>,
  folder: string,
  call: StartCall,
): Promise<void> {
  const accelerator = await resolveAccelerator(options.accelerator, image, vm, call);
  const seedDiskBytes = vm.seedApplied ? 0 : (await stat(join(folder, VM_FILES.seed))).size;
  const devices = { guestChannel: canHaveGuestChannel(call.computer), seedDiskBytes };
  const configured = { ...vm, accelerator, cpus: options.cpus, memory: options.memory, devices };
  await growDisk(join(folder, VM_FILES.disk), options.disk, call);
  const program = await requireProgramPath(qemuSystemProgram(vm.arch), call.computer);
  const plan = {
    boots: true,
    argumentsOf: (started: VmWithAccelerator) => (monitor: readonly string[]) =>
      vmArguments(toQemuConfig(started), monitor),
  };
  const { failureLines } = await startOnFreePorts(program, configured, plan, options, folder, call);
  if (failureLines === undefined) return;
  throw new SlipwayError('DRIVER_FAILED', `QEMU could not start "${vm.name}"`, {
    hint: `Fix that, then run the same command again. QEMU's output is in ${join(folder, VM_FILES.output)}`,
    detail: failureLines,
  });
}
