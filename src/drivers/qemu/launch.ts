import { open, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readIfThere } from '../../computer/files.ts';
import { runChild } from '../../computer/child-process.ts';
import { canceled, reasonOf, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, type Image } from '../../images/image.ts';
import { openImages } from '../../images/store.ts';
import { findProgram } from '../../computer/programs.ts';
import type { Boot, Call, Target } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import { FILES, type Accelerator } from './command-line.ts';
import { endOfConsole, waitForWord, wordOn, type Word } from './console.ts';
import { ensureImage, imageRequest } from './image.ts';
import type { Options } from './options.ts';
import { NEWS, tell } from './port.ts';
import { freePorts, isFree } from './ports.ts';
import { killProcess, lastOutput, runState, startProcess, type RunState } from './process.ts';
import { imageTool, packer, programPath, systemEmulator } from './programs.ts';
import {
  asking,
  blankSeed,
  canSuspend,
  dropMemory,
  filesIn,
  isWhole,
  letGoOn,
  machineDigest,
  presentOf,
  unpacking,
  whyUnfit,
  WRITE_MINUTES,
} from './snapshot.ts';
import { shapeOf, writeVm, type Snapshot, type Vm } from './vm.ts';

export const GIB = 1024 ** 3;
/** Enough for a guest to start and an engine to pull something small; the disk grows as it fills. */
const ROOM_GIB = 1;
/** What a QEMU may take to answer, on a computer that swaps. */
const SILENCE_SECONDS = 30;
/** To read a memory takes no longer than to write it. */
const LOAD_SECONDS = WRITE_MINUTES * 60;
/** For a guest that goes on to have done what it was told. */
const TOLD_SECONDS = 30;
/** Until a guest has said that it is ready; software emulation on a busy computer takes minutes. */
const BOOT_SECONDS: Readonly<Record<Accelerator, number>> = { kvm: 180, hvf: 180, whpx: 300, tcg: 900 };

export async function makeVm(
  folder: string,
  target: Target<Options>,
  boot: Boot,
  seed: string,
  call: Call,
): Promise<Vm> {
  const { options: given } = target;
  const { computer } = call;
  const images = openImages(computer.home);
  const image = await ensureImage(imageRequest(given), call);
  // Held until it is written down that the image is used: else somebody might remove it now.
  await using _lock = await images.lock(image.name, call);
  await images.verify(image, call);
  await roomFor(folder);
  const { folder: imageFolder, disk: base } = images.paths(image);
  const least = Math.ceil((await virtualSize(base)) / GIB);
  if (given.disk < least) {
    throw new SlipwayError(
      'USAGE',
      `--qemu-disk must be at least ${least} for the image ${image.name}, got ${given.disk}`,
      {
        hint: `Type: --qemu-disk ${least}`,
      },
    );
  }
  const disk = join(folder, FILES.disk);
  await overlay(disk, base, given.disk, call);
  const chosen = [given.sshPort, given.enginePort].filter((taken) => taken !== undefined);
  const [ssh = 0, engine = 0, monitor = 0] = await freePorts(target.id, 3, chosen, computer);
  const vm: Vm = {
    version: 1,
    id: target.id,
    name: target.name,
    ...(computer.records === undefined ? {} : { records: computer.records }),
    image: image.digest,
    imageFolder,
    root: image.root,
    arch: image.arch,
    cpus: given.cpus,
    memory: given.memory,
    user: given.sshUser,
    ports: { ssh: given.sshPort ?? ssh, engine: given.enginePort ?? engine },
    enginePort: boot.enginePort,
    seed,
    taken: false,
    ...(computer.platform === 'win32' ? { monitorPort: monitor } : {}),
  };
  await writeVm(folder, vm);
  return vm;
}

