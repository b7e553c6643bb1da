import { mkdir, open, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { localFileError, readIfThere } from '../../changes.ts';
import { runChild } from '../../child.ts';
import { canceled, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, type Image } from '../../images/image.ts';
import { openImages } from '../../images/store.ts';
import { defineDriver, type Boot, type Call, type Instance, type Target } from '../driver.ts';
import { chooseAccelerator, hardware, lastTrial } from './accelerator.ts';
import { FILES, type Accelerator, type Shape } from './command-line.ts';
import { endOfConsole, waitForWord, wordOn, type Word } from './console.ts';
import { ensureImage, imageRequest } from './image.ts';
import { freePorts, isFree } from './ports.ts';
import { checkFolder, killProcess, openVm, processOf, runState, startProcess, type RunState } from './process.ts';
import { imageTool, programPath, programsOf, systemEmulator } from './programs.ts';
import { seedOf } from './seed.ts';
import { readVm, vmFolder, vmIds, writeVm, type Vm } from './vm.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Enough for a guest to start and an engine to pull something small; the disk grows as it fills. */
const ROOM_GIB = 1;
/** What a QEMU may take to answer, on a computer that swaps. */
const SILENCE_SECONDS = 30;
/** Until a guest has said that it is ready; software emulation on a busy computer takes minutes. */
const BOOT_SECONDS: Readonly<Record<Accelerator, number>> = { kvm: 180, hvf: 180, whpx: 300, tcg: 900 };

const options = z.object({
  cpus: z.int().min(1).max(255).default(2).meta({ description: 'Number of CPUs', ask: 'How many CPUs?', value: 'n' }),
  memory: z
    .int()
    .min(512)
    .default(2048)
    .meta({ description: 'Memory, in MB', ask: 'How much memory, in MB?', value: 'mb' }),
  disk: z
    .int()
    .min(2)
    .default(20)
    .meta({ description: 'Size of the disk, in GB; what is not used takes no room here', value: 'gb' }),
  image: z.string().min(1).default('debian-13').meta({
    description: 'Image: debian-13, debian-12, or a path or URL of a cloud image',
    flag: 'image',
    value: 'image',
  }),
  imageDigest: z
    .string()
    .regex(/^(sha(256|512):)?[0-9a-fA-F]{64}([0-9a-fA-F]{64})?$/, 'a digest like sha512:…')
    .optional()
    .meta({ description: 'Digest of an image from a path or URL', flag: 'image-digest', value: 'digest' }),
  accelerator: z
    .enum(['auto', 'kvm', 'hvf', 'whpx', 'tcg'])
    .default('auto')
    .meta({ description: 'Hardware acceleration; auto tries it, tcg is software emulation' }),
  sshUser: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'a user name like dev')
    .default('slipway')
    .meta({ description: 'User in the machine', value: 'user' }),
  sshPort: port('Port of this computer for its SSH; without it a free one is chosen and kept'),
  enginePort: port('Port of this computer for its engine; without it a free one is chosen and kept'),
});
type Options = z.output<typeof options>;

/** What QEMU is told at each start; all else is laid down when a VM is made. A disk grows at its next start too. */
const AT_START: ReadonlySet<string> = new Set(['cpus', 'memory', 'accelerator', 'sshPort', 'enginePort']);

