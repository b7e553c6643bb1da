import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfThere, writeWhole } from '../../changes.ts';
import type { Computer } from '../../computer.ts';
import { SlipwayError, systemCode } from '../../errors.ts';
import type { Accelerator, Shape } from './command-line.ts';

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
  readonly arch: Shape['arch'];
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
};

/** Found by the machine's id alone, so that a lost record still leads to it. */
export function vmFolder({ home }: Computer, id: string): string {
  return join(home, 'vms', id);
}

/** Of all VMs of this user, whole or not. */
export async function vmIds({ home }: Computer): Promise<readonly string[]> {
  const entries = await readdir(join(home, 'vms')).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => !entry.startsWith('.'));
}

export async function readVm(folder: string): Promise<Vm | undefined> {
  const file = join(folder, 'vm.json');
  const text = await readIfThere(file);
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
  await writeWhole(join(folder, 'vm.json'), `${JSON.stringify(vm, null, 2)}\n`, 0o600);
}
