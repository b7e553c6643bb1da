import { join } from 'node:path';
import { archOf, type Image } from '../../images/image.ts';
import type { DriverCall } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import type { Accelerator } from './command-line.ts';
import type { QemuOptions } from './options.ts';
import { isForeignArch } from './guest-arch.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import type { Vm } from './vm.ts';

/** Measured for arm64 on x86-64, in processor time: the first is that of computations, the second of new processes. */
const EMULATION_FACTOR = '15 to 35';

/**
 * Returns the accelerator that the option names; for `auto`, the one that works on this computer. No accelerator runs
 * guests of another architecture, whatever the option says: a machine may have come from another computer.
 */
export async function resolveAccelerator(
  option: QemuOptions['accelerator'],
  image: Image,
  { imageFolder, seedApplied }: Pick<Vm, 'imageFolder' | 'seedApplied'>,
  call: DriverCall,
): Promise<Accelerator> {
  const { computer } = call;
  // A note at a machine's first start is enough; later ones only log it.
  const report = seedApplied ? call.log : call.note;
  if (isForeignArch(image.arch, computer)) {
    report(
      `The machine is for ${image.arch} and this computer is ${archOf(computer)}, so its processor is emulated in software: expect it to be ${EMULATION_FACTOR} times slower`,
    );
    return 'tcg';
  }
  if (option !== 'auto') return option;
  call.log('Try hardware acceleration');
  const program = await requireProgramPath(qemuSystemProgram(image.arch), computer);
  const guest = { arch: image.arch, kernel: join(imageFolder, 'vmlinuz'), initrd: join(imageFolder, 'initrd') };
  const { accelerator, rejected } = await chooseAccelerator(program, guest, image.files.vmlinuz.sha256, call);
  for (const { accelerator: name, reason } of rejected)
    report(`${name} does not work on this computer (${reason}), so the machine is emulated in software, which is slow`);
  return accelerator;
}
