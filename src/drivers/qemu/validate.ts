import { totalmem } from 'node:os';
import { SlipwayError } from '../../errors.ts';
import { archOf } from '../../images/image.ts';
import type { Computer } from '../../computer/computer.ts';
import type { DriverCall, Target } from '../contract.ts';
import type { QemuOptions } from './options.ts';
import { guestArchOf, isForeignArch } from './guest-arch.ts';
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
  requireEmulation(options, computer);
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

/** No accelerator runs guests of another architecture. */
function requireEmulation(options: QemuOptions, computer: Computer): void {
  const { accelerator } = options;
  const arch = guestArchOf(options, computer);
  if (!isForeignArch(arch, computer) || accelerator === 'auto' || accelerator === 'tcg') return;
  throw new SlipwayError(
    'USAGE',
    `--qemu-accelerator ${accelerator} can't run a machine for ${arch} on this computer, which is ${archOf(computer)}`,
    { hint: 'Leave out --qemu-accelerator: the processor is then emulated in software' },
  );
}
