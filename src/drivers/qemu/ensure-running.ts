import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { canceledError, reasonOf, SlipwayError } from '../../errors.ts';
import type { Image } from '../../images/image.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall, Target } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { requireFreeSpace } from './disk.ts';
import { discardMemory, resumeCpus } from './memory.ts';
import type { QemuOptions } from './options.ts';
import { getRunState, killProcess, type RunState } from './qemu-process.ts';
import { resume, type ResumeFailure } from './resume.ts';
import { startCold } from './start-cold.ts';
import type { Vm } from './vm.ts';

/** How long a QEMU may take to answer on a computer that swaps. */
const MONITOR_SILENCE_SECONDS = 30;

/**
 * Ensures that a VM runs: resumes one that is paused or suspended, and starts one that is stopped. The memory of a
 * suspended machine is the user's data: it is discarded only if no retry could ever resume it.
 *
 * Returns undefined once the VM runs. For a spare that can't become its machine, and then does not run, returns why.
 */
export async function ensureRunning(
  vm: Vm,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<string | undefined> {
  const state = await waitForRunState(folder, vm, call);
  if (state === 'running') return undefined;
  // If there is a snapshot, an interrupted suspend left the paused process; the memory file is just as current.
  if ((state === 'io-error' || state === 'paused') && !vm.snapshot) {
    await resumePaused(vm, state, folder);
    return undefined;
  }
  await killProcess(folder, vm, call);
  const image = await requireDisks(vm, folder, call);
  if (vm.snapshot) {
    const failure = await resume({ ...vm, snapshot: vm.snapshot }, image, target, folder, call);
    if (failure === undefined) return undefined;
    if (vm.spareFiles) return failure.reason;
    if (!failure.isPermanent) throw resumeError(vm, failure);
    call.note(`Machine "${vm.name}" could not be resumed, so it starts from its disk: ${failure.reason}`);
  } else if (vm.spareFiles) {
    return 'it has stopped';
  }
  await startCold(await discardMemory(vm, folder), image, target, folder, call);
  return undefined;
}

/**
 * Waits while QEMU is silent, since it may only be busy. Killing it is a power cut for its guest, and the last resort.
 */
async function waitForRunState(folder: string, vm: Vm, call: DriverCall): Promise<RunState> {
  const end = performance.now() + MONITOR_SILENCE_SECONDS * 1000;
  for (;;) {
    const state = await getRunState(folder, vm, call);
    if (state !== 'silent' || performance.now() > end) return state;
    await sleep(500, undefined, { signal: call.signal }).catch(() => {
      throw canceledError();
    });
  }
}

async function resumePaused(vm: Vm, state: RunState, folder: string): Promise<void> {
  if (state === 'io-error') await requireFreeSpace(folder);
  await resumeCpus(vm, folder).catch((error: unknown) => {
    throw resumeError(vm, { reason: reasonOf(error) });
  });
}

function resumeError({ name }: Vm, { reason, detail = [] }: Pick<ResumeFailure, 'reason' | 'detail'>): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `Machine "${name}" could not be resumed: ${reason}`, {
    hint: `Fix that, then run the same command again. To discard its memory: slipway kill ${name}`,
    detail,
  });
}

/**
 * Returns the image under a VM's disk. Throws if the disk or the image is missing, or the image has changed: the disk
 * would be garbage.
 */
async function requireDisks(vm: Vm, folder: string, call: DriverCall): Promise<Image> {
  const images = openImageStore(call.computer.home);
  const found = (await images.list()).find(({ key }) => vm.imageDigest.startsWith(key.digest));
  const hint = `Restore it, or remove the machine: slipway rm ${vm.name}`;
  if (!found)
    throw new SlipwayError('IMAGE_MISSING', `The image of "${vm.name}" is missing: ${vm.imageFolder}`, { hint });
  if ('broken' in found) throw found.broken;
  if (!(await images.isUnchanged(found.image))) await images.verify(found.image, call);
  const disk = join(folder, VM_FILES.disk);
  await stat(disk).catch((cause: unknown) => {
    throw new SlipwayError('MACHINE_NOT_READY', `The disk of "${vm.name}" is missing: ${disk}`, { hint, cause });
  });
  return found.image;
}
