import { mkdir, rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { localFileError, readFileIfExists } from '../../computer/files.ts';
import type { Computer } from '../../computer/computer.ts';
import { emptyTrash, moveToTrash } from '../../computer/trash.ts';
import { canceledError, SlipwayError } from '../../errors.ts';
import { archOf, shortDigest } from '../../images/image.ts';
import type { DriverCall, Diagnostic, CreateResult, InstanceStatus, LocalDriverCode, Target } from '../contract.ts';
import { hardwareAccelerator, readLastProbe } from './accelerator.ts';
import { VM_FILES } from './command-line.ts';
import { readConsoleTail, stripTerminalSequences } from './console.ts';
import { ensureImage, parseImageOptions } from './vm-image.ts';
import { hasBootFailed, sendPendingCommands, waitForVmBoot } from './boot.ts';
import { buildSpare, findBuildObstacle } from './build-spare.ts';
import { acquireBuilderLock, cleanUpBuilds, isBuilding } from './builds.ts';
import { createVm } from './create-vm.ts';
import { deleteSeedDisk, writeSeedDisk } from './disk.ts';
import { ensureRunning } from './ensure-running.ts';
import { GUEST_AGENT_LINE } from './guest-channel.ts';
import { countReadySpares } from './match-spares.ts';
import { discardMemory } from './memory.ts';
import type { QemuOptions } from './options.ts';
import { isPortFree, portOptions, portTakenError } from './ports.ts';
import { pruneSpares } from './prune-spares.ts';
import { requireShortSocketPath, killProcess, openVmMonitor, createExitCheck, getRunState } from './qemu-process.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { seedOf, diffSeedFiles, guestIdentityOf, type Seed } from './seed.ts';
import { canSuspend } from './snapshot.ts';
import { deleteSecrets, listSpares } from './spare-store.ts';
import { suspendVm } from './suspend.ts';
import { convertSpareToVm, takeSpare } from './take-spare.ts';
import { readVm, writeVm } from './vm-record.ts';
import { vmFolder, listVmIds, type Vm } from './vm.ts';

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
          `${name} would have ${given.memory} MB of memory, but this computer has ${most} MB`,
          {
            hint: `Type less, such as: --qemu-memory ${Math.max(512, Math.floor(most / 2048) * 1024)}`,
          },
        );
      }
      if (given.sshPort !== undefined && given.sshPort === given.enginePort)
        throw new SlipwayError('USAGE', `--qemu-ssh-port and --qemu-engine-port are both ${given.sshPort}`, {
          hint: 'Type two different ports',
        });
      // One that is there may hold them itself.
      if (await readVm(vmFolder(computer, id))) return;
      for (const { port, flag } of portOptions(given))
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
      const seed = seedOf(guestIdentityOf(target, boot));
      const found = (await readVm(folder)) ?? (await convertSpareToVm(folder, target, boot, call));
      const become = found && (await resumeExisting(found, seed, target, folder, call));
      if (typeof become === 'object') return become;
      if (found && become !== undefined) {
        call.note(
          found.spareFiles
            ? `The spare for ${target.name} can't be used, so it starts cold: ${become}`
            : `The incomplete VM of ${target.name} is replaced: ${become}`,
        );
        await killProcess(folder, found, call);
        await rm(folder, { recursive: true, force: true });
        await mkdir(folder, { mode: 0o700 });
      }
      const before = become === undefined ? found : undefined;
      // A guest that has failed says so for ever: another try is another start.
      if (before && (await hasBootFailed(folder))) await killProcess(folder, before, call);
      if (before?.seedApplied) {
        await ensureRunning(before, target, folder, call);
        return { bootApplied: before.seedId === seed.id };
      }
      if (before?.seedId === seed.id && (await getRunState(folder, before, call)) === 'running')
        return { bootApplied: true };
      // It has taken nothing yet, and so takes whatever identity is laid for its start.
      if (before) await killProcess(folder, before, call);
      await writeSeedDisk(folder, seed.bytes);
      if (before)
        await writeVm(folder, {
          ...before,
          seedId: seed.id,
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
      if (!vm.seedApplied) await writeVm(folder, { ...vm, seedApplied: true });
      await deleteSeedDisk(folder);
    },
    async inspect(target, call): Promise<InstanceStatus> {
      const folder = vmFolder(call.computer, target.id);
      const vm = await readVm(folder);
      if (!vm) return { state: 'missing' };
      const state = await getRunState(folder, vm, call);
      if (state === 'none' || state === 'ended')
        return { state: 'stopped', ...(vm.snapshot ? { suspended: true } : {}) };
      if (state === 'io-error')
        return { state: 'paused', reason: `its disk can't grow: the disk of ${folder} is full` };
      if (state === 'paused') return { state: 'paused', reason: 'its QEMU process is paused' };
      if (state === 'silent') return { state: 'paused', reason: 'its QEMU process does not answer' };
      return { state: 'running', host: hostOf(vm) };
    },
    async onImported({ id }, { computer }) {
      const folder = vmFolder(computer, id);
      const vm = await readVm(folder);
      if (!vm) return;
      const { storeHome: _before, ...rest } = vm;
      await writeVm(folder, {
        ...rest,
        ...(computer.storeHome === undefined ? {} : { storeHome: computer.storeHome }),
      });
    },
    async findIdsByName(name, { computer }) {
      const ids = await listVmIds(computer);
      const all = await Promise.all(ids.map((id) => readVm(vmFolder(computer, id)).catch(() => undefined)));
      return ids.filter((_id, index) => all[index]?.name === name && all[index].storeHome === computer.storeHome);
    },
    async remove({ id, name }, call) {
      const folder = vmFolder(call.computer, id);
      // Removing is the way out of a vm.json that is broken; the process is known without it.
      const vm = await readVm(folder).catch((error: unknown) => {
        if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return { id, name };
        throw error;
      });
      if (vm) await killProcess(folder, vm, call);
      await moveToTrash(folder);
      await emptyTrash(dirname(folder));
    },
  },
  power: {
    async start(target, call) {
      const { folder, vm } = await requireVm(target, call);
      if (vm.seedApplied) await deleteSeedDisk(folder);
      await ensureRunning(vm, target, folder, call);
    },
    async suspend(target, call) {
      const { name } = target;
      const { folder, vm } = await requireVm(target, call);
      const state = await getRunState(folder, vm, call);
      // An earlier one that was cut off may have left the process, in which nothing has run since.
      if (vm.snapshot && state !== 'running') return await killProcess(folder, vm, call);
      const { accelerator } = vm;
      if (state !== 'running' || accelerator === undefined) {
        throw new SlipwayError('MACHINE_NOT_READY', `"${name}" can't be suspended: it is not running`, {
          hint: `To start it: slipway start ${name}`,
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
      call.note(`${vm.name} did not shut down within ${seconds} seconds, so it was killed`);
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
      const listens = stripTerminalSequences(text ?? '').includes(GUEST_AGENT_LINE);
      return (
        listens && (await findBuildObstacle(target, call)) === undefined && (await countReadySpares(target, call)) === 0
      );
    },
    list: listSpares,
    prune: pruneSpares,
  },
  cost: {
    describeResources: ({ cpus, memory, disk, image }) =>
      `a virtual machine on this computer: ${cpus} CPUs, ${memory} MB of memory, a disk of up to ${disk} GB, ${image}`,
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
  throw new SlipwayError('MACHINE_NOT_READY', `The VM of "${name}" is missing: ${folder} has no vm.json`, {
    hint: `Restore the folder, or remove the machine: slipway rm ${name}`,
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
    return { what, state: 'note', detail: 'not supported on this system: machines start cold' };
  const spares = await listSpares(computer);
  const megabytes = Math.ceil(spares.reduce((sum, { bytes }) => sum + bytes, 0) / 1_000_000);
  return spares.length === 0
    ? { what, state: 'note', detail: 'no spare is ready; create builds one' }
    : { what, state: 'ok', detail: `${spares.length} ready (${megabytes} MB)` };
}

/**
 * What has become of a VM that is there already: a machine, where it is a spare; why it can't be this machine; or
 * nothing yet.
 */
async function resumeExisting(
  vm: Vm,
  seed: Seed,
  target: Target<QemuOptions>,
  folder: string,
  call: DriverCall,
): Promise<CreateResult | string | undefined> {
  const { options: given } = target;
  const image = await ensureImage(parseImageOptions(given), call);
  if (vm.imageDigest !== image.digest)
    return `its options now say the image ${image.name} (${shortDigest(image.digest)})`;
  // One that has started has its user; any other gets whom its seed names.
  if (vm.user !== given.sshUser && (vm.seedApplied || vm.spareFiles))
    return `its options now say the user ${given.sshUser}`;
  return vm.spareFiles && (await resumeSpare(vm, vm.spareFiles, seed, target, folder, call));
}

/** Lets a spare go on as this machine, and tells it who it is; or says why it can't. */
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
  const why = await ensureRunning(
    { ...vm, pendingCommands, ...(isSufficient ? { seedId: seed.id } : {}) },
    target,
    folder,
    call,
  );
  if (why !== undefined) return why;
  await deleteSecrets(folder);
  return { bootApplied: isSufficient, resumed: true };
}

/** What waits for a start would be lost by going on without one, or the memory would be. */
function requireSuspendable({ name, options: given }: Target<QemuOptions>, vm: Vm, { computer }: DriverCall): void {
  if (!canSuspend(computer)) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', 'Suspending VMs is not supported on this system', {
      hint: `To shut it down instead: slipway stop ${name}`,
    });
  }
  if (!vm.devices?.guestChannel) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `${name} can't be suspended: an older version of Slipway started it`, {
      hint: `To make that possible: slipway restart ${name}`,
    });
  }
  if (given.cpus === vm.cpus && given.memory === vm.memory) return;
  throw new SlipwayError('USAGE', `${name} can't be suspended: it has options that apply at its next start`, {
    hint: `To apply them first: slipway restart ${name}`,
  });
}
