import type { QemuOptions } from './options.ts';
import { assignFreePorts } from './ports.ts';
import { startProcess, type StartCall, type VmArguments } from './qemu-process.ts';
import { writeVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

const MAX_PORT_RETRIES = 5;

/** How to start a VM: its arguments depend on its ports. */
export type StartPlan<V extends Vm> = {
  readonly boots: boolean;
  readonly argumentsOf: (vm: V) => VmArguments;
};

/**
 * Starts a VM's process on ports that are free, and tries again with others if a program takes one in the meantime.
 * Records the ports and the arguments before each start. Returns the VM as it was started, and QEMU's last lines if it
 * did not start.
 */
export async function startOnFreePorts<V extends Vm>(
  program: string,
  vm: V,
  { boots, argumentsOf }: StartPlan<V>,
  options: QemuOptions,
  folder: string,
  call: StartCall,
): Promise<{ readonly started: V; readonly failureLines: readonly string[] | undefined }> {
  let started = vm;
  for (let retries = 0; ; retries += 1) {
    started = await assignFreePorts(started, options, call);
    const toArguments = argumentsOf(started);
    started = { ...started, argv: toArguments([]) };
    await writeVm(folder, started);
    const failure = await startProcess(program, { boots, toArguments }, started, folder, call);
    if (!failure) return { started, failureLines: undefined };
    if (failure.takenPort === undefined || retries === MAX_PORT_RETRIES)
      return { started, failureLines: failure.lines };
  }
}