/** A VM of this computer's own, run by QEMU. All that it is lies in `vms/<id>` of Slipway's folder. */
export const qemu = defineDriver({
  name: 'qemu',
  summary: 'a virtual machine on this computer',
  rank: 50,
  ends() {
    return { byItself: 'stopped', costs: 'its disk stays on this computer until it is removed' };
  },
  options,
  programs: programsOf,
  makes: ({ cpus, memory, disk, image }) =>
    `a virtual machine of this computer: ${cpus} CPUs, ${memory} MB of memory, a disk of up to ${disk} GB, ${image}`,
  changeOf(option, from, to) {
    if (option === 'disk') return Number(to) >= Number(from) ? 'restart' : 'replace';
    return AT_START.has(option) ? 'restart' : 'replace';
  },
  async health() {
    return { usable: true };
  },
  async checkup(computer) {
    const accelerator = hardware(computer.platform);
    const trial = await lastTrial(computer);
    if (trial === undefined || accelerator === undefined)
      return [{ what: 'acceleration', state: 'note', detail: 'not tried yet; the first create tries it' }];
    return [
      trial.works
        ? { what: 'acceleration', state: 'ok', detail: accelerator }
        : {
            what: 'acceleration',
            state: 'note',
            detail: `software emulation, which is slow: ${accelerator} does not work (${trial.reason})`,
          },
    ];
  },
  async check({ id, name, options: given }, { computer }) {
    checkFolder(vmFolder(computer, id));
    imageRequest(given);
    const most = Math.floor(totalmem() / MIB);
    if (given.memory > most) {
      throw new SlipwayError(
        'USAGE',
        `${name} would have ${given.memory} MB of memory, and this computer has ${most} MB`,
        {
          hint: `Ask for less: --qemu-memory ${Math.max(512, Math.floor(most / 2048) * 1024)}`,
        },
      );
    }
    if (given.sshPort !== undefined && given.sshPort === given.enginePort)
      throw new SlipwayError('USAGE', `--qemu-ssh-port and --qemu-engine-port are both ${given.sshPort}`, {
        hint: 'Give two ports',
      });
    // One that is there may hold them itself.
    if (await readVm(vmFolder(computer, id))) return;
    for (const [, port, flag] of chosenPorts(given))
      if (port !== undefined && !(await isFree(port))) throw portTaken(name, port, flag, false);
  },
  async prepare({ options: given }, call) {
    await ensureImage(imageRequest(given), call);
  },
  async create(target, boot, call) {
    const folder = vmFolder(call.computer, target.id);
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw localFileError(folder, error);
    });
    const before = await readVm(folder);
    const seed = seedOf({ name: target.name, id: target.id, user: target.options.sshUser, boot });
    // A guest that has failed says so for ever: another try is another start.
    if (before && (await hasFailed(folder))) await killProcess(folder, before, call);
    if (before?.taken) {
      await launch(before, target, call);
      return { laid: before.seed === seed.id };
    }
    if (before?.seed === seed.id && (await runState(folder, before, call)) === 'running') return { laid: true };
    // It has taken nothing yet, and so takes whatever identity is laid for its start.
    if (before) await killProcess(folder, before, call);
    await laid(join(folder, FILES.seed), seed.bytes);
    if (before)
      await writeVm(folder, {
        ...before,
        seed: seed.id,
        user: target.options.sshUser,
        enginePort: boot.enginePort,
      });
    else await makeVm(folder, target, boot, seed.id, call);
    await launch((await vmOf(target, call)).vm, target, call);
    return { laid: true };
  },
  async booted(target, call) {
    const { folder, vm } = await vmOf(target, call);
    const word = await firstWord(folder, vm, call);
    if (!word.ready) {
      throw new SlipwayError('BOOT_FAILED', `${vm.name} did not start: ${word.reason}`, {
        hint: `Its console is in ${join(folder, FILES.console)}`,
        detail: await endOfConsole(join(folder, FILES.console)),
      });
    }
    if (!vm.taken) await writeVm(folder, { ...vm, taken: true });
    await dropSeed(folder);
  },
  async inspect(target, call): Promise<Instance> {
    const folder = vmFolder(call.computer, target.id);
    const vm = await readVm(folder);
    if (!vm) return { state: 'missing' };
    const state = await runState(folder, vm, call);
    if (state === 'none' || state === 'ended') return { state: 'stopped' };
    if (state === 'io-error')
      return { state: 'paused', reason: `its disk can’t grow: the disk of this computer that holds ${folder} is full` };
    if (state === 'paused') return { state: 'paused', reason: 'it is suspended' };
    if (state === 'silent') return { state: 'paused', reason: 'its QEMU process does not answer' };
    return { state: 'running', host: hostOf(vm) };
  },
  async start(target, call) {
    const { folder, vm } = await vmOf(target, call);
    if (vm.taken) await dropSeed(folder);
    await launch(vm, target, call);
  },
  async stop(target, { seconds }, call) {
    const { folder, vm } = await vmOf(target, call);
    const state = await runState(folder, vm, call);
    if (state === 'none') return;
    if (state !== 'running') return await killProcess(folder, vm, call);
    // By its number, which is the last that it gives up.
    const gone = await processOf(folder, vm, call);
    await askToEnd(folder, vm);
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      if (await gone()) return;
      await sleep(200, undefined, { signal: call.signal }).catch(() => {
        throw canceled();
      });
    }
    call.note(`${vm.name} did not shut down within ${seconds} seconds, so it was ended`);
    await killProcess(folder, vm, call);
  },
  async kill(target, call) {
    const { folder, vm } = await vmOf(target, call);
    await killProcess(folder, vm, call);
  },
  async moved({ id }, { computer }) {
    const folder = vmFolder(computer, id);
    const vm = await readVm(folder);
    if (!vm) return;
    const { records: _before, ...rest } = vm;
    await writeVm(folder, { ...rest, ...(computer.records === undefined ? {} : { records: computer.records }) });
  },
  async named(name, { computer }) {
    const ids = await vmIds(computer);
    const all = await Promise.all(ids.map((id) => readVm(vmFolder(computer, id)).catch(() => undefined)));
    return ids.filter((_id, index) => all[index]?.name === name && all[index].records === computer.records);
  },
  async remove({ id, name }, call) {
    const folder = vmFolder(call.computer, id);
    // Removing is the way out of a vm.json that is broken; the process is known without it.
    const vm = await readVm(folder).catch((error: unknown) => {
      if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return { id, name };
      throw error;
    });
    if (vm) await killProcess(folder, vm, call);
    // Its name says that it is no machine any more, whatever happens next.
    const grave = join(call.computer.home, 'vms', `.removed-${id}`);
    await rm(grave, { recursive: true, force: true });
    await rename(folder, grave).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
    await rm(grave, { recursive: true, force: true });
  },
});

