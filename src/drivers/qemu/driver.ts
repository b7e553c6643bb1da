import { mkdir, rename, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readFileIfExists } from '../../computer/files.ts';
import type { Computer } from '../../computer/computer.ts';
import { canceledError, SlipwayError, systemCode } from '../../errors.ts';
import { archOf, shortDigest } from '../../images/image.ts';
import type { DriverCall, Diagnostic, CreateResult, InstanceStatus, LocalDriverCode, Target } from '../contract.ts';
import { hardwareAccelerator, readLastProbe } from './accelerator.ts';
import { VM_FILES } from './command-line.ts';
import { readConsoleTail, stripTerminalSequences } from './console.ts';
import { ensureImage, parseImageOptions } from './vm-image.ts';
import {
  chosenPorts,
  deleteSeed,
  waitForVmBoot,
  discardMemory,
  hasBootFailed,
  sendPendingCommands,
  writeDiskImage,
  ensureRunning,
  createVm,
  portTakenError,
} from './launch.ts';
import type { QemuOptions } from './options.ts';
import { isPortFree } from './free-ports.ts';
import { requireShortSocketPath, killProcess, openVmMonitor, createExitCheck, getRunState } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { seedOf, diffSeedFiles, type Seed } from './seed.ts';
import { canSuspend, suspendVm } from './suspend.ts';
import {
  isBuilding,
  convertSpareToVm,
  deleteKeptFile,
  identityOf,
  listSpares,
  acquireBuilderLock,
  buildSpare,
  pruneSpares,
  countReadySpares,
  cleanUpBuilds,
  takeSpare,
  findBuildObstacle,
} from './warm-pool.ts';
import { readVm, vmFolder, listVmIds, writeVm, type Vm } from './vm.ts';

const MIB = 1024 * 1024;

