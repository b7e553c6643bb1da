import { mkdir, rename, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readIfThere } from '../../computer/files.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceled, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, shortDigest } from '../../images/image.ts';
import { defineDriver, type Call, type Finding, type Created, type Instance, type Target } from '../contract.ts';
import { hardware, lastTrial } from './accelerator.ts';
import { FILES } from './command-line.ts';
import { endOfConsole, plainConsole } from './console.ts';
import { ensureImage, imageRequest } from './image.ts';
import {
  chosenPorts,
  dropSeed,
  firstWord,
  forgotten,
  hasFailed,
  inform,
  laid,
  launch,
  makeVm,
  portTaken,
} from './launch.ts';
import { AT_START, options, type Options } from './options.ts';
import { isFree } from './ports.ts';
import { checkFolder, killProcess, openVm, processOf, runState } from './process.ts';
import { programPath, programsOf, systemEmulator } from './programs.ts';
import { seedOf, toBecome, type Seed } from './seed.ts';
import { canSuspend, suspendVm } from './snapshot.ts';
import {
  areMade,
  asMachine,
  forgetKept,
  identityOf,
  listSpares,
  makersLock,
  makeSpare,
  pruneSpares,
  readySpares,
  sweep,
  takeSpare,
  whyNone,
} from './spares.ts';
import { readVm, vmFolder, vmIds, writeVm, type Vm } from './vm.ts';

