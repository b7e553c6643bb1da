/**
 * `vm.json` in a VM's folder. Only this file knows its keys: they are older than the names in `vm.ts`, and never
 * change, so that every version of Slipway can start, resume and remove the VMs of every other version.
 */
import { join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { Vm, VmDevices, VmSnapshot } from './vm.ts';

export const VM_RECORD_FILE = 'vm.json';

/** The keys in `vm.json` that differ from the names in `Vm`, by name. */
const VM_KEYS = {
  storeHome: 'records',
  imageDigest: 'image',
  seedId: 'seed',
  seedApplied: 'taken',
  snapshot: 'suspended',
  pendingCommands: 'untold',
  spareFiles: 'born',
} as const satisfies Partial<Record<keyof Vm, string>>;
const DEVICE_KEYS = { guestChannel: 'port', seedDiskBytes: 'seed' } as const satisfies Record<keyof VmDevices, string>;
const SNAPSHOT_KEYS = {
  format: 'packed',
  hardwareDigest: 'machine',
} as const satisfies Partial<Record<keyof VmSnapshot, string>>;

type Renamed<T, K extends Readonly<Record<string, string>>> = {
  readonly [Name in keyof T as Name extends keyof K ? K[Name] : Name]: T[Name];
};

/** The content of `vm.json`. */
export type VmRecord = { readonly version: 1 } & Renamed<Omit<Vm, 'devices' | 'snapshot'>, typeof VM_KEYS> & {
    readonly devices?: Renamed<VmDevices, typeof DEVICE_KEYS>;
    readonly suspended?: Renamed<VmSnapshot, typeof SNAPSHOT_KEYS>;
  };

export function toVmRecord(vm: Vm): VmRecord {
  const { devices, snapshot } = vm;
  const written = {
    ...vm,
    ...(devices && { devices: renameKeys(devices, DEVICE_KEYS) }),
    ...(snapshot && { snapshot: renameKeys(snapshot, SNAPSHOT_KEYS) }),
  };
  return { version: 1, ...renameKeys(written, VM_KEYS) } as VmRecord;
}

export function fromVmRecord({ version: _version, ...record }: VmRecord): Vm {
  const { devices, suspended } = record;
  const read = {
    ...record,
    ...(devices && { devices: renameKeys(devices, invert(DEVICE_KEYS)) }),
    ...(suspended && { suspended: renameKeys(suspended, invert(SNAPSHOT_KEYS)) }),
  };
  return renameKeys(read, invert(VM_KEYS)) as Vm;
}

/** Renames keys and keeps their order, so that a record that is read and written again does not change. */
function renameKeys(value: object, names: Readonly<Record<string, string>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [names[key] ?? key, member]));
}

function invert(names: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(names).map(([name, key]) => [key, name]));
}

/**
 * Reads the VM of a folder. Returns undefined if there is no record, and throws RECORD_BROKEN for an unusable one.
 */
export async function readVm(folder: string): Promise<Vm | undefined> {
  const file = join(folder, VM_RECORD_FILE);
  const text = await readFileIfExists(file);
  if (text === undefined) return undefined;
  const brokenError = (problem: string, cause?: unknown): SlipwayError =>
    new SlipwayError('RECORD_BROKEN', `${file} ${problem}`, {
      hint: 'Restore the file, or remove the machine',
      cause,
    });
  let record: Partial<VmRecord> | null;
  try {
    record = JSON.parse(text) as Partial<VmRecord> | null;
  } catch (error) {
    throw brokenError('is not JSON', error);
  }
  if (record?.version !== 1 || !record.ports) throw brokenError('does not describe a VM of this version of Slipway');
  return fromVmRecord(record as VmRecord);
}

/** Writes the VM's record atomically. A create writes it last, so that all other files exist where it does. */
export async function writeVm(folder: string, vm: Vm): Promise<void> {
  await writeFileAtomic(join(folder, VM_RECORD_FILE), `${JSON.stringify(toVmRecord(vm), null, 2)}\n`, 0o600);
}