/** VMs that QEMU runs on this computer. Each is a folder `vms/<id>` in Slipway's own folder. */
export const driver: LocalDriverCode<QemuOptions> = {
  async health() {
    return { usable: true };
  },
  async diagnose(computer) {
    const accelerator = hardwareAccelerator(computer.platform);
    const trial = await readLastProbe(computer);
    const ahead = await diagnoseWarmStart(computer);
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
  machines: {
    async validate({ id, name, options: given }, { computer }) {
      requireShortSocketPath(vmFolder(computer, id));
      parseImageOptions(given);
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
        if (port !== undefined && !(await isPortFree(port))) throw portTakenError(name, port, flag, false);
    },
    async prepare({ options: given }, call) {
      await ensureImage(parseImageOptions(given), call);
    },
    async create(target, boot, call) {
      const folder = vmFolder(call.computer, target.id);
      await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
        throw localFileError(folder, error);
      });
      const seed = seedOf(identityOf(target, boot));
      const found = (await readVm(folder)) ?? (await convertSpareToVm(folder, target, boot, call));
      const become = found && (await resumeExisting(found, seed, target, folder, call));
      if (typeof become === 'object') return become;
      if (found && become !== undefined) {
        call.note(
          found.born
            ? `The spare machine for ${target.name} can't be used, so it starts cold: ${become}`
            : `What was begun of ${target.name} is made anew: ${become}`,
        );
        await killProcess(folder, found, call);
        await rm(folder, { recursive: true, force: true });
        await mkdir(folder, { mode: 0o700 });
      }
      const before = become === undefined ? found : undefined;
      // A guest that has failed says so for ever: another try is another start.
      if (before && (await hasBootFailed(folder))) await killProcess(folder, before, call);
      if (before?.taken) {
        await ensureRunning(before, target, folder, call);
        return { bootApplied: before.seed === seed.id };
      }
      if (before?.seed === seed.id && (await getRunState(folder, before, call)) === 'running')
        return { bootApplied: true };
      // It has taken nothing yet, and so takes whatever identity is laid for its start.
      if (before) await killProcess(folder, before, call);
      await writeDiskImage(join(folder, VM_FILES.seed), seed.bytes);
      if (before)
        await writeVm(folder, {
          ...before,
          seed: seed.id,
          user: target.options.sshUser,
          enginePort: boot.enginePort,
        });
      else await createVm(folder, target, boot, seed.id, call);
      await ensureRunning((await requireVm(target, call)).vm, target, folder, call);
      return { bootApplied: true };
    },
    async waitUntilBooted(target, call) {
      const { folder, vm: found } = await requireVm(target, call);
      const vm = await sendPendingCommands(found, folder, call);
      const word = await waitForVmBoot(folder, vm, call);
      if (!word.ready) {
        throw new SlipwayError('BOOT_FAILED', `${vm.name} did not start: ${word.reason}`, {
          hint: `Its console is in ${join(folder, VM_FILES.console)}`,
          detail: await readConsoleTail(join(folder, VM_FILES.console)),
        });
      }
      if (!vm.taken) await writeVm(folder, { ...vm, taken: true });
      await deleteSeed(folder);
    },
    async inspect(target, call): Promise<InstanceStatus> {
      const folder = vmFolder(call.computer, target.id);
      const vm = await readVm(folder);
      if (!vm) return { state: 'missing' };
      const state = await getRunState(folder, vm, call);
      if (state === 'none' || state === 'ended')
        return { state: 'stopped', ...(vm.suspended ? { suspended: true } : {}) };
      if (state === 'io-error')
        return {
          state: 'paused',
          reason: `its disk can't grow: the disk of this computer that holds ${folder} is full`,
        };
      if (state === 'paused') return { state: 'paused', reason: 'its QEMU process was told to wait' };
      if (state === 'silent') return { state: 'paused', reason: 'its QEMU process does not answer' };
      return { state: 'running', host: hostOf(vm) };
    },
    async onImported({ id }, { computer }) {
      const folder = vmFolder(computer, id);
      const vm = await readVm(folder);
      if (!vm) return;
      const { records: _before, ...rest } = vm;
      await writeVm(folder, { ...rest, ...(computer.storeHome === undefined ? {} : { records: computer.storeHome }) });
    },
    async findIdsByName(name, { computer }) {
      const ids = await listVmIds(computer);
      const all = await Promise.all(ids.map((id) => readVm(vmFolder(computer, id)).catch(() => undefined)));
      return ids.filter((_id, index) => all[index]?.name === name && all[index].records === computer.storeHome);
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
  },
  power: {
    async start(target, call) {
      const { folder, vm } = await requireVm(target, call);
      if (vm.taken) await deleteSeed(folder);
      await ensureRunning(vm, target, folder, call);
    },
    async suspend(target, call) {
      const { name } = target;
      const { folder, vm } = await requireVm(target, call);
      const state = await getRunState(folder, vm, call);
      // An earlier one that was cut off may have left the process, in which nothing has run since.
      if (vm.suspended && state !== 'running') return await killProcess(folder, vm, call);
      const { accelerator } = vm;
      if (state !== 'running' || accelerator === undefined) {
        throw new SlipwayError('MACHINE_NOT_READY', `"${name}" does not run, so there is nothing to suspend`, {
          hint: `Start it: slipway start ${name}`,
        });
      }
      requireSuspendable(target, vm, call);
      const program = await requireProgramPath(qemuSystemProgram(archOf(call.computer)), call.computer);
      await suspendVm({ ...vm, accelerator }, folder, [{ do: 'sync' }], program, call);
    },
    async stop(target, { seconds }, call) {
      const { folder, vm } = await requireVm(target, call);
      const state = await getRunState(folder, vm, call);
      if (state === 'none') return;
      if (state !== 'running') return await killProcess(folder, vm, call);
      // By its number, which is the last that it gives up.
      const gone = await createExitCheck(folder, vm, call);
      await sendPowerdown(folder, vm);
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end) {
        if (await gone()) return;
        await sleep(200, undefined, { signal: call.signal }).catch(() => {
          throw canceledError();
        });
      }
      call.note(`${vm.name} did not shut down within ${seconds} seconds, so it was ended`);
      await killProcess(folder, vm, call);
    },
    async kill(target, call) {
      const { folder, vm } = await requireVm(target, call);
      await killProcess(folder, vm, call);
      // The next start is a boot, as after any other power cut.
      await discardMemory(vm, folder);
    },
  },
  warmPool: {
    take: takeSpare,
    make: buildSpare,
    countReady: countReadySpares,
    findObstacle: findBuildObstacle,
    lock: acquireBuilderLock,
    async isWanted(target, call) {
      const { computer } = call;
      if (!target.options.warm || !canSuspend(computer)) return false;
      await cleanUpBuilds(call);
      if (await isBuilding(computer)) return false;
      const text = await readFileIfExists(join(vmFolder(computer, target.id), VM_FILES.console));
      // An image of an older version has nothing that listens.
      const listens = stripTerminalSequences(text ?? '').includes('slipway: can be suspended');
      return (
        listens && (await findBuildObstacle(target, call)) === undefined && (await countReadySpares(target, call)) === 0
      );
    },
    list: listSpares,
    prune: pruneSpares,
  },
  cost: {
    describeResources: ({ cpus, memory, disk, image }) =>
      `a virtual machine of this computer: ${cpus} CPUs, ${memory} MB of memory, a disk of up to ${disk} GB, ${image}`,
  },
};