const MIB = 1024 * 1024;

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
    if (option === 'warm') return 'live';
    if (option === 'disk') return Number(to) >= Number(from) ? 'restart' : 'replace';
    return AT_START.has(option) ? 'restart' : 'replace';
  },
  async health() {
    return { usable: true };
  },
  async checkup(computer) {
    const accelerator = hardware(computer.platform);
    const trial = await lastTrial(computer);
    const ahead = await spareFinding(computer);
    if (trial === undefined || accelerator === undefined)
      return [{ what: 'acceleration', state: 'note', detail: 'not tried yet; the first create tries it' }, ahead];
    return [
      trial.works
        ? { what: 'acceleration', state: 'ok', detail: accelerator }
        : {
            what: 'acceleration',
            state: 'note',
            detail: `software emulation, which is slow: ${accelerator} does not work (${trial.reason})`,
          },
      ahead,
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
    const seed = seedOf(identityOf(target, boot));
    const found = (await readVm(folder)) ?? (await asMachine(folder, target, boot, call));
    const become = found && (await wentOn(found, seed, target, folder, call));
    if (typeof become === 'object') return become;
    if (found && become !== undefined) {
      call.note(
        found.born
          ? `The spare machine for ${target.name} can’t be used, so it starts cold: ${become}`
          : `What was begun of ${target.name} is made anew: ${become}`,
      );
      await killProcess(folder, found, call);
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { mode: 0o700 });
    }
    const before = become === undefined ? found : undefined;
    // A guest that has failed says so for ever: another try is another start.
    if (before && (await hasFailed(folder))) await killProcess(folder, before, call);
    if (before?.taken) {
      await launch(before, target, folder, call);
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
    await launch((await vmOf(target, call)).vm, target, folder, call);
    return { laid: true };
  },
  async booted(target, call) {
    const { folder, vm: found } = await vmOf(target, call);
    const vm = await inform(found, folder, call);
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
    if (state === 'none' || state === 'ended')
      return { state: 'stopped', ...(vm.suspended ? { suspended: true } : {}) };
    if (state === 'io-error')
      return { state: 'paused', reason: `its disk can’t grow: the disk of this computer that holds ${folder} is full` };
    if (state === 'paused') return { state: 'paused', reason: 'its QEMU process was told to wait' };
    if (state === 'silent') return { state: 'paused', reason: 'its QEMU process does not answer' };
    return { state: 'running', host: hostOf(vm) };
  },
  async start(target, call) {
    const { folder, vm } = await vmOf(target, call);
    if (vm.taken) await dropSeed(folder);
    await launch(vm, target, folder, call);
  },
  async suspend(target, call) {
    const { name } = target;
    const { folder, vm } = await vmOf(target, call);
    const state = await runState(folder, vm, call);
    // An earlier one that was cut off may have left the process, in which nothing has run since.
    if (vm.suspended && state !== 'running') return await killProcess(folder, vm, call);
    const { accelerator } = vm;
    if (state !== 'running' || accelerator === undefined) {
      throw new SlipwayError('MACHINE_NOT_READY', `"${name}" does not run, so there is nothing to suspend`, {
        hint: `Start it: slipway start ${name}`,
      });
    }
    cannotSuspend(target, vm, call);
    const program = await programPath(systemEmulator(archOf(call.computer)), call.computer);
    await suspendVm({ ...vm, accelerator }, folder, [{ do: 'sync' }], program, call);
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
    // The next start is a boot, as after any other power cut.
    await forgotten(vm, folder);
  },
  spares: {
    take: takeSpare,
    make: makeSpare,
    ready: readySpares,
    unable: whyNone,
    lock: makersLock,
    async wanted(target, call) {
      const { computer } = call;
      if (!target.options.warm || !canSuspend(computer)) return false;
      await sweep(call);
      if (await areMade(computer)) return false;
      const text = await readIfThere(join(vmFolder(computer, target.id), FILES.console));
      // An image of an older version has nothing that listens.
      const listens = plainConsole(text ?? '').includes('slipway: can be suspended');
      return listens && (await whyNone(target, call)) === undefined && (await readySpares(target, call)) === 0;
    },
    list: listSpares,
    prune: pruneSpares,
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

async function spareFinding(computer: Computer): Promise<Finding> {
  const what = 'warm start';
  if (!canSuspend(computer))
    return { what, state: 'note', detail: 'not on this system: machines start cold, and can’t be suspended' };
  const spares = await listSpares(computer);
  const megabytes = Math.ceil(spares.reduce((sum, { bytes }) => sum + bytes, 0) / 1_000_000);
  return spares.length === 0
    ? { what, state: 'note', detail: 'no spare machine is ready; create leaves one behind' }
    : { what, state: 'ok', detail: `${spares.length} ready (${megabytes} MB)` };
}

/** What has become of a VM that is there already: a machine, where it is a spare; why it can't be this machine; or nothing yet. */
async function wentOn(
  vm: Vm,
  seed: Seed,
  target: Target<Options>,
  folder: string,
  call: Call,
): Promise<Created | string | undefined> {
  const { options: given } = target;
  const image = await ensureImage(imageRequest(given), call);
  if (vm.image !== image.digest) return `it is to have the image ${image.name} (${shortDigest(image.digest)}) now`;
  // One that has started has its user; any other gets whom its seed names.
  if (vm.user !== given.sshUser && (vm.taken || vm.born)) return `its user is to be ${given.sshUser} now`;
  return vm.born && (await becomes(vm, vm.born, seed, target, folder, call));
}

/** Lets a spare go on as this machine, and tells it who it is; or says why it can't. */
async function becomes(
  vm: Vm,
  born: NonNullable<Vm['born']>,
  seed: Seed,
  target: Target<Options>,
  folder: string,
  call: Call,
): Promise<Created | string> {
  const { told, same } = toBecome(seed, born);
  const untold = [
    { do: 'name', name: target.name } as const,
    ...told.map(({ path, content }) => ({ do: 'file', path, content }) as const),
  ];
  const why = await launch({ ...vm, untold, ...(same ? { seed: seed.id } : {}) }, target, folder, call);
  if (why !== undefined) return why;
  await forgetKept(folder);
  return { laid: same, awake: true };
}

/** What waits for a start would be lost by going on without one, or the memory would be. */
function cannotSuspend({ name, options: given }: Target<Options>, vm: Vm, { computer }: Call): void {
  if (!canSuspend(computer)) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'VMs can’t be suspended on this system', {
      hint: `Shut it down: slipway stop ${name}`,
    });
  }
  if (!vm.devices?.port) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `${name} was started by an older version, and can’t be suspended`, {
      hint: `It can once it was started anew: slipway restart ${name}`,
    });
  }
  if (given.cpus === vm.cpus && given.memory === vm.memory) return;
  throw new SlipwayError('USAGE', `${name} has options that it takes when it starts, so it can’t be suspended now`, {
    hint: `Let it take them first: slipway restart ${name}`,
  });
}
