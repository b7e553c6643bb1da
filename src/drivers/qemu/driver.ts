import { dirname, join } from 'node:path';
import { emptyTrash, moveToTrash } from '../../computer/trash.ts';
import { SlipwayError } from '../../errors.ts';
import type { InstanceStatus, LocalDriverCode } from '../contract.ts';
import { bootError, sendPendingCommands, waitForVmBoot } from './boot.ts';
import { VM_FILES } from './command-line.ts';
import { create } from './create.ts';
import { diagnose } from './diagnose.ts';
import { deleteSeedDisk } from './disk.ts';
import { giveUpVm } from './end-vm.ts';
import { openForwarder } from './forwarder.ts';
import type { QemuOptions } from './options.ts';
import { kill, start, stop, suspend } from './power.ts';
import { getRunState, type RunState } from './qemu-process.ts';
import { requireVm } from './require-vm.ts';
import { validate } from './validate.ts';
import { ensureImage } from './vm-image.ts';
import { readVm, writeVm } from './vm-record.ts';
import { listVmIds, vmFolder, type Vm } from './vm.ts';
import { warmPool } from './warm-pool.ts';

/** The driver of VMs that QEMU runs on this computer. Each VM has a folder `vms/<id>` in Slipway's own folder. */
export const driver: LocalDriverCode<QemuOptions> = {
  diagnose,
  machines: {
    validate,
    async prepare({ options }, call) {
      await ensureImage(options, call);
    },
    create,
    async waitUntilBooted(target, call) {
      const { folder, vm: found } = await requireVm(target, call);
      const vm = await sendPendingCommands(found, folder, call);
      const result = await waitForVmBoot(folder, vm, call);
      if (!result.ready)
        throw await bootError(`Machine "${vm.name}" did not start: ${result.reason}`, join(folder, VM_FILES.console));
      if (!vm.seedApplied) await writeVm(folder, { ...vm, seedApplied: true });
      await deleteSeedDisk(folder);
    },
    async inspect(target, call) {
      const folder = vmFolder(call.computer, target.id);
      const vm = await readVm(folder);
      return vm ? toStatus(await getRunState(folder, vm, call), vm, folder) : { state: 'missing' };
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
      const vms = await Promise.all(ids.map((id) => readVm(vmFolder(computer, id)).catch(() => undefined)));
      return ids.filter((_id, index) => vms[index]?.name === name && vms[index].storeHome === computer.storeHome);
    },
    async remove({ id, name }, call) {
      const folder = vmFolder(call.computer, id);
      // A VM with a broken record can be removed too: its process is identified without it.
      const vm = await readVm(folder).catch((error: unknown) => {
        if (error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return { id, name };
        throw error;
      });
      if (vm) await giveUpVm('rm', vm, folder, call);
      await moveToTrash(folder);
      await emptyTrash(dirname(folder));
    },
  },
  power: { start, suspend, stop, kill },
  openForwarder,
  warmPool,
  cost: {
    describeResources: ({ cpus, memory, disk, image }) =>
      `a virtual machine on this computer: ${cpus} CPUs, ${memory} MB of memory, a disk of up to ${disk} GB, ${image}`,
  },
};

function toStatus(state: RunState, vm: Vm, folder: string): InstanceStatus {
  switch (state) {
    case 'none':
    case 'ended':
      return { state: 'stopped', ...(vm.snapshot ? { suspended: true } : {}) };
    case 'io-error':
      return { state: 'paused', reason: `its disk can't grow: the disk of ${folder} is full` };
    case 'crashed':
      return { state: 'paused', reason: 'its guest has crashed' };
    case 'unknown':
      return { state: 'paused', reason: 'this computer does not say whether its QEMU process runs' };
    case 'paused':
    case 'written':
      return { state: 'paused', reason: 'its QEMU process is paused' };
    case 'silent':
      return { state: 'paused', reason: 'its QEMU process does not answer' };
    case 'running':
      return { state: 'running', host: hostOf(vm) };
  }
}

function hostOf({ ports, user }: Vm): Extract<InstanceStatus, { state: 'running' }>['host'] {
  return {
    address: '127.0.0.1',
    ssh: { address: '127.0.0.1', port: ports.ssh, user },
    enginePort: ports.engine,
  };
}