function hostOf({ ports, user }: Vm): Extract<InstanceStatus, { state: 'running' }>['host'] {
  return {
    address: '127.0.0.1',
    ssh: { address: '127.0.0.1', port: ports.ssh, user },
    enginePort: ports.engine,
  };
}

async function requireVm(
  { id, name }: Target<unknown>,
  { computer }: DriverCall,
): Promise<{ readonly folder: string; readonly vm: Vm }> {
  const folder = vmFolder(computer, id);
  const vm = await readVm(folder);
  if (vm) return { folder, vm };
  throw new SlipwayError('MACHINE_NOT_READY', `The VM of "${name}" is not there: ${folder} has no vm.json`, {
    hint: `Put the folder back, or give the machine up: slipway rm ${name}`,
  });
}

/** As its power button does. The monitor has one client at a time, so it is let go for whoever asks how the VM is. */
async function sendPowerdown(folder: string, vm: Vm): Promise<void> {
  await using monitor = await openVmMonitor(folder, vm);
  await monitor?.execute('system_powerdown');
}

async function diagnoseWarmStart(computer: Computer): Promise<Diagnostic> {
  const what = 'warm start';
  if (!canSuspend(computer))
    return { what, state: 'note', detail: "not on this system: machines start cold, and can't be suspended" };
  const spares = await listSpares(computer);
  const megabytes = Math.ceil(spares.reduce((sum, { bytes }) => sum + bytes, 0) / 1_000_000);
  return spares.length === 0
    ? { what, state: 'note', detail: 'no spare machine is ready; create leaves one behind' }
    : { what, state: 'ok', detail: `${spares.length} ready (${megabytes} MB)` };
}

/** What has become of a VM that is there already: a machine, where it is a spare; why it can't be this machine; or nothing yet. */
async function resumeExisting(
  vm: Vm,
  seed: Seed,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<CreateResult | string | undefined> {
  const { options: given } = target;
  const image = await ensureImage(parseImageOptions(given), call);
  if (vm.image !== image.digest) return `it is to have the image ${image.name} (${shortDigest(image.digest)}) now`;
  // One that has started has its user; any other gets whom its seed names.
  if (vm.user !== given.sshUser && (vm.taken || vm.born)) return `its user is to be ${given.sshUser} now`;
  return vm.born && (await resumeSpare(vm, vm.born, seed, target, folder, call));
}

/** Lets a spare go on as this machine, and tells it who it is; or says why it can't. */
async function resumeSpare(
  vm: Vm,
  born: NonNullable<Vm['born']>,
  seed: Seed,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<CreateResult | string> {
  const { told, same } = diffSeedFiles(seed, born);
  const untold = [
    { do: 'name', name: target.name } as const,
    ...told.map(({ path, content }) => ({ do: 'file', path, content }) as const),
  ];
  const why = await ensureRunning({ ...vm, untold, ...(same ? { seed: seed.id } : {}) }, target, folder, call);
  if (why !== undefined) return why;
  await deleteKeptFile(folder);
  return { bootApplied: same, resumed: true };
}

/** What waits for a start would be lost by going on without one, or the memory would be. */
function requireSuspendable({ name, options: given }: Target<QemuOptions>, vm: Vm, { computer }: DriverCall): void {
  if (!canSuspend(computer)) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', "VMs can't be suspended on this system", {
      hint: `Shut it down: slipway stop ${name}`,
    });
  }
  if (!vm.devices?.port) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `${name} was started by an older version, and can't be suspended`, {
      hint: `It can once it was started anew: slipway restart ${name}`,
    });
  }
  if (given.cpus === vm.cpus && given.memory === vm.memory) return;
  throw new SlipwayError('USAGE', `${name} has options that it takes when it starts, so it can't be suspended now`, {
    hint: `Let it take them first: slipway restart ${name}`,
  });
}
