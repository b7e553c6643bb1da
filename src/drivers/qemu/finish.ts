import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runChild } from '../../computer/child-process.ts';
import { SlipwayError } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { archOf } from '../../images/image.ts';
import { findProgram } from '../../computer/programs.ts';
import type { Call } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import { runOnce } from './bake.ts';
import { FILES, finishArguments, type Shape } from './command-line.ts';
import { imageTool, programPath, systemEmulator } from './programs.ts';

/** What such a start writes, until it is known to be whole. */
const OVERLAY = 'finish.qcow2';

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
  const tool = await programPath(imageTool, computer);
  await runTool(tool, ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', FILES.disk, OVERLAY], folder, call);
  const word = await runOnce(emulator, finishArguments({ ...guest, accelerator }, OVERLAY), folder, accelerator, call);
  const why = word === 'silent' ? `${accelerator} does not carry it` : word.ready ? undefined : word.reason;
  if (why === undefined) await runTool(tool, ['commit', '-q', OVERLAY], folder, call);
  await rm(join(folder, OVERLAY), { force: true });
  if (why !== undefined)
    note(`Its machines take longer to start for the first time, since it could not be started here: ${why}`);
}

async function runTool(tool: string, argv: readonly string[], folder: string, call: Call): Promise<void> {
  const { code, lines } = await runChild(tool, argv, { ...call, cwd: folder });
  if (code === 0) return;
  throw new SlipwayError('IMAGE_BUILD', `The new image could not be finished: qemu-img ${argv[0]} failed`, {
    detail: lines,
    hint: 'Make room there, then run the same command again',
  });
}
