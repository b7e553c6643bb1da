import { mkdir, stat, statfs } from 'node:fs/promises';
import { freemem, getPriority } from 'node:os';
import { join } from 'node:path';
import { lowerPriority } from '../../computer/child-process.ts';
import { deleteFile, listFolderIfExists, localFileError, readFileIfExists, renamePath } from '../../computer/files.ts';
import { takeLock } from '../../computer/lock.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, FirstBootConfig, Target } from '../contract.ts';
import { waitForVmBoot } from './boot.ts';
import { buildFolder, isBuildCanceled, removeBuild } from './builds.ts';
import { VM_FILES } from './command-line.ts';
import { createVm } from './create-vm.ts';
import { GIB, writeSeedDisk } from './disk.ts';
import { ensureRunning } from './ensure-running.ts';
import type { QemuOptions } from './options.ts';
import { removeSurplusSpares } from './match-spares.ts';
import { requireShortSocketPath } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { fileDigestsOf, guestIdentityOf, seedOf, type Seed } from './seed.ts';
import { canSuspend } from './snapshot.ts';
import { spareFolder, sparesFolder, writeSpare } from './spare-store.ts';
import { suspendVm } from './suspend.ts';
import { ensureImage } from './vm-image.ts';
import { readVm, VM_RECORD_FILE } from './vm-record.ts';
import type { SuspendedVm, VmWithAccelerator } from './vm.ts';

/** What a build has to leave free on this computer, so that other programs don't suffer. */
const MIN_MEMORY_LEFT_MIB = 512;
const MIN_DISK_LEFT_GIB = 2;

/**
 * Starts a VM that has no machine yet and suspends it, as a spare with these secrets. Leaves nothing behind if it
 * fails. Throws CANCELED if another command removes the spare in the meantime.
 */
export async function buildSpare(
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  secrets: string,
  call: DriverCall,
): Promise<void> {
  const { computer } = call;
  const { options } = target;
  const folder = buildFolder(computer, target.id);
  requireShortSocketPath(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  await using _lock = await takeLock(folder, `Machine "${target.name}"`);
  try {
    const seed = seedOf(guestIdentityOf(target, boot));
    const vm = await startAndSuspend(target, boot, seed, folder, call);
    const image = await ensureImage(options, call);
    const createdAt = new Date().toISOString();
    const spare = { vm, imageName: image.name, diskGb: options.disk, seedFiles: fileDigestsOf(seed), createdAt };
    await writeSpare(folder, spare, secrets);
    await publishSpare(folder, spareFolder(computer, target.id));
    await removeSurplusSpares(call);
  } catch (error) {
    const isCanceled = await isBuildCanceled(folder);
    await removeBuild(target.id, call);
    throw isCanceled ? spareRemovedError(error) : error;
  }
}

async function startAndSuspend(
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  seed: Seed,
  folder: string,
  call: DriverCall,
): Promise<VmWithAccelerator & SuspendedVm> {
  await writeSeedDisk(folder, seed.bytes);
  const vmToStart = await createVm(folder, target, boot, seed.id, call);
  await ensureRunning(vmToStart, target, folder, { ...call, endsWithMaker: true });
  const vm = await requireStartedVm(folder);
  await lowerQemuPriority(folder);
  const result = await waitForVmBoot(folder, vm, call);
  if (!result.ready) throw new SlipwayError('BOOT_FAILED', `The spare did not start: ${result.reason}`);
  call.log('Suspend it');
  const program = await requireProgramPath(qemuSystemProgram(vm.arch), call.computer);
  return await suspendVm({ ...vm, seedApplied: true }, folder, [{ do: 'sync' }, { do: 'drop' }], program, call);
}

/** Moves a finished build to where `create` finds it, without the files that only a running VM or a builder needs. */
async function publishSpare(folder: string, place: string): Promise<void> {
  for (const file of [VM_RECORD_FILE, VM_FILES.pid, VM_FILES.monitor, VM_FILES.port])
    await deleteFile(join(folder, file));
  await renamePath(folder, place);
  for (const file of await listFolderIfExists(place).catch(() => []))
    if (file.startsWith('lock.')) await deleteFile(join(place, file));
}

function spareRemovedError(cause?: unknown): SlipwayError {
  return new SlipwayError('CANCELED', 'The spare was removed while it was being created', { cause });
}

async function requireStartedVm(folder: string): Promise<VmWithAccelerator> {
  const vm = await readVm(folder);
  if (!vm?.accelerator) throw spareRemovedError();
  return { ...vm, accelerator: vm.accelerator };
}

/** Gives QEMU this process's low priority, which it does not inherit: it runs in a session of its own. */
async function lowerQemuPriority(folder: string): Promise<void> {
  const pid = Number(await readFileIfExists(join(folder, VM_FILES.pid)));
  if (getPriority() > 0 && Number.isInteger(pid) && pid > 1) await lowerPriority(pid);
}

/** Returns why no spare can or should be built now, as a sentence without its period; undefined if one can. */
export async function findBuildObstacle(
  { options }: Target<QemuOptions>,
  { computer }: DriverCall,
): Promise<string | undefined> {
  if (!canSuspend(computer)) return 'suspending VMs is not supported on this system';
  const freeMib = Math.floor(freemem() / 1024 ** 2);
  if (freeMib < options.memory + MIN_MEMORY_LEFT_MIB) return `this computer has ${freeMib} MB of memory left`;
  const folders = [sparesFolder(computer), join(computer.home, 'vms')];
  for (const folder of folders) await mkdir(folder, { recursive: true, mode: 0o700 });
  const [spares, vms] = await Promise.all(folders.map((folder) => stat(folder)));
  if (spares?.dev !== vms?.dev) return `${folders.join(' and ')} are on two disks`;
  const { bavail, bsize } = await statfs(sparesFolder(computer));
  const freeGib = (bavail * bsize) / GIB;
  if (freeGib < MIN_DISK_LEFT_GIB + options.memory / 1024)
    return `the disk of this computer has ${freeGib.toFixed(1)} GB left`;
  return undefined;
}
