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
import { access, mkdir, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { freemem, getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readIfThere, writeWhole } from '../../computer/files.ts';
import { giveWay } from '../../computer/child-process.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceled, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, type Image } from '../../images/image.ts';
import { openImages } from '../../images/store.ts';
import { takeLock, waitForLock } from '../../computer/lock.ts';
import type { Boot, Call, Spare as Shown, Target } from '../contract.ts';
import { FILES, type Accelerator } from './command-line.ts';
import { ensureImage, imageRequest } from './image.ts';
import { accelerationFor, firstWord, GIB, laid, launch, makeVm } from './launch.ts';
import type { Options } from './options.ts';
import { freePorts } from './ports.ts';
import { checkFolder, killProcess } from './process.ts';
import { programPath, systemEmulator } from './programs.ts';
import { digestsOf, seedOf, type Identity } from './seed.ts';
import {
  canSuspend,
  filesIn,
  machineDigest,
  presentOf,
  suspendVm,
  whyUnfit,
  type Files,
  type Present,
} from './snapshot.ts';
import { readVm, vmFolder, writeVm, type Vm } from './vm.ts';

/** `spare.json`; written last, so all else is there. */
export type Spare = {
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
export type Wish = {
  readonly image: string;
  readonly digest: string;
  readonly cpus: number;
  readonly memory: number;
  readonly disk: number;
  readonly user: string;
  readonly accelerator: Accelerator;
};

/** What a computer has to have left beside a spare that is made, so that nothing else suffers for it. */
const MEMORY_LEFT_MIB = 512;
const DISK_LEFT_GIB = 2;

/** For a maker to notice that its QEMU is gone. */
const END_SECONDS = 30;

const KEPT = 'kept.json';
const ABOUT = 'spare.json';
/** Tells the maker of a spare that its QEMU did not end by itself. */
const UNWANTED = 'unwanted';

function root({ home }: Computer): string {
  return join(home, 'spares');
}

/** Pure. Those of one kind that can go on here, oldest first, and those that can't any more, with the reason. */
export function sorted(
  spares: readonly { readonly spare: Spare; readonly files: Files }[],
  wish: Wish,
  now: { readonly present: Present; readonly machineOf: (vm: Spare['vm']) => string },
): { readonly fit: readonly Spare[]; readonly unfit: readonly { readonly spare: Spare; readonly why: string }[] } {
  const judged = spares
    .filter(({ spare }) => isOfKind(spare, wish))
    .toSorted((left, right) => left.spare.made.localeCompare(right.spare.made))
    .map(({ spare, files }) => ({
      spare,
      why:
        spare.vm.image === wish.digest
          ? whyUnfit(spare.vm.suspended, now.machineOf(spare.vm), now.present, files)
          : 'its image was made anew since',
    }));
  return {
    fit: judged.filter(({ why }) => why === undefined).map(({ spare }) => spare),
    unfit: judged.flatMap(({ spare, why }) => (why === undefined ? [] : [{ spare, why }])),
  };
}

function isOfKind({ image, disk, vm }: Spare, wish: Wish): boolean {
  return (
    image === wish.image &&
    disk === wish.disk &&
    vm.cpus === wish.cpus &&
    vm.memory === wish.memory &&
    vm.user === wish.user &&
    vm.accelerator === wish.accelerator
  );
}

async function readSpare(folder: string): Promise<Spare | undefined> {
  const text = await readIfThere(join(folder, ABOUT)).catch(() => undefined);
  try {
    const spare = JSON.parse(text ?? 'null') as Partial<Spare> | null;
    return spare?.version === 1 && spare.vm?.suspended ? (spare as Spare) : undefined;
  } catch {
    // Nobody goes on with what can't be read; it is cleared away with the others.
    return undefined;
  }
}

async function entries(computer: Computer): Promise<readonly string[]> {
  return await readdir(root(computer)).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw localFileError(root(computer), error);
  });
}

async function all(computer: Computer): Promise<readonly { readonly spare: Spare; readonly files: Files }[]> {
  const ids = (await entries(computer)).filter((entry) => !entry.startsWith('.'));
  const found = await Promise.all(
    ids.map(async (id) => {
      const folder = join(root(computer), id);
      const [spare, files] = await Promise.all([readSpare(folder), filesIn(folder).catch(() => undefined)]);
      return spare && files && { spare, files };
    }),
  );
  return found.filter((one) => one !== undefined);
}

