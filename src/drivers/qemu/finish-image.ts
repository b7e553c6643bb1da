import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runChild } from '../../computer/child-process.ts';
import { SlipwayError } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { archOf } from '../../images/image.ts';
import { findProgram } from '../../computer/programs.ts';
import type { DriverCall } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import { runGuestOnce } from './bake-image.ts';
import { VM_FILES, finishArguments, type QemuConfig } from './command-line.ts';
import { qemuImgProgram, requireProgramPath, qemuSystemProgram } from './required-programs.ts';

/** What such a start writes, until it is known to be whole. */
const OVERLAY_FILE = 'finish.qcow2';

/**
 * Starts an image that was just built in `folder`, once and before anybody has it, so that its machines find what only its own kernel
 * can tell. Without that they make it themselves, each at its first start: slower, and the same.
 */
export async function finishImage(
  image: Pick<QemuConfig, 'arch' | 'root'>,
  folder: string,
  call: DriverCall,
): Promise<void> {
  const { computer, note, signal } = call;
  const { arch } = image;
  const program = qemuSystemProgram(arch);
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
  const tool = await requireProgramPath(qemuImgProgram, computer);
  await runQemuImg(
    tool,
    ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', VM_FILES.disk, OVERLAY_FILE],
    folder,
    call,
  );
  const word = await runGuestOnce(
    emulator,
    finishArguments({ ...guest, accelerator }, OVERLAY_FILE),
    folder,
    accelerator,
    call,
  );
  const why = word === 'silent' ? `${accelerator} does not carry it` : word.ready ? undefined : word.reason;
  if (why === undefined) await runQemuImg(tool, ['commit', '-q', OVERLAY_FILE], folder, call);
  await rm(join(folder, OVERLAY_FILE), { force: true });
  if (why !== undefined)
    note(`Its machines take longer to start for the first time, since it could not be started here: ${why}`);
}

async function runQemuImg(tool: string, argv: readonly string[], folder: string, call: DriverCall): Promise<void> {
  const { code, lines } = await runChild(tool, argv, { ...call, cwd: folder });
  if (code === 0) return;
  throw new SlipwayError('IMAGE_BUILD', `The new image could not be finished: qemu-img ${argv[0]} failed`, {
    detail: lines,
    hint: 'Make room there, then run the same command again',
  });
}
