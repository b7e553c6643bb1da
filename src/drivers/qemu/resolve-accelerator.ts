import { join } from 'node:path';
import { archOf, type Image } from '../../images/image.ts';
import type { DriverCall } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import type { Accelerator } from './command-line.ts';
import type { QemuOptions } from './options.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import type { Vm } from './vm.ts';

/** Returns the accelerator that the option names; for `auto`, the one that works on this computer. */
export async function resolveAccelerator(
  option: QemuOptions['accelerator'],
  image: Image,
  { imageFolder, seedApplied }: Pick<Vm, 'imageFolder' | 'seedApplied'>,
  call: DriverCall,
): Promise<Accelerator> {
  if (option !== 'auto') return option;
  call.log('Try hardware acceleration');
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  const guest = { arch: image.arch, kernel: join(imageFolder, 'vmlinuz'), initrd: join(imageFolder, 'initrd') };
  const { accelerator, rejected } = await chooseAccelerator(program, guest, image.files.vmlinuz.sha256, call);
  // A note at a machine's first start is enough; later ones only log it.
  const report = seedApplied ? call.log : call.note;
  for (const { accelerator: name, reason } of rejected)
    report(`${name} does not work on this computer (${reason}), so the machine is emulated in software, which is slow`);
  return accelerator;
}