async function wishOf({ options: given }: Target<Options>, image: Image, call: Call): Promise<Wish> {
  const imageFolder = openImages(call.computer.home).paths(image).folder;
  const accelerator = await accelerationFor(given.accelerator, image, { imageFolder, taken: true }, call);
  const { cpus, memory, disk, sshUser: user } = given;
  return { image: image.name, digest: image.digest, cpus, memory, disk, user, accelerator };
}

async function sortedFor(target: Target<Options>, call: Call): Promise<ReturnType<typeof sorted>> {
  const { computer } = call;
  const spares = await all(computer);
  if (spares.length === 0) return { fit: [], unfit: [] };
  const image = await ensureImage(imageRequest(target.options), call);
  const wish = await wishOf(target, image, call);
  const program = await programPath(systemEmulator(archOf(computer)), computer);
  return sorted(spares, wish, { present: await presentOf(program, wish.accelerator), machineOf: machineDigest });
}

/** What was kept with the spare whose folder is this machine's from now on; undefined where none is ready. */
export async function takeSpare(target: Target<Options>, call: Call): Promise<string | undefined> {
  const { computer, note } = call;
  const folder = vmFolder(computer, target.id);
  const taken = await readIfThere(join(folder, KEPT));
  if (taken !== undefined) return taken;
  if (!target.options.warm || !canSuspend(computer) || (await isThere(folder))) return undefined;
  const { fit, unfit } = await sortedFor(target, call);
  for (const { spare, why } of unfit) {
    note(`A spare machine can’t go on, and is removed: ${why}`);
    await bury(spare.vm.id, computer);
  }
  await mkdir(join(computer.home, 'vms'), { recursive: true, mode: 0o700 });
  for (const spare of fit) if (await renamed(spare, folder, call)) return await readIfThere(join(folder, KEPT));
  note(`No spare machine is ready for ${target.name}, so it starts cold`);
  return undefined;
}

async function renamed({ vm, image }: Spare, folder: string, call: Call): Promise<boolean> {
  const { computer } = call;
  // Held by who removes the image, too, and looks for its users in both places.
  await using _lock = await openImages(computer.home).lock(image, call);
  try {
    await rename(join(root(computer), vm.id), folder);
    return true;
  } catch (error) {
    // Another create was faster; or VMs lie on another disk now, and it would have to be copied.
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EXDEV') return false;
    throw localFileError(folder, error);
  }
}

/** The VM that a spare becomes, from the moment at which its folder is this machine's; undefined where it is none. */
export async function asMachine(
  folder: string,
  target: Target<Options>,
  boot: Boot,
  call: Call,
): Promise<Vm | undefined> {
  const spare = await readSpare(folder);
  if (!spare) return undefined;
  const { computer } = call;
  const chosen = [target.options.sshPort, target.options.enginePort].filter((port) => port !== undefined);
  const [ssh = 0, engine = 0] = await freePorts(target.id, 2, chosen, computer);
  const { records: _of, ...made } = spare.vm;
  const vm: Vm = {
    ...made,
    id: target.id,
    name: target.name,
    ...(computer.records === undefined ? {} : { records: computer.records }),
    ports: { ssh: target.options.sshPort ?? ssh, engine: target.options.enginePort ?? engine },
    enginePort: boot.enginePort,
    born: spare.born,
  };
  await writeVm(folder, vm);
  await rm(join(folder, ABOUT), { force: true });
  return vm;
}

/** The keys that were kept with it are where they belong. */
export async function forgetKept(folder: string): Promise<void> {
  await rm(join(folder, KEPT), { force: true });
}