function port(description: string): z.ZodOptional<z.ZodInt> {
  return z.int().min(1).max(65535).optional().meta({ description, value: 'port' });
}

function hostOf({ ports, user }: Vm): Extract<Instance, { state: 'running' }>['host'] {
  return {
    address: '127.0.0.1',
    ssh: { address: '127.0.0.1', port: ports.ssh, user },
    enginePort: ports.engine,
  };
}

async function vmOf(
  { id, name }: Target<unknown>,
  { computer }: Call,
): Promise<{ readonly folder: string; readonly vm: Vm }> {
  const folder = vmFolder(computer, id);
  const vm = await readVm(folder);
  if (vm) return { folder, vm };
  throw new SlipwayError('MACHINE_NOT_READY', `The VM of "${name}" is not there: ${folder} has no vm.json`, {
    hint: `Put the folder back, or give the machine up: slipway rm ${name}`,
  });
}

/** As its power button does. The monitor has one client at a time, so it is let go for whoever asks how the VM is. */
async function askToEnd(folder: string, vm: Vm): Promise<void> {
  await using monitor = await openVm(folder, vm);
  await monitor?.execute('system_powerdown');
}

/** Disk and decisions of a VM that is new. A kill before `vm.json` leaves files that the next create writes over. */
async function makeVm(folder: string, target: Target<Options>, boot: Boot, seed: string, call: Call): Promise<void> {
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
  await writeVm(folder, {
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
  });
}

async function accelerationFor(
  asked: Options['accelerator'],
  image: Image,
  { imageFolder: folder, taken }: Vm,
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

async function roomFor(folder: string): Promise<void> {
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
async function dropSeed(folder: string): Promise<void> {
  await rm(join(folder, FILES.seed), { force: true }).catch((error: unknown) => {
    // Windows keeps a file that a process has open; the next start takes it away.
    if (systemCode(error) !== 'EBUSY' && systemCode(error) !== 'EPERM') throw error;
  });
}

async function laid(file: string, bytes: Uint8Array): Promise<void> {
  // A disk has whole sectors, and a new file its mode from the first byte on.
  const whole = Buffer.alloc(Math.ceil(bytes.length / 4096) * 4096);
  whole.set(bytes);
  await rm(file, { force: true });
  await writeFile(file, whole, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
    throw localFileError(file, error);
  });
}

/** Makes a VM run: goes on with one that is held up, starts one that is stopped, leaves one that runs. */
async function launch(vm: Vm, target: Target<Options>, call: Call): Promise<void> {
  const folder = vmFolder(call.computer, vm.id);
  const state = await settledState(folder, vm, call);
  if (state === 'running') return;
  if (state === 'io-error' || state === 'paused') {
    if (state === 'io-error') await roomFor(folder);
    await using monitor = await openVm(folder, vm);
    await monitor?.execute('cont');
    return;
  }
  await killProcess(folder, vm, call);
  await startAt(vm, await sameBase(vm, folder, call), target, folder, call);
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

async function hasFailed(folder: string): Promise<boolean> {
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
  let vm = { ...wanted, accelerator, cpus: given.cpus, memory: given.memory };
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
  const ports = { ssh: given.sshPort ?? vm.ports.ssh, engine: given.enginePort ?? vm.ports.engine };
  for (const [use, chosen, flag] of chosenPorts(given)) {
    const ours = ports.ssh === ports.engine && chosen === undefined;
    if (!ours && (await isFree(ports[use]))) continue;
    if (chosen !== undefined) throw portTaken(vm.name, chosen, flag, vm.taken);
    const [free = 0] = await freePorts(vm.id, 1, Object.values(ports), computer);
    if (vm.taken) note(`Port ${ports[use]} of 127.0.0.1 is taken by another program, so ${vm.name} has ${free} now`);
    ports[use] = free;
  }
  return { ...vm, ports };
}

function chosenPorts({
  sshPort,
  enginePort,
}: Options): readonly (readonly ['ssh' | 'engine', number | undefined, string])[] {
  return [
    ['ssh', sshPort, '--qemu-ssh-port'],
    ['engine', enginePort, '--qemu-engine-port'],
  ];
}

function portTaken(name: string, port: number, flag: string, taken: boolean): SlipwayError {
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

function shapeOf(vm: Vm & Pick<Shape, 'accelerator'>): Shape {
  return {
    ...vm,
    seed: vm.taken ? undefined : vm.seed,
    kernel: join(vm.imageFolder, 'vmlinuz'),
    initrd: join(vm.imageFolder, 'initrd'),
    forwards: [
      { from: vm.ports.ssh, to: 22 },
      { from: vm.ports.engine, to: vm.enginePort },
    ],
  };
}

async function firstWord(folder: string, vm: Vm, call: Call): Promise<Word> {
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