export async function accelerationFor(
  asked: Options['accelerator'],
  image: Image,
  { imageFolder: folder, taken }: Pick<Vm, 'imageFolder' | 'taken'>,
  call: Call,
): Promise<Accelerator> {
  if (asked !== 'auto') return asked;
  call.log('Try hardware acceleration');
  const program = await programPath(systemEmulator(archOf(call.computer)), call.computer);
  const guest = { arch: image.arch, kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') };
  const { accelerator, refused } = await chooseAccelerator(program, guest, image.files.vmlinuz.sha256, call);
  for (const { accelerator: other, reason } of refused)
    // Once in a machine's life is enough.
    (taken ? call.log : call.note)(
      `${other} does not work here (${reason}), so the machine is emulated in software: slower, but the same`,
    );
  return accelerator;
}

async function overlay(disk: string, base: string, gigabytes: number, call: Call): Promise<void> {
  const tool = await programPath(imageTool, call.computer);
  const { code, lines } = await runChild(
    tool,
    ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', base, disk, `${gigabytes}G`],
    call,
  );
  if (code === 0) return;
  await rm(disk, { force: true });
  throw new SlipwayError('DRIVER_FAILED', `The disk ${disk} could not be made`, {
    detail: lines,
    hint: 'Make room there, then run the same command again',
  });
}

/** How large a disk says that it is: the big-endian number at byte 24 of a qcow2 file. */
async function virtualSize(disk: string): Promise<number> {
  const handle = await open(disk, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(8), 0, 8, 24);
    return Number(buffer.readBigUInt64BE());
  } finally {
    await handle.close();
  }
}

/** A disk only grows; its guest takes the room at its next start. */
async function grow(disk: string, gigabytes: number, call: Call): Promise<void> {
  if ((await virtualSize(disk)) >= gigabytes * GIB) return;
  const tool = await programPath(imageTool, call.computer);
  const { code, lines } = await runChild(tool, ['resize', '-q', disk, `${gigabytes}G`], call);
  if (code === 0) return;
  throw new SlipwayError('DRIVER_FAILED', `The disk ${disk} could not be made larger`, { detail: lines });
}

export async function roomFor(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = (bavail * bsize) / GIB;
  if (free >= ROOM_GIB) return;
  throw new SlipwayError(
    'LOCAL_FILES',
    `The disk that holds ${folder} has ${free.toFixed(1)} GB left; a VM needs at least ${ROOM_GIB} GB`,
    {
      hint: 'Make room there, or set SLIPWAY_HOME to a folder on another disk; then run the same command again',
    },
  );
}

/** Once it is taken, the keys in it need not lie around. */
export async function dropSeed(folder: string): Promise<void> {
  await rm(join(folder, FILES.seed), { force: true }).catch((error: unknown) => {
    // Windows keeps a file that a process has open; the next start takes it away.
    if (systemCode(error) !== 'EBUSY' && systemCode(error) !== 'EPERM') throw error;
  });
}

export async function laid(file: string, bytes: Uint8Array): Promise<void> {
  // A disk has whole sectors, and a new file its mode from the first byte on.
  const whole = Buffer.alloc(Math.ceil(bytes.length / 4096) * 4096);
  whole.set(bytes);
  await rm(file, { force: true });
  await writeFile(file, whole, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
    throw localFileError(file, error);
  });
}

/**
 * Makes a VM run: goes on with one that is held up or suspended, starts one that is stopped, leaves one that runs. One that has gone
 * on is told the news by `inform`. A spare that can't become this machine is given up, for the reason that is returned. The memory of a
 * machine is its user's: it is given up where no try can ever go on with it, and kept where the next one may.
 */
export async function launch(vm: Vm, target: Target<Options>, folder: string, call: Call): Promise<string | undefined> {
  const state = await settledState(folder, vm, call);
  const held = state === 'io-error' || state === 'paused';
  // One that is held up with its memory written has run no further since.
  if (state === 'running' || (held && !vm.suspended)) {
    if (held) await release(vm, state, folder);
    return undefined;
  }
  await killProcess(folder, vm, call);
  const image = await sameBase(vm, folder, call);
  const halt = vm.suspended
    ? await goOn({ ...vm, suspended: vm.suspended }, image, target, folder, call)
    : { why: 'it has ended', lasts: true };
  if (halt === undefined || vm.born) return halt?.why;
  if (!halt.lasts) throw heldUp(vm, halt);
  if (vm.suspended) call.note(`${vm.name} was suspended, and starts anew: ${halt.why}`);
  await startAt(await forgotten(vm, folder), image, target, folder, call);
  return undefined;
}

async function release(vm: Vm, state: RunState, folder: string): Promise<void> {
  if (state === 'io-error') await roomFor(folder);
  await letGoOn(vm, folder).catch((error: unknown) => {
    throw heldUp(vm, { why: reasonOf(error) });
  });
}

