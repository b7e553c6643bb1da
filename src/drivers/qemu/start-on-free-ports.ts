import type { DriverCall } from '../contract.ts';
import type { QemuConfig } from './command-line.ts';
import type { QemuOptions } from './options.ts';
import { assignFreePorts } from './ports.ts';
import { startProcess } from './qemu-process.ts';
import { writeVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

const MAX_PORT_RETRIES = 5;

/**
 * Starts a VM's process on ports that are free, and tries again with others if a program takes one in the meantime.
 * Records the ports before each start. Returns the VM as it was started, and QEMU's last lines if it did not start.
 */
export async function startOnFreePorts<V extends Vm>(
  program: string,
  vm: V,
  toConfig: (vm: V) => QemuConfig,
  options: QemuOptions,
  folder: string,
  call: DriverCall,
): Promise<{ readonly started: V; readonly failureLines: readonly string[] | undefined }> {
  let started = vm;
  for (let retries = 0; ; retries += 1) {
    started = await assignFreePorts(started, options, call);
    await writeVm(folder, started);
    const failure = await startProcess(program, toConfig(started), started, folder, call);
    if (!failure) return { started, failureLines: undefined };
    if (failure.takenPort === undefined || retries === MAX_PORT_RETRIES)
      return { started, failureLines: failure.lines };
  }
}
