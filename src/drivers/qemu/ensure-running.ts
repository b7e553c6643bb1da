import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile } from '../../computer/files.ts';
import { canceledError, reasonOf, SlipwayError } from '../../errors.ts';
import type { Image } from '../../images/image.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall, Target } from '../contract.ts';
import { VM_FILES } from './command-line.ts';
import { requireFreeSpace } from './disk.ts';
import { endVm } from './end-vm.ts';
import { deleteStaleMemory, resumeCpus } from './memory.ts';
import type { QemuOptions } from './options.ts';
import type { VmCondition } from './power-table.ts';
import { createExitCheck, getRunState, type StartCall } from './qemu-process.ts';
import { resume, type ResumeFailure } from './resume.ts';
import { startCold } from './start-cold.ts';
import { decideFor } from './vm-condition.ts';
import { writeVm } from './vm-record.ts';
import type { Vm } from './vm.ts';

/** How long a guest that was asked to shut down may take, before it counts as running. */
const SHUTDOWN_SECONDS = 90;

/**
 * Ensures that a VM runs: resumes one that is paused or suspended, and starts one that is stopped. The memory of a
 * suspended machine is the user's data: if the machine can't resume, throws, and keeps the memory.
 *
 * Returns undefined once the VM runs. For a spare that can't become its machine, and then does not run, returns why.
 */
export async function ensureRunning(
  vm: Vm,
  target: Target<QemuOptions>,
  folder: string,
  call: StartCall,
): Promise<string | undefined> {
  if (vm.spareFiles && (await getRunState(folder, vm, call)) === 'silent') return 'its QEMU process does not answer';
  const { condition, action } = await decideFor('start', vm, folder, call);
  switch (action) {
    case 'leave':
      return undefined;
    case 'continue':
      await continueVm(vm, condition, folder);
      return undefined;
    case 'await-end, then boot':
      if (!(await hasShutDown(vm, folder, call))) return undefined;
      return await ensureRunning(vm, target, folder, call);
    default:
  }
  if (vm.spareFiles && !vm.snapshot) return 'it has stopped';
  await endVm('start', condition, vm, folder, call);
  const image = await requireDisks(vm, folder, call);
  if (action === 'resume' && vm.snapshot) {
    const failure = await resume({ ...vm, snapshot: vm.snapshot }, image, target, folder, call);
    if (failure === undefined || vm.spareFiles) return failure?.reason;
    throw resumeError(vm, failure);
  }
  await startCold(await deleteStaleMemory(vm, folder), image, target, folder, call);
  return undefined;
}

/** Waits for a guest that an earlier command asked to shut down. Returns false if the guest keeps running. */
async function hasShutDown(vm: Vm, folder: string, call: DriverCall): Promise<boolean> {
  call.log('Wait until it has shut down, as an earlier command asked');
  const hasExited = await createExitCheck(folder, vm, call);
  const end = performance.now() + SHUTDOWN_SECONDS * 1000;
  while (performance.now() < end) {
    if (await hasExited()) return true;
    await sleep(200, undefined, { signal: call.signal }).catch(() => {
      throw canceledError();
    });
  }
  await deleteFile(join(folder, VM_FILES.shutdown));
  return false;
}

/** Lets the CPUs of a VM run again that is paused in this condition. */
export async function continueVm(vm: Vm, condition: VmCondition, folder: string): Promise<void> {
  if (condition === 'io-error') await requireFreeSpace(folder);
  if (condition === 'suspending') {
    // Recorded before the guest runs and its disk changes: from then on the memory file is out of date.
    const { snapshot: _copied, ...rest } = vm;
    await writeVm(folder, { ...rest, pendingCommands: vm.pendingCommands ?? [] });
  }
  await resumeCpus(vm, folder).catch((error: unknown) => {
    throw resumeError(vm, { reason: reasonOf(error), canRetry: true });
  });
}

function resumeError({ name }: Vm, { reason, canRetry, detail = [] }: ResumeFailure): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `Machine "${name}" could not be resumed: ${reason}`, {
    hint: canRetry
      ? `Fix that, then run the same command again. To discard its memory: slipway kill ${name}`
      : `Its memory is kept. To discard it, so that the next start boots from its disk: slipway kill ${name}`,
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