/** Starts a machine that is none yet and suspends it. What is begun is gone when this ends otherwise. */
export async function makeSpare(target: Target<Options>, boot: Boot, kept: string, call: Call): Promise<void> {
  const { computer, log } = call;
  const { options: given } = target;
  const folder = join(root(computer), `.making-${target.id}`);
  checkFolder(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  await using _lock = await takeLock(folder, target.name);
  try {
    const seed = seedOf(identityOf(target, boot));
    await laid(join(folder, FILES.seed), seed.bytes);
    await launch(await makeVm(folder, target, boot, seed.id, call), target, folder, call);
    const vm = await vmIn(folder);
    await giveWayAsWell(folder);
    const word = await firstWord(folder, vm, call);
    if (!word.ready) throw new SlipwayError('BOOT_FAILED', `The spare did not start: ${word.reason}`);
    log('Suspend it');
    const started = { ...vm, taken: true };
    const program = await programPath(systemEmulator(archOf(computer)), computer);
    const suspended = await suspendVm(started, folder, [{ do: 'sync' }, { do: 'drop' }], program, call);
    const image = await ensureImage(imageRequest(given), call);
    const spare = {
      version: 1,
      vm: suspended,
      image: image.name,
      disk: given.disk,
      born: digestsOf(seed),
      made: new Date().toISOString(),
    };
    await writeWhole(join(folder, KEPT), kept, 0o600);
    await writeWhole(join(folder, ABOUT), `${JSON.stringify(spare, null, 2)}\n`, 0o600);
    for (const file of ['vm.json', FILES.pid, FILES.monitor, FILES.port]) await rm(join(folder, file), { force: true });
    const place = join(root(computer), target.id);
    await rename(folder, place);
    for (const file of await readdir(place).catch(() => []))
      if (file.startsWith('lock.')) await rm(join(place, file), { force: true });
  } catch (error) {
    const unwanted = (await isThere(join(folder, UNWANTED))) || !(await isThere(folder));
    await endMaking(target.id, call);
    throw unwanted ? removedWhileMade(error) : error;
  }
}

function removedWhileMade(cause?: unknown): SlipwayError {
  return new SlipwayError('CANCELED', 'The spare was removed while it was made', { cause });
}

async function vmIn(folder: string): Promise<Vm & { readonly accelerator: Accelerator }> {
  const vm = await readVm(folder);
  if (!vm?.accelerator) throw removedWhileMade();
  return { ...vm, accelerator: vm.accelerator };
}

/** QEMU, in a session of its own, does not have the priority of who started it. */
async function giveWayAsWell(folder: string): Promise<void> {
  const pid = Number(await readIfThere(join(folder, FILES.pid)));
  if (getPriority() > 0 && Number.isInteger(pid) && pid > 1) await giveWay(pid);
}

export function identityOf({ id, name, options }: Target<Options>, boot: Boot): Identity {
  return { id, name, user: options.sshUser, boot };
}

async function endMaking(id: string, call: Call): Promise<void> {
  await endQemu(id, call);
  await bury(`.making-${id}`, call.computer);
}

async function endQemu(id: string, call: Call): Promise<void> {
  const folder = join(root(call.computer), `.making-${id}`);
  // On a full disk its maker says less; the room is what counts.
  await writeFile(join(folder, UNWANTED), '').catch(() => {});
  await killProcess(folder, { id, name: 'the spare' }, call);
}

/** Held by who makes spares: one at a time, since a start takes all that a computer has. */
export async function makersLock(call: Call): Promise<AsyncDisposable> {
  const folder = join(root(call.computer), '.maker');
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localFileError(folder, error);
  });
  const lock = await waitForLock(folder, 'spare machines', { signal: call.signal, waiting: call.note });
  await sweep(call);
  await buryLost(call);
  return lock;
}

/** How many are ready for such a machine; those that can't go on any more are none. */
export async function readySpares(target: Target<Options>, call: Call): Promise<number> {
  return (await sortedFor(target, call)).fit.length;
}

/** Why none can or should be made now; undefined where it may. */
export async function whyNone({ options: given }: Target<Options>, { computer }: Call): Promise<string | undefined> {
  if (!canSuspend(computer)) return 'memory of VMs can’t be kept on this system';
  const free = Math.floor(freemem() / 1024 ** 2);
  if (free < given.memory + MEMORY_LEFT_MIB) return `this computer has ${free} MB of memory left`;
  const folders = [root(computer), join(computer.home, 'vms')];
  for (const folder of folders) await mkdir(folder, { recursive: true, mode: 0o700 });
  const [spares, vms] = await Promise.all(folders.map((folder) => stat(folder)));
  if (spares?.dev !== vms?.dev) return `${folders.join(' and ')} are on two disks`;
  const { bavail, bsize } = await statfs(root(computer));
  const room = (bavail * bsize) / GIB;
  if (room < DISK_LEFT_GIB + given.memory / 1024) return `this computer’s disk has ${room.toFixed(1)} GB left`;
  return undefined;
}

/** Whether somebody is at work on one, of whatever kind. */
export async function areMade(computer: Computer): Promise<boolean> {
  return (await entries(computer)).some((entry) => entry.startsWith('.making-'));
}

export async function listSpares(computer: Computer): Promise<readonly Shown[]> {
  return await Promise.all(
    (await all(computer)).map(async ({ spare }) => {
      const { cpus, memory, image, id } = spare.vm;
      const bytes = await allocated(join(root(computer), id));
      return { id, image, bytes, made: spare.made, cpus, memory, disk: spare.disk };
    }),
  );
}