function heldUp({ name }: Vm, { why, detail = [] }: Pick<Halt, 'why' | 'detail'>): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `${name} could not go on where it was: ${why}`, {
    hint: `Mend that and run the same command again; to start it anew, give its memory up first: slipway kill ${name}`,
    detail,
  });
}

/** Without a memory, which is of no use any more. */
export async function forgotten(vm: Vm, folder: string): Promise<Vm> {
  const { suspended, untold: _untold, ...rest } = vm;
  if (suspended) await writeVm(folder, rest);
  await dropMemory(folder);
  return rest;
}

/** A QEMU that is silent may only be busy: ending it is a power cut to its guest, and the last thing to do. */
async function settledState(folder: string, vm: Vm, call: Call): Promise<RunState> {
  const end = performance.now() + SILENCE_SECONDS * 1000;
  for (;;) {
    const state = await runState(folder, vm, call);
    if (state !== 'silent' || performance.now() > end) return state;
    await sleep(500, undefined, { signal: call.signal }).catch(() => {
      throw canceled();
    });
  }
}

export async function hasFailed(folder: string): Promise<boolean> {
  return wordOn((await readIfThere(join(folder, FILES.console))) ?? '')?.ready === false;
}

/** A disk on top of another that has changed is garbage. */
async function sameBase(vm: Vm, folder: string, call: Call): Promise<Image> {
  const images = openImages(call.computer.home);
  const found = (await images.list()).find(({ key }) => vm.image.startsWith(key.digest));
  if (!found) {
    throw new SlipwayError('IMAGE_MISSING', `The image under the disk of ${vm.name} is gone: ${vm.imageFolder}`, {
      hint: `Put it back, or give the machine up: slipway rm ${vm.name}`,
    });
  }
  if ('broken' in found) throw found.broken;
  if (!(await images.unchanged(found.image))) await images.verify(found.image, call);
  await stat(join(folder, FILES.disk)).catch((error: unknown) => {
    throw new SlipwayError('MACHINE_NOT_READY', `The disk of ${vm.name} is gone: ${join(folder, FILES.disk)}`, {
      hint: `Put it back, or give the machine up: slipway rm ${vm.name}`,
      cause: error,
    });
  });
  return found.image;
}

const TRIES = 5;

type Suspended = Vm & { readonly suspended: Snapshot };

/** Why a machine did not go on with its memory, as a sentence goes on; and whether that lasts, so that it never will. */
type Halt = { readonly why: string; readonly lasts: boolean; readonly detail?: readonly string[] };

/** Goes on with a memory that was written; or says why that can't be, and then nothing runs. */
async function goOn(
  vm: Suspended,
  image: Image,
  { options: given }: Target<Options>,
  folder: string,
  call: Call,
): Promise<Halt | undefined> {
  const { suspended } = vm;
  const program = await programPath(systemEmulator(archOf(call.computer)), call.computer);
  const accelerator = await acceleratorAgain(vm, given, image, call);
  const shaped = { ...vm, accelerator };
  const unfit =
    (await otherwise(vm, accelerator, given, folder)) ??
    lasting(whyUnfit(suspended, machineDigest(shaped), await presentOf(program, accelerator), await filesIn(folder))) ??
    (await cannotUnpack(suspended, call));
  if (unfit !== undefined) return unfit;
  await blankSeed(vm, folder).catch((error: unknown) => {
    throw localFileError(join(folder, FILES.seed), error);
  });
  // Read beside QEMU, which reads it as well.
  const whole = readThrough(suspended, folder, call);
  const { started, trouble } = await startOn(program, shaped, given, folder, call);
  const halt =
    trouble === undefined
      ? await notLoaded(folder, started, whole, call)
      : passing(`QEMU could not start (${trouble.at(-1)})`, trouble);
  // What is read beside it knows best: QEMU ends over what is damaged, or reads it as if it were not.
  const found = (await whole) ?? halt;
  if (found !== undefined) {
    await killProcess(folder, started, call);
    if (call.signal.aborted) throw canceled();
    return found;
  }
  const { suspended: _used, ...rest } = started;
  // Before its disk changes.
  await writeVm(folder, { ...rest, untold: vm.untold ?? [] });
  return await letGoOn(vm, folder).then(
    () => undefined,
    (error: unknown) => passing(reasonOf(error)),
  );
}

function lasting(why: string | undefined): Halt | undefined {
  return why === undefined ? undefined : { why, lasts: true };
}

