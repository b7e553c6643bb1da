/**
 * Machines that were started ahead and suspended, for one create each. The layout:
 *
 *   ~/.slipway/spares/ID/           spare.json kept.json, and the files of a VM's folder that is suspended
 *                     .making-ID/   what somebody is making, or was when he was killed
 *                     .removed-ID/  what goes
 *                     .maker/       who makes one: one at a time (lock.ts)
 *                     last.log      what the last one that was made unasked had to say; gone, it is not wanted any more
 *
 * A create takes one by giving its folder the name of its own VM's: that can be done once, and by one of them.
 */
import { access, mkdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { freemem, getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listFolderIfExists, localFileError, readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { emptyTrash, moveToTrash } from '../../computer/trash.ts';
import { lowerPriority } from '../../computer/child-process.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, type Image } from '../../images/image.ts';
import { openImageStore } from '../../images/image-store.ts';
import { takeLock, waitForLock } from '../../computer/lock.ts';
import type { FirstBootConfig, DriverCall, SpareSummary as Shown, Target } from '../contract.ts';
import { VM_FILES, type Accelerator } from './command-line.ts';
import { ensureImage, parseImageOptions } from './vm-image.ts';
import { resolveAccelerator, waitForVmBoot, GIB, writeDiskImage, ensureRunning, createVm } from './launch.ts';
import type { QemuOptions } from './options.ts';
import { findFreePorts } from './free-ports.ts';
import { requireShortSocketPath, killProcess } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { fileDigestsOf, seedOf, type GuestIdentity } from './seed.ts';
import {
  canSuspend,
  readSnapshotFiles,
  hardwareDigest,
  readSnapshotHost,
  suspendVm,
  incompatibilityReason,
  type SnapshotFiles,
  type SnapshotHost,
} from './suspend.ts';
import { readVm, vmFolder, writeVm, type Vm } from './vm.ts';

/** `spare.json`; written last, so all else is there. */
export type SpareRecord = {
  readonly version: 1;
  readonly vm: Vm & { readonly accelerator: Accelerator; readonly suspended: NonNullable<Vm['suspended']> };
  /** By name; the digest is the VM's. */
  readonly image: string;
  /** GB. */
  readonly disk: number;
  /** What its seed laid, by path and SHA-256. */
  readonly born: Readonly<Record<string, string>>;
  readonly made: string;
};

/** What is asked of a spare. */
export type SpareRequirements = {
  readonly image: string;
  readonly digest: string;
  readonly cpus: number;
  readonly memory: number;
  readonly disk: number;
  readonly user: string;
  readonly accelerator: Accelerator;
};

/** What a computer has to have left beside a spare that is made, so that nothing else suffers for it. */
const MIN_MEMORY_LEFT_MIB = 512;
const MIN_DISK_LEFT_GIB = 2;

/** For a maker to notice that its QEMU is gone. */
const BUILDER_END_SECONDS = 30;

const KEPT_FILE = 'kept.json';
const RECORD_FILE = 'spare.json';
/** Tells the maker of a spare that its QEMU did not end by itself. */
const CANCELED_FILE = 'unwanted';

function sparesFolder({ home }: Computer): string {
  return join(home, 'spares');
}

/** Pure. Those of one kind that can go on here, oldest first, and those that can't any more, with the reason. */
export function partitionSpares(
  spares: readonly { readonly spare: SpareRecord; readonly files: SnapshotFiles }[],
  wish: SpareRequirements,
  now: { readonly present: SnapshotHost; readonly machineOf: (vm: SpareRecord['vm']) => string },
): {
  readonly fit: readonly SpareRecord[];
  readonly unfit: readonly { readonly spare: SpareRecord; readonly why: string }[];
} {
  const judged = spares
    .filter(({ spare }) => isMatchingSpare(spare, wish))
    .toSorted((left, right) => left.spare.made.localeCompare(right.spare.made))
    .map(({ spare, files }) => ({
      spare,
      why:
        spare.vm.image === wish.digest
          ? incompatibilityReason(spare.vm.suspended, now.machineOf(spare.vm), now.present, files)
          : 'its image was made anew since',
    }));
  return {
    fit: judged.filter(({ why }) => why === undefined).map(({ spare }) => spare),
    unfit: judged.flatMap(({ spare, why }) => (why === undefined ? [] : [{ spare, why }])),
  };
}

function isMatchingSpare({ image, disk, vm }: SpareRecord, wish: SpareRequirements): boolean {
  return (
    image === wish.image &&
    disk === wish.disk &&
    vm.cpus === wish.cpus &&
    vm.memory === wish.memory &&
    vm.user === wish.user &&
    vm.accelerator === wish.accelerator
  );
}

async function readSpare(folder: string): Promise<SpareRecord | undefined> {
  const text = await readFileIfExists(join(folder, RECORD_FILE)).catch(() => undefined);
  try {
    const spare = JSON.parse(text ?? 'null') as Partial<SpareRecord> | null;
    return spare?.version === 1 && spare.vm?.suspended ? (spare as SpareRecord) : undefined;
  } catch {
    // Nobody goes on with what can't be read; it is cleared away with the others.
    return undefined;
  }
}

async function readSpares(
  computer: Computer,
): Promise<readonly { readonly spare: SpareRecord; readonly files: SnapshotFiles }[]> {
  const ids = (await listFolderIfExists(sparesFolder(computer))).filter((entry) => !entry.startsWith('.'));
  const found = await Promise.all(
    ids.map(async (id) => {
      const folder = join(sparesFolder(computer), id);
      const [spare, files] = await Promise.all([readSpare(folder), readSnapshotFiles(folder).catch(() => undefined)]);
      return spare && files && { spare, files };
    }),
  );
  return found.filter((one) => one !== undefined);
}

async function resolveRequirements(
  { options: given }: Target<QemuOptions>,
  image: Image,
  call: DriverCall,
): Promise<SpareRequirements> {
  const imageFolder = openImageStore(call.computer.home).paths(image).folder;
  const accelerator = await resolveAccelerator(given.accelerator, image, { imageFolder, taken: true }, call);
  const { cpus, memory, disk, sshUser: user } = given;
  return { image: image.name, digest: image.digest, cpus, memory, disk, user, accelerator };
}

async function findSparesFor(
  target: Target<QemuOptions>,
  call: DriverCall,
): Promise<ReturnType<typeof partitionSpares>> {
  const { computer } = call;
  const spares = await readSpares(computer);
  if (spares.length === 0) return { fit: [], unfit: [] };
  const image = await ensureImage(parseImageOptions(target.options), call);
  const wish = await resolveRequirements(target, image, call);
  const program = await requireProgramPath(qemuSystemProgram(archOf(computer)), computer);
  return partitionSpares(spares, wish, {
    present: await readSnapshotHost(program, wish.accelerator),
    machineOf: hardwareDigest,
  });
}

/** What was kept with the spare whose folder is this machine's from now on; undefined where none is ready. */
export async function takeSpare(target: Target<QemuOptions>, call: DriverCall): Promise<string | undefined> {
  const { computer, note } = call;
  const folder = vmFolder(computer, target.id);
  const taken = await readFileIfExists(join(folder, KEPT_FILE));
  if (taken !== undefined) return taken;
  if (!target.options.warm || !canSuspend(computer) || (await canAccess(folder))) return undefined;
  const { fit, unfit } = await findSparesFor(target, call);
  for (const { spare, why } of unfit) {
    note(`A spare machine can't go on, and is removed: ${why}`);
    await removeSpareFolder(spare.vm.id, computer);
  }
  await mkdir(join(computer.home, 'vms'), { recursive: true, mode: 0o700 });
  for (const spare of fit)
    if (await tryClaimSpare(spare, folder, call)) return await readFileIfExists(join(folder, KEPT_FILE));
  note(`No spare machine is ready for ${target.name}, so it starts cold`);
  return undefined;
}

async function tryClaimSpare({ vm, image }: SpareRecord, folder: string, call: DriverCall): Promise<boolean> {
  const { computer } = call;
  // Held by who removes the image, too, and looks for its users in both places.
  await using _lock = await openImageStore(computer.home).lock(image, call);
  try {
    await rename(join(sparesFolder(computer), vm.id), folder);
    return true;
  } catch (error) {
    // Another create was faster; or VMs lie on another disk now, and it would have to be copied.
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EXDEV') return false;
    throw localFileError(folder, error);
  }
}

/** The VM that a spare becomes, from the moment at which its folder is this machine's; undefined where it is none. */
export async function convertSpareToVm(
  folder: string,
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  call: DriverCall,
): Promise<Vm | undefined> {
  const spare = await readSpare(folder);
  if (!spare) return undefined;
  const { computer } = call;
  const chosen = [target.options.sshPort, target.options.enginePort].filter((port) => port !== undefined);
  const [ssh = 0, engine = 0] = await findFreePorts(target.id, 2, chosen, computer);
  const { records: _of, ...made } = spare.vm;
  const vm: Vm = {
    ...made,
    id: target.id,
    name: target.name,
    ...(computer.storeHome === undefined ? {} : { records: computer.storeHome }),
    ports: { ssh: target.options.sshPort ?? ssh, engine: target.options.enginePort ?? engine },
    enginePort: boot.enginePort,
    born: spare.born,
  };
  await writeVm(folder, vm);
  await rm(join(folder, RECORD_FILE), { force: true });
  return vm;
}

/** The keys that were kept with it are where they belong. */
export async function deleteKeptFile(folder: string): Promise<void> {
  await rm(join(folder, KEPT_FILE), { force: true });
}

/** Starts a machine that is none yet and suspends it. What is begun is gone when this ends otherwise. */
export async function buildSpare(
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  kept: string,
  call: DriverCall,
): Promise<void> {
  const { computer, log } = call;
  const { options: given } = target;
  const folder = join(sparesFolder(computer), `.making-${target.id}`);
  requireShortSocketPath(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  await using _lock = await takeLock(folder, target.name);
  try {
    const seed = seedOf(identityOf(target, boot));
    await writeDiskImage(join(folder, VM_FILES.seed), seed.bytes);
    await ensureRunning(await createVm(folder, target, boot, seed.id, call), target, folder, call);
    const vm = await requireStartedVm(folder);
    await lowerQemuPriority(folder);
    const word = await waitForVmBoot(folder, vm, call);
    if (!word.ready) throw new SlipwayError('BOOT_FAILED', `The spare did not start: ${word.reason}`);
    log('Suspend it');
    const started = { ...vm, taken: true };
    const program = await requireProgramPath(qemuSystemProgram(archOf(computer)), computer);
    const suspended = await suspendVm(started, folder, [{ do: 'sync' }, { do: 'drop' }], program, call);
    const image = await ensureImage(parseImageOptions(given), call);
    const spare = {
      version: 1,
      vm: suspended,
      image: image.name,
      disk: given.disk,
      born: fileDigestsOf(seed),
      made: new Date().toISOString(),
    };
    await writeFileAtomic(join(folder, KEPT_FILE), kept, 0o600);
    await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(spare, null, 2)}\n`, 0o600);
    for (const file of ['vm.json', VM_FILES.pid, VM_FILES.monitor, VM_FILES.port])
      await rm(join(folder, file), { force: true });
    const place = join(sparesFolder(computer), target.id);
    await rename(folder, place);
    for (const file of await listFolderIfExists(place).catch(() => []))
      if (file.startsWith('lock.')) await rm(join(place, file), { force: true });
  } catch (error) {
    const unwanted = (await canAccess(join(folder, CANCELED_FILE))) || !(await canAccess(folder));
    await cancelBuild(target.id, call);
    throw unwanted ? spareRemovedError(error) : error;
  }
}

function spareRemovedError(cause?: unknown): SlipwayError {
  return new SlipwayError('CANCELED', 'The spare was removed while it was made', { cause });
}

async function requireStartedVm(folder: string): Promise<Vm & { readonly accelerator: Accelerator }> {
  const vm = await readVm(folder);
  if (!vm?.accelerator) throw spareRemovedError();
  return { ...vm, accelerator: vm.accelerator };
}

/** QEMU, in a session of its own, does not have the priority of who started it. */
async function lowerQemuPriority(folder: string): Promise<void> {
  const pid = Number(await readFileIfExists(join(folder, VM_FILES.pid)));
  if (getPriority() > 0 && Number.isInteger(pid) && pid > 1) await lowerPriority(pid);
}

export function identityOf({ id, name, options }: Target<QemuOptions>, boot: FirstBootConfig): GuestIdentity {
  return { id, name, user: options.sshUser, boot };
}

async function cancelBuild(id: string, call: DriverCall): Promise<void> {
  await killBuildVm(id, call);
  await removeSpareFolder(`.making-${id}`, call.computer);
}

async function killBuildVm(id: string, call: DriverCall): Promise<void> {
  const folder = join(sparesFolder(call.computer), `.making-${id}`);
  // On a full disk its maker says less; the room is what counts.
  await writeFile(join(folder, CANCELED_FILE), '').catch(() => {});
  await killProcess(folder, { id, name: 'the spare' }, call);
}

/** Held by who makes spares: one at a time, since a start takes all that a computer has. */
export async function acquireBuilderLock(call: DriverCall): Promise<AsyncDisposable> {
  const folder = join(sparesFolder(call.computer), '.maker');
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  const lock = await waitForLock(folder, 'spare machines', { signal: call.signal, waiting: call.note });
  await cleanUpBuilds(call);
  await removeUnusableSpares(call);
  return lock;
}

/** How many are ready for such a machine; those that can't go on any more are none. */
export async function countReadySpares(target: Target<QemuOptions>, call: DriverCall): Promise<number> {
  return (await findSparesFor(target, call)).fit.length;
}

/** Why none can or should be made now; undefined where it may. */
export async function findBuildObstacle(
  { options: given }: Target<QemuOptions>,
  { computer }: DriverCall,
): Promise<string | undefined> {
  if (!canSuspend(computer)) return "memory of VMs can't be kept on this system";
  const free = Math.floor(freemem() / 1024 ** 2);
  if (free < given.memory + MIN_MEMORY_LEFT_MIB) return `this computer has ${free} MB of memory left`;
  const folders = [sparesFolder(computer), join(computer.home, 'vms')];
  for (const folder of folders) await mkdir(folder, { recursive: true, mode: 0o700 });
  const [spares, vms] = await Promise.all(folders.map((folder) => stat(folder)));
  if (spares?.dev !== vms?.dev) return `${folders.join(' and ')} are on two disks`;
  const { bavail, bsize } = await statfs(sparesFolder(computer));
  const room = (bavail * bsize) / GIB;
  if (room < MIN_DISK_LEFT_GIB + given.memory / 1024) return `this computer's disk has ${room.toFixed(1)} GB left`;
  return undefined;
}

/** Whether somebody is at work on one, of whatever kind. */
export async function isBuilding(computer: Computer): Promise<boolean> {
  return (await listFolderIfExists(sparesFolder(computer))).some((entry) => entry.startsWith('.making-'));
}

export async function listSpares(computer: Computer): Promise<readonly Shown[]> {
  return await Promise.all(
    (await readSpares(computer)).map(async ({ spare }) => {
      const { cpus, memory, image, id } = spare.vm;
      const bytes = await readAllocatedBytes(join(sparesFolder(computer), id));
      return { id, image, bytes, made: spare.made, cpus, memory, disk: spare.disk };
    }),
  );
}

async function readAllocatedBytes(folder: string): Promise<number> {
  const sizes = await Promise.all(
    (await listFolderIfExists(folder).catch(() => [])).map(
      async (file) => (await stat(join(folder, file)).catch(() => undefined))?.blocks,
    ),
  );
  return sizes.reduce<number>((sum, blocks) => sum + (blocks ?? 0) * 512, 0);
}

/** Removes those of this image, or all: also what is being made, and what was when its maker was killed. */
export async function pruneSpares(digest: string | undefined, call: DriverCall): Promise<readonly Shown[]> {
  const { computer } = call;
  // First the wish for another: a maker who has not begun looks for it under the lock.
  if (digest === undefined) await rm(join(sparesFolder(computer), 'last.log'), { force: true });
  await using _lock = await stopBuilders(digest, call);
  const shown = (await listSpares(computer)).filter(({ image }) => digest === undefined || image.startsWith(digest));
  for (const { id } of shown) await removeSpareFolder(id, computer);
  if (digest !== undefined) return shown;
  await emptyTrash(sparesFolder(computer));
  for (const entry of await listFolderIfExists(sparesFolder(computer)))
    if (!entry.startsWith('.')) await removeSpareFolder(entry, computer);
  return shown;
}

/**
 * Ends what makes spares of this image, or all, and returns once nobody is at it any more: who is about to start a QEMU, or has just done
 * so, notices later than he is told. What is returned keeps others from beginning.
 */
async function stopBuilders(digest: string | undefined, call: DriverCall): Promise<AsyncDisposable | undefined> {
  const { computer, signal } = call;
  const end = performance.now() + BUILDER_END_SECONDS * 1000;
  for (;;) {
    const found = await listBuilds(digest, computer);
    for (const { id } of found) await killBuildVm(id, call);
    try {
      for (const { id, entry } of found) await cleanUpBuild(entry, id, call);
      const some = digest === undefined && (await listFolderIfExists(sparesFolder(computer))).includes('.maker');
      const lock = some ? await takeLock(join(sparesFolder(computer), '.maker'), 'spare machines') : undefined;
      if ((await listBuilds(digest, computer)).length === 0) return lock;
      await lock?.[Symbol.asyncDispose]();
    } catch (error) {
      if (!isBusyError(error) || performance.now() > end) throw error;
    }
    await sleep(100, undefined, { signal }).catch(() => {
      throw canceledError();
    });
  }
}

async function listBuilds(
  digest: string | undefined,
  computer: Computer,
): Promise<readonly { readonly id: string; readonly entry: string }[]> {
  const found = [];
  for (const entry of await listFolderIfExists(sparesFolder(computer))) {
    const id = /^\.making-(.+)$/.exec(entry)?.[1];
    if (id === undefined) continue;
    if (digest === undefined || (await canBeOfImage(digest, join(sparesFolder(computer), entry))))
      found.push({ id, entry });
  }
  return found;
}

/** One whose vm.json can't be read may be of any image. */
async function canBeOfImage(digest: string, folder: string): Promise<boolean> {
  try {
    return (await readVm(folder))?.image.startsWith(digest) ?? false;
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return true;
    throw error;
  }
}

function isBusyError(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'MACHINE_BUSY';
}

/** What nobody will take any more, of whatever kind: their QEMU or their image has changed. */
async function removeUnusableSpares({ computer }: DriverCall): Promise<void> {
  const program = await requireProgramPath(qemuSystemProgram(archOf(computer)), computer);
  const images = (await openImageStore(computer.home).list()).map(({ key }) => key.digest);
  for (const { spare, files } of await readSpares(computer)) {
    const { id, image, suspended, accelerator } = spare.vm;
    const why = incompatibilityReason(
      suspended,
      hardwareDigest(spare.vm),
      await readSnapshotHost(program, accelerator),
      files,
    );
    if (why !== undefined || !images.some((digest) => image.startsWith(digest))) await removeSpareFolder(id, computer);
  }
}

/** What killed makers left: their machines run on until somebody ends them. */
export async function cleanUpBuilds(call: DriverCall): Promise<void> {
  const { computer } = call;
  await emptyTrash(sparesFolder(computer));
  for (const { id, entry } of await listBuilds(undefined, computer))
    await cleanUpBuild(entry, id, call).catch((error: unknown) => {
      // Its maker lives.
      if (!isBusyError(error)) throw error;
    });
}

/** Clears away what a killed maker left; `MACHINE_BUSY` while he lives. */
async function cleanUpBuild(entry: string, id: string, call: DriverCall): Promise<void> {
  try {
    await using _lock = await takeLock(join(sparesFolder(call.computer), entry), 'a spare');
    await cancelBuild(id, call);
  } catch (error) {
    // It has just gone.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

async function removeSpareFolder(id: string, computer: Computer): Promise<void> {
  await moveToTrash(join(sparesFolder(computer), id));
  await emptyTrash(sparesFolder(computer));
}

async function canAccess(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
