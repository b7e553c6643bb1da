import { mkdir } from 'node:fs/promises';
import { deleteFolder, localFileError } from '../../computer/files.ts';
import { shortDigest } from '../../images/image.ts';
import type { CreateResult, DriverCall, FirstBootConfig, Target } from '../contract.ts';
import { hasBootFailed } from './boot.ts';
import { createVm } from './create-vm.ts';
import { writeSeedDisk } from './disk.ts';
import { giveUpVm } from './end-vm.ts';
import { ensureRunning } from './ensure-running.ts';
import type { QemuOptions } from './options.ts';
import { getRunState } from './qemu-process.ts';
import { diffSeedFiles, guestIdentityOf, seedOf, type Seed } from './seed.ts';
import { deleteSecrets } from './spare-store.ts';
import { convertSpareToVm } from './take-spare.ts';
import { ensureImage } from './vm-image.ts';
import { readVm, writeVm } from './vm-record.ts';
import { vmFolder, type Vm } from './vm.ts';

/**
 * Starts a machine's VM: a spare that the machine has taken, the one of an interrupted create, or a new one. Replaces a
 * VM that can't become this machine, with a note that says why.
 */
export async function create(
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  call: DriverCall,
): Promise<CreateResult> {
  const folder = vmFolder(call.computer, target.id);
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  const seed = seedOf(guestIdentityOf(target, boot));
  const existing = (await readVm(folder)) ?? (await convertSpareToVm(folder, target, boot, call));
  if (existing) {
    const outcome = await continueWith(existing, seed, target, boot, folder, call);
    if (typeof outcome !== 'string') return outcome;
    await discardVm(existing, outcome, folder, call);
  }
  await writeSeedDisk(folder, seed.bytes);
  await ensureRunning(await createVm(folder, target, boot, seed.id, call), target, folder, call);
  return { bootApplied: true };
}

/** Turns an existing VM into this machine's, and starts it. Returns the reason if it can't become this machine. */
async function continueWith(
  vm: Vm,
  seed: Seed,
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  folder: string,
  call: DriverCall,
): Promise<CreateResult | string> {
  const obstacle = await findObstacle(vm, target, call);
  if (obstacle !== undefined) return obstacle;
  if (vm.spareFiles) return await resumeSpare(vm, vm.spareFiles, seed, target, folder, call);
  // A boot result stays on the console, so a VM whose boot failed needs another start.
  if (await hasBootFailed(folder)) await giveUpVm('replace', vm, folder, call);
  if (vm.seedApplied) {
    await ensureRunning(vm, target, folder, call);
    return { bootApplied: vm.seedId === seed.id };
  }
  if (vm.seedId === seed.id && (await getRunState(folder, vm, call)) === 'running') return { bootApplied: true };
  // The guest has not applied a seed yet, so it can start with the one of this create.
  await giveUpVm('replace', vm, folder, call);
  await writeSeedDisk(folder, seed.bytes);
  const updated = { ...vm, seedId: seed.id, user: target.options.sshUser, enginePort: boot.enginePort };
  await writeVm(folder, updated);
  await ensureRunning(updated, target, folder, call);
  return { bootApplied: true };
}

async function findObstacle(vm: Vm, { options }: Target<QemuOptions>, call: DriverCall): Promise<string | undefined> {
  const image = await ensureImage(options, call);
  if (vm.imageDigest !== image.digest)
    return `its options now specify the image ${image.name} (${shortDigest(image.digest)})`;
  // A VM that has started has its user; any other gets the one of its seed.
  const hasUser = vm.seedApplied || vm.spareFiles !== undefined;
  if (hasUser && vm.user !== options.sshUser) return `its options now specify the user ${options.sshUser}`;
  return undefined;
}

/**
 * Resumes a spare as this machine. `waitUntilBooted` then sends it its name and files. Returns the reason if it can't
 * resume.
 */
async function resumeSpare(
  vm: Vm,
  spareFiles: NonNullable<Vm['spareFiles']>,
  seed: Seed,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<CreateResult | string> {
  const { liveFiles, isSufficient } = diffSeedFiles(seed, spareFiles);
  const pendingCommands = [
    { do: 'name', name: target.name } as const,
    ...liveFiles.map(({ path, content }) => ({ do: 'file', path, content }) as const),
  ];
  const claimed = { ...vm, pendingCommands, ...(isSufficient ? { seedId: seed.id } : {}) };
  const reason = await ensureRunning(claimed, target, folder, call);
  if (reason !== undefined) return reason;
  await deleteSecrets(folder);
  return { bootApplied: isSufficient, resumed: true };
}

async function discardVm(vm: Vm, reason: string, folder: string, call: DriverCall): Promise<void> {
  call.note(
    vm.spareFiles
      ? `The spare for "${vm.name}" can't be used, so it starts cold: ${reason}`
      : `The incomplete VM of "${vm.name}" is replaced: ${reason}`,
  );
  await giveUpVm('replace', vm, folder, call);
  await deleteFolder(folder);
  await mkdir(folder, { mode: 0o700 });
}