function passing(why: string, detail: readonly string[] = []): Halt {
  return { why, lasts: false, detail };
}

/** The one that it ran with, as far as that can be: what works now may be another, and can't go on with its memory. */
async function acceleratorAgain(vm: Vm, given: Options, image: Image, call: Call): Promise<Accelerator> {
  // Software emulation is everywhere, also where something faster has come since.
  if (given.accelerator === 'auto' && vm.accelerator === 'tcg' && !vm.born) return 'tcg';
  return await accelerationFor(given.accelerator, image, vm, call);
}

/** What was asked of it since, and takes a start; or what it ran with and does not work now. */
async function otherwise(vm: Vm, accelerator: Accelerator, given: Options, folder: string): Promise<Halt | undefined> {
  if (given.cpus !== vm.cpus) return lasting(`it is to have ${given.cpus} CPUs now`);
  if (given.memory !== vm.memory) return lasting(`it is to have ${given.memory} MB of memory now`);
  const size = await virtualSize(join(folder, FILES.disk)).catch(() => Infinity);
  if (size < given.disk * GIB) return lasting(`it is to have a disk of ${given.disk} GB now`);
  if (accelerator === vm.accelerator) return undefined;
  // Rights to a device come back.
  if (given.accelerator === 'auto')
    return passing(`it ran with ${vm.accelerator}, which does not work now (slipway doctor says why)`);
  return lasting(`it is to run with ${accelerator} now`);
}

async function cannotUnpack({ packed }: Snapshot, { computer }: Call): Promise<Halt | undefined> {
  if (packed === 'plain' || (await findProgram(packer, computer)) !== undefined) return undefined;
  return passing(`its memory is packed with ${packer.command}, which this computer lacks now`);
}

/** Undefined for a memory that is what was written. */
async function readThrough(suspended: Snapshot, folder: string, call: Call): Promise<Halt | undefined> {
  try {
    return (await isWhole(suspended, folder, call.signal)) ? undefined : lasting('its memory is damaged');
  } catch (error) {
    return passing(`its memory could not be read: ${reasonOf(error)}`);
  }
}

async function startOn(
  program: string,
  wanted: Suspended & { readonly accelerator: Accelerator },
  given: Options,
  folder: string,
  call: Call,
): Promise<{ readonly started: Suspended; readonly trouble: readonly string[] | undefined }> {
  let started = wanted;
  for (let tries = 0; ; tries += 1) {
    started = await withFreePorts(started, given, call);
    await writeVm(folder, started);
    const shape = { ...shapeOf(started), incoming: unpacking(started.suspended) };
    const trouble = await startProcess(program, shape, started, folder, call);
    if (!trouble) return { started, trouble: undefined };
    if (trouble.takenPort !== undefined && tries < TRIES) continue;
    return { started, trouble: trouble.lines };
  }
}

/** Undefined once QEMU has read all of a memory. On what is not whole it may wait for ever. */
async function notLoaded(
  folder: string,
  vm: Vm,
  whole: Promise<Halt | undefined>,
  call: Call,
): Promise<Halt | undefined> {
  const spoilt = new AbortController();
  void whole.then((halt) => {
    if (halt) spoilt.abort();
  });
  const how = { seconds: LOAD_SECONDS, signal: AbortSignal.any([call.signal, spoilt.signal]) };
  try {
    const status = await asking(vm, folder, how, async (monitor) => {
      const now = (await monitor.execute('query-status')) as { readonly status: string };
      return now.status === 'inmigrate' ? undefined : now.status;
    });
    // As it was held up when its memory was written.
    if (['paused', 'prelaunch', 'io-error'].includes(status)) return undefined;
    return passing(`QEMU has read its memory, and is in the state ${status}`);
  } catch (error) {
    return passing(`QEMU could not read its memory: ${reasonOf(error)}`, await lastOutput(folder));
  }
}

/** Tells one that has gone on what it can't know. One that does not listen goes on all the same, unless it is to become somebody. */
export async function inform(vm: Vm, folder: string, call: Call): Promise<Vm> {
  if (!vm.untold) return vm;
  const told = await tell(folder, [...NEWS, ...vm.untold], { seconds: TOLD_SECONDS, signal: call.signal });
  if (call.signal.aborted) throw canceled();
  if (!told && vm.born) {
    await killProcess(folder, vm, call);
    throw new SlipwayError('BOOT_FAILED', `The spare machine for ${vm.name} does not listen`, {
      hint: 'The next try starts it cold',
    });
  }
  if (!told) call.note(`${vm.name} goes on, but nothing in it listens: its clock is behind until it sets it itself`);
  const { untold: _told, born: _born, ...rest } = vm;
  await writeVm(folder, rest);
  return rest;
}