async function allocated(folder: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(folder).catch(() => [])).map(
      async (file) => (await stat(join(folder, file)).catch(() => undefined))?.blocks,
    ),
  );
  return sizes.reduce<number>((sum, blocks) => sum + (blocks ?? 0) * 512, 0);
}

/** Removes those of this image, or all: also what is being made, and what was when its maker was killed. */
export async function pruneSpares(digest: string | undefined, call: Call): Promise<readonly Shown[]> {
  const { computer } = call;
  // First the wish for another: a maker who has not begun looks for it under the lock.
  if (digest === undefined) await rm(join(root(computer), 'last.log'), { force: true });
  await using _lock = await makersEnded(digest, call);
  const shown = (await listSpares(computer)).filter(({ image }) => digest === undefined || image.startsWith(digest));
  for (const { id } of shown) await bury(id, computer);
  if (digest !== undefined) return shown;
  await clearGraves(computer);
  for (const entry of await entries(computer)) if (!entry.startsWith('.')) await bury(entry, computer);
  return shown;
}

/**
 * Ends what makes spares of this image, or all, and returns once nobody is at it any more: who is about to start a QEMU, or has just done
 * so, notices later than he is told. What is returned keeps others from beginning.
 */
async function makersEnded(digest: string | undefined, call: Call): Promise<AsyncDisposable | undefined> {
  const { computer, signal } = call;
  const end = performance.now() + END_SECONDS * 1000;
  for (;;) {
    const found = await makings(digest, computer);
    for (const { id } of found) await endQemu(id, call);
    try {
      for (const { id, entry } of found) await endOfDead(entry, id, call);
      const some = digest === undefined && (await entries(computer)).includes('.maker');
      const lock = some ? await takeLock(join(root(computer), '.maker'), 'spare machines') : undefined;
      if ((await makings(digest, computer)).length === 0) return lock;
      await lock?.[Symbol.asyncDispose]();
    } catch (error) {
      if (!isBusy(error) || performance.now() > end) throw error;
    }
    await sleep(100, undefined, { signal }).catch(() => {
      throw canceled();
    });
  }
}

async function makings(
  digest: string | undefined,
  computer: Computer,
): Promise<readonly { readonly id: string; readonly entry: string }[]> {
  const found = [];
  for (const entry of await entries(computer)) {
    const id = /^\.making-(.+)$/.exec(entry)?.[1];
    if (id === undefined) continue;
    if (digest === undefined || (await mayBeOf(digest, join(root(computer), entry)))) found.push({ id, entry });
  }
  return found;
}

/** One whose vm.json can't be read may be of any image. */
async function mayBeOf(digest: string, folder: string): Promise<boolean> {
  try {
    return (await readVm(folder))?.image.startsWith(digest) ?? false;
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return true;
    throw error;
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'MACHINE_BUSY';
}

/** What nobody will take any more, of whatever kind: their QEMU or their image has changed. */
async function buryLost({ computer }: Call): Promise<void> {
  const program = await programPath(systemEmulator(archOf(computer)), computer);
  const images = (await openImages(computer.home).list()).map(({ key }) => key.digest);
  for (const { spare, files } of await all(computer)) {
    const { id, image, suspended, accelerator } = spare.vm;
    const why = whyUnfit(suspended, machineDigest(spare.vm), await presentOf(program, accelerator), files);
    if (why !== undefined || !images.some((digest) => image.startsWith(digest))) await bury(id, computer);
  }
}

/** What killed makers left: their machines run on until somebody ends them. */
export async function sweep(call: Call): Promise<void> {
  const { computer } = call;
  await clearGraves(computer);
  for (const { id, entry } of await makings(undefined, computer))
    await endOfDead(entry, id, call).catch((error: unknown) => {
      // Its maker lives.
      if (!isBusy(error)) throw error;
    });
}

/** Clears away what a killed maker left; `MACHINE_BUSY` while he lives. */
async function endOfDead(entry: string, id: string, call: Call): Promise<void> {
  try {
    await using _lock = await takeLock(join(root(call.computer), entry), 'a spare');
    await endMaking(id, call);
  } catch (error) {
    // It has just gone.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/** What a kill left of a removal. */
async function clearGraves(computer: Computer): Promise<void> {
  for (const entry of await entries(computer))
    if (entry.startsWith('.removed-')) await rm(join(root(computer), entry), { recursive: true, force: true });
}

async function bury(id: string, computer: Computer): Promise<void> {
  const grave = join(root(computer), `.removed-${id}`);
  await rename(join(root(computer), id), grave).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  await rm(grave, { recursive: true, force: true });
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
