import { join } from 'node:path';
import { listFolderIfExists } from '../../computer/files.ts';
import type { Computer } from '../../computer/computer.ts';
import type { Accelerator, QemuConfig } from './command-line.ts';
import type { GuestCommand } from './guest-channel.ts';

/**
 * What Slipway decided when it created a VM, and what has changed since. `vm-record.ts` reads and writes it as
 * `vm.json`.
 */
export type Vm = {
  readonly id: string;
  readonly name: string;
  /** The store that has the machine's record, if that is not the one beside this VM. */
  readonly storeHome?: string;
  /** Digest of the image under the VM's disk. */
  readonly imageDigest: string;
  readonly imageFolder: string;
  /** The kernel's `root=`. */
  readonly root: string;
  readonly arch: QemuConfig['arch'];
  /** The accelerator of the last start. */
  readonly accelerator?: Accelerator;
  readonly cpus: number;
  /** MiB. */
  readonly memory: number;
  readonly user: string;
  /** Ports of 127.0.0.1 that lead to the guest's SSH server and to its engine. */
  readonly ports: { readonly ssh: number; readonly engine: number };
  /** The port on which the engine listens inside the guest. */
  readonly enginePort: number;
  /** The id of the seed that holds this VM's identity. */
  readonly seedId: string;
  /** Whether the guest has applied its seed; from then on it starts without one. */
  readonly seedApplied: boolean;
  /** The monitor's port of 127.0.0.1, on systems without sockets in folders. */
  readonly monitorPort?: number | undefined;
  /** Devices of the last start that depend on how it was started. A resume needs the same ones. */
  readonly devices?: VmDevices;
  /** QEMU's arguments of the last start, without those of its monitor. Older versions recorded none. */
  readonly argv?: readonly string[];
  /** Set while the VM is suspended: the memory to resume with. */
  readonly snapshot?: VmSnapshot;
  /** Commands that the guest has to get after a resume, in addition to those of every resume. */
  readonly pendingCommands?: readonly GuestCommand[];
  /**
   * Set while this VM is a spare that has not become its machine yet: SHA-256 of each file of the spare's seed, by
   * path.
   */
  readonly spareFiles?: Readonly<Record<string, string>>;
};

/** `seedDiskBytes` is 0 for a VM without a seed's disk. */
export type VmDevices = { readonly guestChannel: boolean; readonly seedDiskBytes: number };

/** The memory of a VM in a file, and how QEMU has to be started to read it. */
export type VmSnapshot = {
  /** BLAKE2b takes a third of the time of SHA-256. */
  readonly blake2b: string;
  readonly bytes: number;
  readonly format: 'zstd' | 'plain';
  /**
   * QEMU's arguments, with the version of the machine type, which newer versions of QEMU can still imitate. A snapshot
   * of an older Slipway has none: then the VM's hardware is described by its record (`hardwareDigest`).
   */
  readonly argv?: readonly string[];
  /** See `hardwareDigestOf`. */
  readonly hardwareDigest: string;
  readonly qemu: {
    readonly program: string;
    readonly version: string;
    readonly bytes: number;
    readonly mtimeMs: number;
  };
  readonly processor: string;
  /** Undefined while the process that wrote the memory may still write to the disk as it exits. */
  readonly disk?: { readonly bytes: number; readonly mtimeMs: number };
};

/** The QEMU that wrote a memory file, and the version of the machine type that it emulates. */
export type MemoryWriter = { readonly version: string; readonly machineType: string };

export type VmWithAccelerator = Vm & { readonly accelerator: Accelerator };
export type SuspendedVm = Vm & { readonly snapshot: VmSnapshot };

/** Returns the configuration with which QEMU starts the VM next. */
export function toQemuConfig(vm: Vm & Pick<QemuConfig, 'accelerator'>): QemuConfig {
  return {
    ...vm,
    seedId: vm.seedApplied ? undefined : vm.seedId,
    hasSeedDisk: (vm.devices?.seedDiskBytes ?? 0) > 0,
    hasGuestChannel: vm.devices?.guestChannel ?? false,
    kernel: join(vm.imageFolder, 'vmlinuz'),
    initrd: join(vm.imageFolder, 'initrd'),
    forwards: [
      { hostPort: vm.ports.ssh, guestPort: 22 },
      { hostPort: vm.ports.engine, guestPort: vm.enginePort },
    ],
  };
}

/** Returns a VM's folder. It depends on the machine's id alone, so that the VM can be found when the record is lost. */
export function vmFolder({ home }: Computer, id: string): string {
  return join(home, 'vms', id);
}

/** Returns the ids of all VMs of this user, also of incomplete ones. */
export async function listVmIds({ home }: Computer): Promise<readonly string[]> {
  const entries = await listFolderIfExists(join(home, 'vms'));
  return entries.filter((entry) => !entry.startsWith('.'));
}
