import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { localFileError, renamePath } from '../../computer/files.ts';
import { systemCode } from '../../errors.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall, FirstBootConfig, Target } from '../contract.ts';
import { findSparesFor } from './match-spares.ts';
import type { QemuOptions } from './options.ts';
import { choosePorts } from './ports.ts';
import { canSuspend } from './snapshot.ts';
import {
  deleteSpareRecord,
  pathExists,
  readSecrets,
  readSpare,
  removeSpareFolder,
  spareFolder,
  type Spare,
} from './spare-store.ts';
import { writeVm } from './vm-record.ts';
import { vmFolder, type Vm } from './vm.ts';

/**
 * Assigns a ready spare to this machine permanently, by renaming its folder to that of the machine's VM. Returns the
 * secrets saved with the spare, and again on each retry until `create` ends; undefined if no spare is ready, or the
 * target wants none.
 */
export async function takeSpare(target: Target<QemuOptions>, call: DriverCall): Promise<string | undefined> {
  const { computer, note } = call;
  const folder = vmFolder(computer, target.id);
  const takenBefore = await readSecrets(folder);
  if (takenBefore !== undefined) return takenBefore;
  if (!target.options.warm || !canSuspend(computer) || (await pathExists(folder))) return undefined;
  const { usable, unusable } = await findSparesFor(target, call);
  for (const { spare, reason } of unusable) {
    note(`Removed a spare that can't be resumed: ${reason}`);
    await removeSpareFolder(spare.vm.id, computer);
  }
  await mkdir(join(computer.home, 'vms'), { recursive: true, mode: 0o700 });
  for (const spare of usable) if (await tryTakeSpare(spare, folder, call)) return await readSecrets(folder);
  note(`No spare is ready for "${target.name}", so it starts cold`);
  return undefined;
}

async function tryTakeSpare({ vm, imageName }: Spare, folder: string, call: DriverCall): Promise<boolean> {
  const { computer } = call;
  // A removal of the image holds this lock too, and looks for the image's users in both places.
  await using _lock = await openImageStore(computer.home).lock({ name: imageName, arch: vm.arch }, call);
  try {
    await renamePath(spareFolder(computer, vm.id), folder);
    return true;
  } catch (error) {
    // ENOENT: another create was faster. EXDEV: VMs are on another disk now, so the spare would have to be copied.
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EXDEV') return false;
    throw localFileError(folder, error);
  }
}

/**
 * Turns the spare in a machine's folder into the machine's VM, which the caller has to resume. Returns undefined if
 * there is none.
 */
export async function convertSpareToVm(
  folder: string,
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  { computer }: DriverCall,
): Promise<Vm | undefined> {
  const spare = await readSpare(folder);
  if (!spare) return undefined;
  const { ports } = await choosePorts(target.id, target.options, computer);
  const { storeHome: _storeOfBuilder, ...rest } = spare.vm;
  const vm: Vm = {
    ...rest,
    id: target.id,
    name: target.name,
    ...(computer.storeHome === undefined ? {} : { storeHome: computer.storeHome }),
    ports,
    enginePort: boot.enginePort,
    spareFiles: spare.seedFiles,
  };
  await writeVm(folder, vm);
  await deleteSpareRecord(folder);
  return vm;
}
