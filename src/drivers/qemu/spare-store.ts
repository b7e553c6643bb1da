/**
 * The folder of spares: VMs that were started ahead and suspended, each for one create. The layout:
 *
 *   ~/.slipway/spares/ID/           spare.json, kept.json, and the files of a suspended VM
 *                     .making-ID/   a spare that a builder is creating, or was creating when it was killed
 *                     .removed-ID/  trash
 *                     .maker/       the builder lock (lock.ts): spares are built one at a time
 *                     last.log      output of the last background build; a build whose log is gone does not start
 *
 * A create takes a spare by renaming its folder to that of its own VM, which succeeds once and for one create only.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import {
  deleteFile,
  ignoreMissing,
  listFolderIfExists,
  readFileIfExists,
  writeFileAtomic,
} from '../../computer/files.ts';
import { emptyTrash, moveToTrash } from '../../computer/trash.ts';
import type { SpareSummary } from '../contract.ts';
import { readSnapshotFiles, type SnapshotFiles } from './snapshot.ts';
import { fromVmRecord, toVmRecord, type VmRecord } from './vm-record.ts';
import type { SuspendedVm, VmWithAccelerator } from './vm.ts';

/** A VM that is ready for a create to take. */
export type Spare = {
  readonly vm: VmWithAccelerator & SuspendedVm;
  readonly imageName: string;
  readonly diskGb: number;
  /** SHA-256 of each file of the spare's seed, by path. */
  readonly seedFiles: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly createdAt: string;
};

export type SpareWithFiles = { readonly spare: Spare; readonly files: SnapshotFiles };

/** `spare.json`, whose keys are older than the names in `Spare`. */
type SpareRecord = {
  readonly version: 1;
  readonly vm: VmRecord;
  readonly image: string;
  readonly disk: number;
  readonly born: Spare['seedFiles'];
  readonly made: string;
};

const RECORD_FILE = 'spare.json';
/** The keys and certificates of the spare, as the caller of `buildSpare` gave them. */
const SECRETS_FILE = 'kept.json';

export function sparesFolder({ home }: Computer): string {
  return join(home, 'spares');
}

export function spareFolder(computer: Computer, id: string): string {
  return join(sparesFolder(computer), id);
}

/**
 * Returns the spare of a folder, or undefined if there is none or its record can't be read: nothing could resume such a
 * spare.
 */
export async function readSpare(folder: string): Promise<Spare | undefined> {
  const text = await readFileIfExists(join(folder, RECORD_FILE)).catch(() => undefined);
  try {
    const record = JSON.parse(text ?? 'null') as Partial<SpareRecord> | null;
    return record?.version === 1 && record.vm?.suspended ? fromSpareRecord(record as SpareRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** Writes secrets and record. The record comes last, so that all other files exist where it does. */
export async function writeSpare(folder: string, spare: Spare, secrets: string): Promise<void> {
  await writeFileAtomic(join(folder, SECRETS_FILE), secrets, 0o600);
  await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(toSpareRecord(spare), null, 2)}\n`, 0o600);
}

function toSpareRecord({ vm, imageName, diskGb, seedFiles, createdAt }: Spare): SpareRecord {
  return { version: 1, vm: toVmRecord(vm), image: imageName, disk: diskGb, born: seedFiles, made: createdAt };
}

function fromSpareRecord({ vm, image, disk, born, made }: SpareRecord): Spare {
  return {
    vm: fromVmRecord(vm) as Spare['vm'],
    imageName: image,
    diskGb: disk,
    seedFiles: born,
    createdAt: made,
  };
}

export async function deleteSpareRecord(folder: string): Promise<void> {
  await deleteFile(join(folder, RECORD_FILE));
}

export async function readSecrets(folder: string): Promise<string | undefined> {
  return await readFileIfExists(join(folder, SECRETS_FILE));
}

/** Deletes the secrets of a spare that has become a machine: the machine's record has them now. */
export async function deleteSecrets(folder: string): Promise<void> {
  await deleteFile(join(folder, SECRETS_FILE));
}

/** Returns the ids of all spares, also of those that can't be read. */
export async function listSpareIds(computer: Computer): Promise<readonly string[]> {
  return (await listFolderIfExists(sparesFolder(computer))).filter((entry) => !entry.startsWith('.'));
}

export async function readSpares(computer: Computer): Promise<readonly SpareWithFiles[]> {
  const found = await Promise.all(
    (await listSpareIds(computer)).map(async (id) => {
      const folder = spareFolder(computer, id);
      const [spare, files] = await Promise.all([readSpare(folder), readSnapshotFiles(folder).catch(() => undefined)]);
      return spare && files && { spare, files };
    }),
  );
  return found.filter((spare) => spare !== undefined);
}

export async function listSpares(computer: Computer): Promise<readonly SpareSummary[]> {
  return await Promise.all(
    (await readSpares(computer)).map(async ({ spare: { vm, diskGb, createdAt } }) => {
      const { cpus, memory, imageDigest, id } = vm;
      const bytes = await readAllocatedBytes(spareFolder(computer, id));
      return { id, image: imageDigest, bytes, made: createdAt, cpus, memory, disk: diskGb };
    }),
  );
}

async function readAllocatedBytes(folder: string): Promise<number> {
  const blockCounts = await Promise.all(
    (await listFolderIfExists(folder).catch(() => [])).map(
      async (file) => (await stat(join(folder, file)).catch(() => undefined))?.blocks,
    ),
  );
  return blockCounts.reduce<number>((sum, blocks) => sum + (blocks ?? 0) * 512, 0);
}

/** Deletes a folder through the trash, so that no create takes a part of a spare. */
export async function removeSpareFolder(entry: string, computer: Computer): Promise<void> {
  await moveToTrash(join(sparesFolder(computer), entry));
  await emptyTrash(sparesFolder(computer));
}

export async function pathExists(path: string): Promise<boolean> {
  return (await ignoreMissing(stat(path))) !== undefined;
}
