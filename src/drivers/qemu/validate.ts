import { totalmem } from 'node:os';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import type { QemuOptions } from './options.ts';
import { isPortFree, portOptions, portTakenError } from './ports.ts';
import { requireShortSocketPath } from './qemu-process.ts';
import { parseImageOptions } from './vm-image.ts';
import { readVm } from './vm-record.ts';
import { vmFolder } from './vm.ts';

const MIB = 1024 * 1024;

/** Throws if a VM with these options can't be created or run on this computer. */
export async function validate(
  { id, name, options }: Target<QemuOptions>,
  { computer }: Pick<DriverCall, 'computer'>,
): Promise<void> {
  requireShortSocketPath(vmFolder(computer, id));
  parseImageOptions(options);
  requireMemory(name, options.memory);
  if (options.sshPort !== undefined && options.sshPort === options.enginePort)
    throw new SlipwayError('USAGE', `--qemu-ssh-port and --qemu-engine-port are both ${options.sshPort}`, {
      hint: 'Use two different ports',
    });
  // A VM that exists may use its ports itself.
  if (await readVm(vmFolder(computer, id))) return;
  for (const { port, flag } of portOptions(options))
    if (port !== undefined && !(await isPortFree(port))) throw portTakenError(name, port, flag, false);
}

function requireMemory(name: string, memory: number): void {
  const total = Math.floor(totalmem() / MIB);
  if (memory <= total) return;
  const message = `Machine "${name}" would have ${memory} MB of memory, but this computer has ${total} MB`;
  throw new SlipwayError('USAGE', message, {
    hint: `Use less memory, such as: --qemu-memory ${Math.max(512, Math.floor(total / 2048) * 1024)}`,
  });
}
