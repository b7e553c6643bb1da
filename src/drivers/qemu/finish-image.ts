import { join } from 'node:path';
import { deleteFile } from '../../computer/files.ts';
import { runChild } from '../../computer/child-process.ts';
import { SlipwayError } from '../../errors.ts';
import { hashFile } from '../../images/hashing.ts';
import { findProgram } from '../../computer/programs.ts';
import type { DriverCall } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import { runGuestOnce } from './bake-image.ts';
import { VM_FILES, finishArguments, type QemuConfig } from './command-line.ts';
import { isForeignArch } from './guest-arch.ts';
import { qemuImgProgram, requireProgramPath, qemuSystemProgram } from './required-programs.ts';

/** An overlay that holds what the guest writes, until the guest has finished. */
const OVERLAY_FILE = 'finish.qcow2';

/**
 * Starts a new image in `folder` once, to create the files that depend on its kernel. If that is not possible, shows a
 * note: each machine then creates them itself at its first start, which takes longer and has the same result.
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
    note(`${program.command} is not installed, so the first start of machines with this image takes longer`);
    return;
  }
  const guest = { ...image, kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') };
  // The first start of each machine needs this probe; its result is kept.
  const accelerator = isForeignArch(arch, computer)
    ? 'tcg'
    : (await chooseAccelerator(emulator, guest, await hashFile(guest.kernel, 'sha256', { signal }), call)).accelerator;
  const qemuImg = await requireProgramPath(qemuImgProgram, computer);
  await runQemuImg(
    qemuImg,
    ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', VM_FILES.disk, OVERLAY_FILE],
    folder,
    call,
  );
  const result = await runGuestOnce(
    emulator,
    finishArguments({ ...guest, accelerator }, OVERLAY_FILE),
    folder,
    accelerator,
    call,
  );
  const problem =
    result === 'silent' ? `it does not run with ${accelerator}` : result.ready ? undefined : result.reason;
  if (problem === undefined) await runQemuImg(qemuImg, ['commit', '-q', OVERLAY_FILE], folder, call);
  await deleteFile(join(folder, OVERLAY_FILE));
  if (problem !== undefined)
    note(`The first start of machines with this image takes longer: the image could not be started once (${problem})`);
}

async function runQemuImg(qemuImg: string, argv: readonly string[], folder: string, call: DriverCall): Promise<void> {
  const { code, lines } = await runChild(qemuImg, argv, { ...call, cwd: folder, purpose: { maker: true } });
  if (code === 0) return;
  throw new SlipwayError('IMAGE_BUILD', `Could not finish the new image: qemu-img ${argv[0]} failed`, {
    detail: lines,
    hint: 'Free up disk space, then run the same command again',
  });
}
