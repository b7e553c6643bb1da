import { open, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readFileIfExists } from '../../computer/files.ts';
import { runChild } from '../../computer/child-process.ts';
import { canceledError, reasonOf, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, type Image } from '../../images/image.ts';
import { openImageStore } from '../../images/image-store.ts';
import { findProgram } from '../../computer/programs.ts';
import type { FirstBootConfig, DriverCall, Target } from '../contract.ts';
import { chooseAccelerator } from './accelerator.ts';
import { VM_FILES, type Accelerator } from './command-line.ts';
import { readConsoleTail, waitForBootResult, parseBootResult, type BootResult } from './console.ts';
import { ensureImage, parseImageOptions } from './vm-image.ts';
import type { QemuOptions } from './options.ts';
import { RESUME_COMMANDS, sendGuestCommands } from './guest-channel.ts';
import { findFreePorts, isPortFree } from './free-ports.ts';
import { killProcess, readOutputTail, getRunState, startProcess, type RunState } from './qemu-process.ts';
import { qemuImgProgram, zstdProgram, requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import {
  pollMonitor,
  writeBlankSeed,
  canSuspend,
  deleteMemory,
  readSnapshotFiles,
  isMemoryIntact,
  resumeCpus,
  hardwareDigest,
  readSnapshotHost,
  unpackCommand,
  incompatibilityReason,
  MEMORY_WRITE_MINUTES,
} from './suspend.ts';
import { toQemuConfig, writeVm, type VmSnapshot, type Vm } from './vm.ts';

export const GIB = 1024 ** 3;
/** Enough for a guest to start and an engine to pull something small; the disk grows as it fills. */
const MIN_FREE_GIB = 1;
/** What a QEMU may take to answer, on a computer that swaps. */
const MONITOR_SILENCE_SECONDS = 30;
/** To read a memory takes no longer than to write it. */
const MEMORY_LOAD_SECONDS = MEMORY_WRITE_MINUTES * 60;
/** For a guest that goes on to have done what it was told. */
const GUEST_COMMAND_SECONDS = 30;
/** Until a guest has said that it is ready; software emulation on a busy computer takes minutes. */
const BOOT_TIMEOUT_SECONDS: Readonly<Record<Accelerator, number>> = { kvm: 180, hvf: 180, whpx: 300, tcg: 900 };

export async function createVm(
  folder: string,
  target: Target<QemuOptions>,
  boot: FirstBootConfig,
  seed: string,
  call: DriverCall,
): Promise<Vm> {
  const { options: given } = target;
  const { computer } = call;
  const images = openImageStore(computer.home);
  const image = await ensureImage(parseImageOptions(given), call);
  // Held until it is written down that the image is used: else somebody might remove it now.
  await using _lock = await images.lock(image.name, call);
  await images.verify(image, call);
  await requireFreeSpace(folder);
  const { folder: imageFolder, disk: base } = images.paths(image);
  const least = Math.ceil((await readVirtualSize(base)) / GIB);
  if (given.disk < least) {
    throw new SlipwayError(
      'USAGE',
      `--qemu-disk must be at least ${least} for the image ${image.name}, got ${given.disk}`,
      {
        hint: `Type: --qemu-disk ${least}`,
      },
    );
  }
  const disk = join(folder, VM_FILES.disk);
  await createOverlayDisk(disk, base, given.disk, call);
  const chosen = [given.sshPort, given.enginePort].filter((taken) => taken !== undefined);
  const [ssh = 0, engine = 0, monitor = 0] = await findFreePorts(target.id, 3, chosen, computer);
  const vm: Vm = {
    version: 1,
    id: target.id,
    name: target.name,
    ...(computer.storeHome === undefined ? {} : { records: computer.storeHome }),
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

export async function resolveAccelerator(
  asked: QemuOptions['accelerator'],
  image: Image,
  { imageFolder: folder, taken }: Pick<Vm, 'imageFolder' | 'taken'>,
  call: DriverCall,
): Promise<Accelerator> {
  if (asked !== 'auto') return asked;
  call.log('Try hardware acceleration');
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  const guest = { arch: image.arch, kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd') };
  const { accelerator, rejected } = await chooseAccelerator(program, guest, image.files.vmlinuz.sha256, call);
  for (const { accelerator: other, reason } of rejected)
    // Once in a machine's life is enough.
    (taken ? call.log : call.note)(
      `${other} does not work here (${reason}), so the machine is emulated in software: slower, but the same`,
    );
  return accelerator;
}

async function createOverlayDisk(disk: string, base: string, gigabytes: number, call: DriverCall): Promise<void> {
  const tool = await requireProgramPath(qemuImgProgram, call.computer);
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
async function readVirtualSize(disk: string): Promise<number> {
  const handle = await open(disk, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(8), 0, 8, 24);
    return Number(buffer.readBigUInt64BE());
  } finally {
    await handle.close();
  }
}

/** A disk only grows; its guest takes the room at its next start. */
async function growDisk(disk: string, gigabytes: number, call: DriverCall): Promise<void> {
  if ((await readVirtualSize(disk)) >= gigabytes * GIB) return;
  const tool = await requireProgramPath(qemuImgProgram, call.computer);
  const { code, lines } = await runChild(tool, ['resize', '-q', disk, `${gigabytes}G`], call);
  if (code === 0) return;
  throw new SlipwayError('DRIVER_FAILED', `The disk ${disk} could not be made larger`, { detail: lines });
}

export async function requireFreeSpace(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = (bavail * bsize) / GIB;
  if (free >= MIN_FREE_GIB) return;
  throw new SlipwayError(
    'LOCAL_FILES',
    `The disk that holds ${folder} has ${free.toFixed(1)} GB left; a VM needs at least ${MIN_FREE_GIB} GB`,
    {
      hint: 'Make room there, or set SLIPWAY_HOME to a folder on another disk; then run the same command again',
    },
  );
}

/** Once it is taken, the keys in it need not lie around. */
export async function deleteSeed(folder: string): Promise<void> {
  await rm(join(folder, VM_FILES.seed), { force: true }).catch((error: unknown) => {
    // Windows keeps a file that a process has open; the next start takes it away.
    if (systemCode(error) !== 'EBUSY' && systemCode(error) !== 'EPERM') throw error;
  });
}

export async function writeDiskImage(file: string, bytes: Uint8Array): Promise<void> {
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
export async function ensureRunning(
  vm: Vm,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<string | undefined> {
  const state = await waitForRunState(folder, vm, call);
  const held = state === 'io-error' || state === 'paused';
  // One that is held up with its memory written has run no further since.
  if (state === 'running' || (held && !vm.suspended)) {
    if (held) await resumePaused(vm, state, folder);
    return undefined;
  }
  await killProcess(folder, vm, call);
  const image = await requireBaseImage(vm, folder, call);
  const halt = vm.suspended
    ? await resume({ ...vm, suspended: vm.suspended }, image, target, folder, call)
    : { reason: 'it has ended', isPermanent: true };
  if (halt === undefined || vm.born) return halt?.reason;
  if (!halt.isPermanent) throw resumeError(vm, halt);
  if (vm.suspended) call.note(`${vm.name} was suspended, and starts anew: ${halt.reason}`);
  await startCold(await discardMemory(vm, folder), image, target, folder, call);
  return undefined;
}

async function resumePaused(vm: Vm, state: RunState, folder: string): Promise<void> {
  if (state === 'io-error') await requireFreeSpace(folder);
  await resumeCpus(vm, folder).catch((error: unknown) => {
    throw resumeError(vm, { reason: reasonOf(error) });
  });
}

function resumeError({ name }: Vm, { reason, detail = [] }: Pick<ResumeFailure, 'reason' | 'detail'>): SlipwayError {
  return new SlipwayError('DRIVER_FAILED', `${name} could not go on where it was: ${reason}`, {
    hint: `Mend that and run the same command again; to start it anew, give its memory up first: slipway kill ${name}`,
    detail,
  });
}

/** Without a memory, which is of no use any more. */
export async function discardMemory(vm: Vm, folder: string): Promise<Vm> {
  const { suspended, untold: _untold, ...rest } = vm;
  if (suspended) await writeVm(folder, rest);
  await deleteMemory(folder);
  return rest;
}

/** A QEMU that is silent may only be busy: ending it is a power cut to its guest, and the last thing to do. */
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

export async function hasBootFailed(folder: string): Promise<boolean> {
  return parseBootResult((await readFileIfExists(join(folder, VM_FILES.console))) ?? '')?.ready === false;
}

/** A disk on top of another that has changed is garbage. */
async function requireBaseImage(vm: Vm, folder: string, call: DriverCall): Promise<Image> {
  const images = openImageStore(call.computer.home);
  const found = (await images.list()).find(({ key }) => vm.image.startsWith(key.digest));
  if (!found) {
    throw new SlipwayError('IMAGE_MISSING', `The image under the disk of ${vm.name} is gone: ${vm.imageFolder}`, {
      hint: `Put it back, or give the machine up: slipway rm ${vm.name}`,
    });
  }
  if ('broken' in found) throw found.broken;
  if (!(await images.isUnchanged(found.image))) await images.verify(found.image, call);
  await stat(join(folder, VM_FILES.disk)).catch((error: unknown) => {
    throw new SlipwayError('MACHINE_NOT_READY', `The disk of ${vm.name} is gone: ${join(folder, VM_FILES.disk)}`, {
      hint: `Put it back, or give the machine up: slipway rm ${vm.name}`,
      cause: error,
    });
  });
  return found.image;
}

const MAX_START_RETRIES = 5;

type SuspendedVm = Vm & { readonly suspended: VmSnapshot };

/** Why a machine did not go on with its memory, as a sentence goes on; and whether that lasts, so that it never will. */
type ResumeFailure = { readonly reason: string; readonly isPermanent: boolean; readonly detail?: readonly string[] };

/** Goes on with a memory that was written; or says why that can't be, and then nothing runs. */
async function resume(
  vm: SuspendedVm,
  image: Image,
  { options: given }: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const { suspended } = vm;
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  const accelerator = await resolveResumeAccelerator(vm, given, image, call);
  const shaped = { ...vm, accelerator };
  const unfit =
    (await findConfigMismatch(vm, accelerator, given, folder)) ??
    permanentFailure(
      incompatibilityReason(
        suspended,
        hardwareDigest(shaped),
        await readSnapshotHost(program, accelerator),
        await readSnapshotFiles(folder),
      ),
    ) ??
    (await checkDecompressor(suspended, call));
  if (unfit !== undefined) return unfit;
  await writeBlankSeed(vm, folder).catch((error: unknown) => {
    throw localFileError(join(folder, VM_FILES.seed), error);
  });
  // Read beside QEMU, which reads it as well.
  const whole = verifyMemory(suspended, folder, call);
  const { started, trouble } = await startWithMemory(program, shaped, given, folder, call);
  const halt =
    trouble === undefined
      ? await waitForMemoryLoad(folder, started, whole, call)
      : temporaryFailure(`QEMU could not start (${trouble.at(-1)})`, trouble);
  // What is read beside it knows best: QEMU ends over what is damaged, or reads it as if it were not.
  const found = (await whole) ?? halt;
  if (found !== undefined) {
    await killProcess(folder, started, call);
    if (call.signal.aborted) throw canceledError();
    return found;
  }
  const { suspended: _used, ...rest } = started;
  // Before its disk changes.
  await writeVm(folder, { ...rest, untold: vm.untold ?? [] });
  return await resumeCpus(vm, folder).then(
    () => undefined,
    (error: unknown) => temporaryFailure(reasonOf(error)),
  );
}

function permanentFailure(reason: string | undefined): ResumeFailure | undefined {
  return reason === undefined ? undefined : { reason, isPermanent: true };
}

function temporaryFailure(reason: string, detail: readonly string[] = []): ResumeFailure {
  return { reason, isPermanent: false, detail };
}

/** The one that it ran with, as far as that can be: what works now may be another, and can't go on with its memory. */
async function resolveResumeAccelerator(
  vm: Vm,
  given: QemuOptions,
  image: Image,
  call: DriverCall,
): Promise<Accelerator> {
  // Software emulation is everywhere, also where something faster has come since.
  if (given.accelerator === 'auto' && vm.accelerator === 'tcg' && !vm.born) return 'tcg';
  return await resolveAccelerator(given.accelerator, image, vm, call);
}

/** What was asked of it since, and takes a start; or what it ran with and does not work now. */
async function findConfigMismatch(
  vm: Vm,
  accelerator: Accelerator,
  given: QemuOptions,
  folder: string,
): Promise<ResumeFailure | undefined> {
  if (given.cpus !== vm.cpus) return permanentFailure(`it is to have ${given.cpus} CPUs now`);
  if (given.memory !== vm.memory) return permanentFailure(`it is to have ${given.memory} MB of memory now`);
  const size = await readVirtualSize(join(folder, VM_FILES.disk)).catch(() => Infinity);
  if (size < given.disk * GIB) return permanentFailure(`it is to have a disk of ${given.disk} GB now`);
  if (accelerator === vm.accelerator) return undefined;
  // Rights to a device come back.
  if (given.accelerator === 'auto')
    return temporaryFailure(`it ran with ${vm.accelerator}, which does not work now (slipway doctor says why)`);
  return permanentFailure(`it is to run with ${accelerator} now`);
}

async function checkDecompressor({ packed }: VmSnapshot, { computer }: DriverCall): Promise<ResumeFailure | undefined> {
  if (packed === 'plain' || (await findProgram(zstdProgram, computer)) !== undefined) return undefined;
  return temporaryFailure(`its memory is packed with ${zstdProgram.command}, which this computer lacks now`);
}

/** Undefined for a memory that is what was written. */
async function verifyMemory(
  suspended: VmSnapshot,
  folder: string,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  try {
    return (await isMemoryIntact(suspended, folder, call.signal))
      ? undefined
      : permanentFailure('its memory is damaged');
  } catch (error) {
    return temporaryFailure(`its memory could not be read: ${reasonOf(error)}`);
  }
}

async function startWithMemory(
  program: string,
  wanted: SuspendedVm & { readonly accelerator: Accelerator },
  given: QemuOptions,
  folder: string,
  call: DriverCall,
): Promise<{ readonly started: SuspendedVm; readonly trouble: readonly string[] | undefined }> {
  let started = wanted;
  for (let tries = 0; ; tries += 1) {
    started = await assignFreePorts(started, given, call);
    await writeVm(folder, started);
    const shape = { ...toQemuConfig(started), incomingCommand: unpackCommand(started.suspended) };
    const trouble = await startProcess(program, shape, started, folder, call);
    if (!trouble) return { started, trouble: undefined };
    if (trouble.takenPort !== undefined && tries < MAX_START_RETRIES) continue;
    return { started, trouble: trouble.lines };
  }
}

/** Undefined once QEMU has read all of a memory. On what is not whole it may wait for ever. */
async function waitForMemoryLoad(
  folder: string,
  vm: Vm,
  whole: Promise<ResumeFailure | undefined>,
  call: DriverCall,
): Promise<ResumeFailure | undefined> {
  const spoilt = new AbortController();
  void whole.then((halt) => {
    if (halt) spoilt.abort();
  });
  const how = { seconds: MEMORY_LOAD_SECONDS, signal: AbortSignal.any([call.signal, spoilt.signal]) };
  try {
    const status = await pollMonitor(vm, folder, how, async (monitor) => {
      const now = (await monitor.execute('query-status')) as { readonly status: string };
      return now.status === 'inmigrate' ? undefined : now.status;
    });
    // As it was held up when its memory was written.
    if (['paused', 'prelaunch', 'io-error'].includes(status)) return undefined;
    return temporaryFailure(`QEMU has read its memory, and is in the state ${status}`);
  } catch (error) {
    return temporaryFailure(`QEMU could not read its memory: ${reasonOf(error)}`, await readOutputTail(folder));
  }
}

/** Tells one that has gone on what it can't know. One that does not listen goes on all the same, unless it is to become somebody. */
export async function sendPendingCommands(vm: Vm, folder: string, call: DriverCall): Promise<Vm> {
  if (!vm.untold) return vm;
  const told = await sendGuestCommands(folder, [...RESUME_COMMANDS, ...vm.untold], {
    seconds: GUEST_COMMAND_SECONDS,
    signal: call.signal,
  });
  if (call.signal.aborted) throw canceledError();
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
async function startCold(
  wanted: Vm,
  image: Image,
  { options: given }: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<void> {
  // What may change while it is stopped: its size is what was asked for last, and acceleration what works now.
  const accelerator = await resolveAccelerator(given.accelerator, image, wanted, call);
  const seed = wanted.taken ? 0 : (await stat(join(folder, VM_FILES.seed))).size;
  const devices = { port: canSuspend(call.computer), seed };
  let vm = { ...wanted, accelerator, cpus: given.cpus, memory: given.memory, devices };
  await growDisk(join(folder, VM_FILES.disk), given.disk, call);
  const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
  for (let tries = 0; ; tries += 1) {
    vm = await assignFreePorts(vm, given, call);
    await writeVm(folder, vm);
    const trouble = await startProcess(program, toQemuConfig(vm), vm, folder, call);
    if (!trouble) return;
    if (trouble.takenPort !== undefined && tries < MAX_START_RETRIES) continue;
    throw new SlipwayError('DRIVER_FAILED', `QEMU could not start ${vm.name}`, {
      hint: `Run the same command again when that is mended; what QEMU was told stands in ${join(folder, VM_FILES.output)}`,
      detail: trouble.lines,
    });
  }
}

async function assignFreePorts<V extends Vm>(vm: V, given: QemuOptions, { computer, note }: DriverCall): Promise<V> {
  // Of a spare that is about to be this machine nobody has heard.
  const known = vm.taken && !vm.born;
  const ports = { ssh: given.sshPort ?? vm.ports.ssh, engine: given.enginePort ?? vm.ports.engine };
  for (const [use, chosen, flag] of chosenPorts(given)) {
    const ours = ports.ssh === ports.engine && chosen === undefined;
    if (!ours && (await isPortFree(ports[use]))) continue;
    if (chosen !== undefined) throw portTakenError(vm.name, chosen, flag, known);
    const [free = 0] = await findFreePorts(vm.id, 1, Object.values(ports), computer);
    if (known) note(`Port ${ports[use]} of 127.0.0.1 is taken by another program, so ${vm.name} has ${free} now`);
    ports[use] = free;
  }
  return { ...vm, ports };
}

export function chosenPorts({
  sshPort,
  enginePort,
}: QemuOptions): readonly (readonly ['ssh' | 'engine', number | undefined, string])[] {
  return [
    ['ssh', sshPort, '--qemu-ssh-port'],
    ['engine', enginePort, '--qemu-engine-port'],
  ];
}

export function portTakenError(name: string, port: number, flag: string, taken: boolean): SlipwayError {
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

export async function waitForVmBoot(folder: string, vm: Vm, call: DriverCall): Promise<BootResult> {
  const file = join(folder, VM_FILES.console);
  const end = performance.now() + BOOT_TIMEOUT_SECONDS[vm.accelerator ?? 'tcg'] * 1000;
  const failed = async (what: string): Promise<SlipwayError> =>
    new SlipwayError('BOOT_FAILED', `${vm.name} ${what}`, {
      hint: `Its console is in ${file}`,
      detail: await readConsoleTail(file),
    });
  return await waitForBootResult(file, {
    log: call.log,
    signal: call.signal,
    alive: async () => {
      if (performance.now() > end)
        throw await failed(
          `has not said that it is ready within ${BOOT_TIMEOUT_SECONDS[vm.accelerator ?? 'tcg']} seconds`,
        );
      const state = await getRunState(folder, vm, call);
      if (state === 'none' || state === 'ended') throw await failed('ended while it was starting');
      if (state === 'io-error') throw await failed('is held up: the disk of this computer is full');
    },
  }).catch((error: unknown) => {
    throw call.signal.aborted ? canceledError() : error;
  });
}