/** A port that somebody took meanwhile is exchanged for another, unless the user chose it. */
async function startAt(
  wanted: Vm,
  image: Image,
  { options: given }: Target<Options>,
  folder: string,
  call: Call,
): Promise<void> {
  // What may change while it is stopped: its size is what was asked for last, and acceleration what works now.
  const accelerator = await accelerationFor(given.accelerator, image, wanted, call);
  const seed = wanted.taken ? 0 : (await stat(join(folder, FILES.seed))).size;
  const devices = { port: canSuspend(call.computer), seed };
  let vm = { ...wanted, accelerator, cpus: given.cpus, memory: given.memory, devices };
  await grow(join(folder, FILES.disk), given.disk, call);
  const program = await programPath(systemEmulator(archOf(call.computer)), call.computer);
  for (let tries = 0; ; tries += 1) {
    vm = await withFreePorts(vm, given, call);
    await writeVm(folder, vm);
    const trouble = await startProcess(program, shapeOf(vm), vm, folder, call);
    if (!trouble) return;
    if (trouble.takenPort !== undefined && tries < TRIES) continue;
    throw new SlipwayError('DRIVER_FAILED', `QEMU could not start ${vm.name}`, {
      hint: `Run the same command again when that is mended; what QEMU was told stands in ${join(folder, FILES.output)}`,
      detail: trouble.lines,
    });
  }
}

async function withFreePorts<V extends Vm>(vm: V, given: Options, { computer, note }: Call): Promise<V> {
  // Of a spare that is about to be this machine nobody has heard.
  const known = vm.taken && !vm.born;
  const ports = { ssh: given.sshPort ?? vm.ports.ssh, engine: given.enginePort ?? vm.ports.engine };
  for (const [use, chosen, flag] of chosenPorts(given)) {
    const ours = ports.ssh === ports.engine && chosen === undefined;
    if (!ours && (await isFree(ports[use]))) continue;
    if (chosen !== undefined) throw portTaken(vm.name, chosen, flag, known);
    const [free = 0] = await freePorts(vm.id, 1, Object.values(ports), computer);
    if (known) note(`Port ${ports[use]} of 127.0.0.1 is taken by another program, so ${vm.name} has ${free} now`);
    ports[use] = free;
  }
  return { ...vm, ports };
}

export function chosenPorts({
  sshPort,
  enginePort,
}: Options): readonly (readonly ['ssh' | 'engine', number | undefined, string])[] {
  return [
    ['ssh', sshPort, '--qemu-ssh-port'],
    ['engine', enginePort, '--qemu-engine-port'],
  ];
}

export function portTaken(name: string, port: number, flag: string, taken: boolean): SlipwayError {
  return new SlipwayError(
    'PORT_TAKEN',
    `Port ${port} of 127.0.0.1, which ${name} is to have (${flag}), is taken by another program`,
    {
      hint: taken
        ? 'End that program, then run the same command again'
        : `End that program, or choose another port: slipway create ${name} ${flag} …`,
    },
  );
}

export async function firstWord(folder: string, vm: Vm, call: Call): Promise<Word> {
  const file = join(folder, FILES.console);
  const end = performance.now() + BOOT_SECONDS[vm.accelerator ?? 'tcg'] * 1000;
  const failed = async (what: string): Promise<SlipwayError> =>
    new SlipwayError('BOOT_FAILED', `${vm.name} ${what}`, {
      hint: `Its console is in ${file}`,
      detail: await endOfConsole(file),
    });
  return await waitForWord(file, {
    log: call.log,
    signal: call.signal,
    alive: async () => {
      if (performance.now() > end)
        throw await failed(`has not said that it is ready within ${BOOT_SECONDS[vm.accelerator ?? 'tcg']} seconds`);
      const state = await runState(folder, vm, call);
      if (state === 'none' || state === 'ended') throw await failed('ended while it was starting');
      if (state === 'io-error') throw await failed('is held up: the disk of this computer is full');
    },
  }).catch((error: unknown) => {
    throw call.signal.aborted ? canceled() : error;
  });
}
