/**
 * `vm.json` in a VM's folder. This file alone knows its keys: they are older than the names in `vm.ts`, and stay as
 * they are, so that every version of Slipway can start, resume and remove the VMs of every other.
 */
import { join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../../computer/files.ts';
import { SlipwayError } from '../../errors.ts';
import type { Vm, VmSnapshot } from './vm.ts';

export const VM_RECORD_FILE = 'vm.json';

type SnapshotRecord = Omit<VmSnapshot, 'format' | 'hardwareDigest'> & {
  readonly packed: VmSnapshot['format'];
  readonly machine: string;
};

type RenamedField =
  'storeHome' | 'imageDigest' | 'seedId' | 'seedApplied' | 'devices' | 'snapshot' | 'pendingCommands' | 'spareFiles';

export type VmRecord = Omit<Vm, RenamedField> & {
  readonly version: 1;
  readonly records?: string | undefined;
  readonly image: string;
  readonly seed: string;
  readonly taken: boolean;
  readonly devices?: { readonly port: boolean; readonly seed: number } | undefined;
  readonly suspended?: SnapshotRecord | undefined;
  readonly untold?: Vm['pendingCommands'] | undefined;
  readonly born?: Vm['spareFiles'] | undefined;
};

export function toVmRecord(vm: Vm): VmRecord {
  const { storeHome, imageDigest, seedId, seedApplied, devices, snapshot, pendingCommands, spareFiles, ...same } = vm;
  return {
    version: 1,
    ...same,
    records: storeHome,
    image: imageDigest,
    seed: seedId,
    taken: seedApplied,
    devices: devices && { port: devices.guestChannel, seed: devices.seedDiskBytes },
    suspended: snapshot && toSnapshotRecord(snapshot),
    untold: pendingCommands,
    born: spareFiles,
  };
}

/** Leaves absent what the record does not have: an undefined field would say that it was once set. */
export function fromVmRecord(record: VmRecord): Vm {
  const { version: _version, records, image, seed, taken, devices, suspended, untold, born, ...same } = record;
  return {
    ...same,
    imageDigest: image,
    seedId: seed,
    seedApplied: taken,
    ...(records === undefined ? {} : { storeHome: records }),
    ...(devices === undefined ? {} : { devices: { guestChannel: devices.port, seedDiskBytes: devices.seed } }),
    ...(suspended === undefined ? {} : { snapshot: fromSnapshotRecord(suspended) }),
    ...(untold === undefined ? {} : { pendingCommands: untold }),
    ...(born === undefined ? {} : { spareFiles: born }),
  };
}

function toSnapshotRecord({ format, hardwareDigest, ...same }: VmSnapshot): SnapshotRecord {
  return { ...same, packed: format, machine: hardwareDigest };
}

function fromSnapshotRecord({ packed, machine, ...same }: SnapshotRecord): VmSnapshot {
  return { ...same, format: packed, hardwareDigest: machine };
}

/**
 * Reads the VM of a folder. Returns undefined where there is no record, and throws RECORD_BROKEN for one it can't use.
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
