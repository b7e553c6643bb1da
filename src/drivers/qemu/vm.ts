import { join } from 'node:path';
import { listFolderIfExists, readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import type { Computer } from '../../computer/computer.ts';
import { SlipwayError } from '../../errors.ts';
import type { Accelerator, QemuConfig } from './command-line.ts';
import type { GuestCommand } from './guest-channel.ts';

/** What was decided when a VM was made, and has to stay: `vm.json` in its folder. Written last, so all else is there. */
export type Vm = {
  readonly version: 1;
  readonly id: string;
  readonly name: string;
  /** The store whose machine it is, where it is not the one beside it. */
  readonly records?: string;
  /** Digest of the image under its disk. */
  readonly image: string;
  readonly imageFolder: string;
  readonly root: string;
  readonly arch: QemuConfig['arch'];
  /** Of its last start. */
  readonly accelerator?: Accelerator;
  readonly cpus: number;
  readonly memory: number;
  readonly user: string;
  /** Of 127.0.0.1, for the guest's SSH server and its engine. */
  readonly ports: { readonly ssh: number; readonly engine: number };
  /** Where the engine listens inside. */
  readonly enginePort: number;
  /** The identity that it was given, by the seed's id; and whether the guest has taken it for good. */
  readonly seed: string;
  readonly taken: boolean;
  /** Where there are no sockets in folders, the monitor has a port of 127.0.0.1. */
  readonly monitorPort?: number | undefined;
  /** What the process of its last start has besides, which one that goes on with its memory has to have too. */
  readonly devices?: VmDevices;
  /** It is suspended: with this it goes on. */
  readonly suspended?: VmSnapshot;
  /** What it has to be told, besides the time, as soon as it has gone on. */
  readonly untold?: readonly GuestCommand[];
  /** It is a spare that has not become this machine yet: what its seed laid, by path and SHA-256. */
  readonly born?: Readonly<Record<string, string>>;
};

/** `seed`: the size of its seed's disk, 0 for none. */
export type VmDevices = { readonly port: boolean; readonly seed: number };

/** A machine's memory in a file, and all that has to be as it was for it to go on. */
export type VmSnapshot = {
  /** BLAKE2b, which takes a third of the time of SHA-256. */
  readonly blake2b: string;
  readonly bytes: number;
  readonly packed: 'zstd' | 'plain';
  /** `machineOf` it. */
  readonly machine: string;
  readonly qemu: {
    readonly program: string;
    readonly version: string;
    readonly bytes: number;
    readonly mtimeMs: number;
  };
  readonly processor: string;
  /** Undefined while the process that suspended it may still close it. */
  readonly disk?: { readonly bytes: number; readonly mtimeMs: number };
};

/** As QEMU is told of it at its next start. */
export function toQemuConfig(vm: Vm & Pick<QemuConfig, 'accelerator'>): QemuConfig {
  return {
    ...vm,
    seedId: vm.taken ? undefined : vm.seed,
    hasSeedDisk: (vm.devices?.seed ?? 0) > 0,
    hasGuestChannel: vm.devices?.port ?? false,
    kernel: join(vm.imageFolder, 'vmlinuz'),
    initrd: join(vm.imageFolder, 'initrd'),
    forwards: [
      { hostPort: vm.ports.ssh, guestPort: 22 },
      { hostPort: vm.ports.engine, guestPort: vm.enginePort },
    ],
  };
}

/** Found by the machine's id alone, so that a lost record still leads to it. */
export function vmFolder({ home }: Computer, id: string): string {
  return join(home, 'vms', id);
}

/** Of all VMs of this user, whole or not. */
export async function listVmIds({ home }: Computer): Promise<readonly string[]> {
  const entries = await listFolderIfExists(join(home, 'vms'));
  return entries.filter((entry) => !entry.startsWith('.'));
}

export async function readVm(folder: string): Promise<Vm | undefined> {
  const file = join(folder, 'vm.json');
  const text = await readFileIfExists(file);
  if (text === undefined) return undefined;
  const broken = (why: string, cause?: unknown): SlipwayError =>
    new SlipwayError('RECORD_BROKEN', `${file} ${why}`, { hint: 'Restore the file, or remove the machine', cause });
  let vm: Partial<Vm> | null;
  try {
    vm = JSON.parse(text) as Partial<Vm> | null;
  } catch (error) {
    throw broken('is not JSON', error);
  }
  if (vm?.version !== 1 || !vm.ports) throw broken('does not describe a VM of this version of Slipway');
  return vm as Vm;
}

export async function writeVm(folder: string, vm: Vm): Promise<void> {
  await writeFileAtomic(join(folder, 'vm.json'), `${JSON.stringify(vm, null, 2)}\n`, 0o600);
}
