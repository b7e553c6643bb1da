import { join } from 'node:path';
import { hashFile } from '../../images/hashing.ts';
import { archOf } from '../../images/image.ts';
import { findProgram } from '../../programs.ts';
import type { Call } from '../driver.ts';
import { chooseAccelerator } from './accelerator.ts';
import { runOnce } from './bake.ts';
import { finishArguments, type Shape } from './command-line.ts';
import { systemEmulator } from './programs.ts';

/**
 * Starts an image that was just built in `folder`, once and before anybody has it, so that its machines find what only its own kernel
 * can tell. Without that they make it themselves, each at its first start: slower, and the same.
 */
export async function finishImage(image: Pick<Shape, 'arch' | 'root'>, folder: string, call: Call): Promise<void> {
  const { computer, note, signal } = call;
  const { arch } = image;
  const program = systemEmulator(arch);
  const emulator = await findProgram(program, computer);
  if (emulator === undefined) {
    note(`${program.command} is not here to start it, so its machines take longer to start for the first time`);
    return;
  }
  const guest = { ...image, kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') };
  // The trial of each machine's first start, made now: its outcome is kept.
  const accelerator =
    arch === archOf(computer)
      ? (await chooseAccelerator(emulator, guest, await hashFile(guest.kernel, 'sha256', { signal }), call)).accelerator
      : 'tcg';
  const word = await runOnce(emulator, finishArguments({ ...guest, accelerator }), folder, accelerator, call);
  if (word !== 'silent' && word.ready) return;
  const why = word === 'silent' ? `${accelerator} does not carry it` : word.reason;
  note(`Its machines take longer to start for the first time, since it could not be started here: ${why}`);
}
