import type { Arch, Image } from '../../images/image.ts';
import { findProgram } from '../../computer/programs.ts';
import { openImageStore } from '../../images/image-store.ts';
import type { DriverCall, Target } from '../contract.ts';
import type { Accelerator } from './command-line.ts';
import type { QemuOptions } from './options.ts';
import { requireProgramPath, qemuSystemProgram } from './required-programs.ts';
import { resolveAccelerator } from './resolve-accelerator.ts';
import { hardwareDigestOf, incompatibilityReason, readSnapshotHost, type SnapshotHost } from './snapshot.ts';
import { readSpares, removeSpareFolder, type Spare, type SpareWithFiles } from './spare-store.ts';
import { ensureImage } from './vm-image.ts';

/** The properties that a spare needs to become a certain machine. */
export type SpareRequirements = {
  readonly image: string;
  readonly arch: Arch;
  readonly digest: string;
  readonly cpus: number;
  readonly memory: number;
  readonly disk: number;
  readonly user: string;
  readonly accelerator: Accelerator;
};

export type PartitionedSpares = {
  /** Spares that can resume, oldest first. */
  readonly usable: readonly Spare[];
  /** Spares of this kind that can't resume any more, with the reason. */
  readonly unusable: readonly { readonly spare: Spare; readonly reason: string }[];
};

/** Pure. Divides the spares that meet the requirements into those that can resume on this computer and the others. */
export function partitionSpares(
  spares: readonly SpareWithFiles[],
  requirements: SpareRequirements,
  current: { readonly host: SnapshotHost; readonly hardwareDigestOf: (vm: Spare['vm']) => string },
): PartitionedSpares {
  const checked = spares
    .filter(({ spare }) => isMatchingSpare(spare, requirements))
    .toSorted((left, right) => left.spare.createdAt.localeCompare(right.spare.createdAt))
    .map(({ spare, files }) => ({
      spare,
      reason:
        spare.vm.imageDigest === requirements.digest
          ? incompatibilityReason(spare.vm.snapshot, current.hardwareDigestOf(spare.vm), current.host, files)
          : 'its image has been replaced since',
    }));
  return {
    usable: checked.filter(({ reason }) => reason === undefined).map(({ spare }) => spare),
    unusable: checked.flatMap(({ spare, reason }) => (reason === undefined ? [] : [{ spare, reason }])),
  };
}

function isMatchingSpare({ imageName, diskGb, vm }: Spare, requirements: SpareRequirements): boolean {
  return (
    imageName === requirements.image &&
    vm.arch === requirements.arch &&
    diskGb === requirements.disk &&
    vm.cpus === requirements.cpus &&
    vm.memory === requirements.memory &&
    vm.user === requirements.user &&
    vm.accelerator === requirements.accelerator
  );
}

/** Returns the spares that could become this machine. */
export async function findSparesFor(target: Target<QemuOptions>, call: DriverCall): Promise<PartitionedSpares> {
  const { computer } = call;
  const spares = await readSpares(computer);
  if (spares.length === 0) return { usable: [], unusable: [] };
  const image = await ensureImage(target.options, call);
  const requirements = await resolveRequirements(target, image, call);
  const program = await requireProgramPath(qemuSystemProgram(image.arch), computer);
  const host = await readSnapshotHost(program, requirements.accelerator);
  return partitionSpares(spares, requirements, { host, hardwareDigestOf });
}

async function resolveRequirements(
  { options }: Target<QemuOptions>,
  image: Image,
  call: DriverCall,
): Promise<SpareRequirements> {
  const imageFolder = openImageStore(call.computer.home).paths(image).folder;
  const accelerator = await resolveAccelerator(options.accelerator, image, { imageFolder, seedApplied: true }, call);
  const { cpus, memory, disk, sshUser: user } = options;
  return { image: image.name, arch: image.arch, digest: image.digest, cpus, memory, disk, user, accelerator };
}

/** Returns how many spares are ready for such a machine, without those that can't resume any more. */
export async function countReadySpares(target: Target<QemuOptions>, call: DriverCall): Promise<number> {
  return (await findSparesFor(target, call)).usable.length;
}

/** A spare that no create has taken for so long is of a kind that the user no longer needs. */
const MAX_SPARE_AGE_DAYS = 30;
const MAX_SPARE_KINDS = 3;
const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;

/** Pure. Returns the spares that are too old, and those of kinds of which none was built for the longest time. */
export function findSurplusSpares(spares: readonly Spare[], now: Date): readonly Spare[] {
  const newestFirst = spares.toSorted((left, right) => right.createdAt.localeCompare(left.createdAt));
  const kinds = [...new Set(newestFirst.map(kindOf))].slice(0, MAX_SPARE_KINDS);
  return spares.filter(
    (spare) =>
      !kinds.includes(kindOf(spare)) ||
      now.getTime() - Date.parse(spare.createdAt) > MAX_SPARE_AGE_DAYS * DAY_MILLISECONDS,
  );
}

/** Spares of one kind fit the same machines. */
function kindOf({ imageName, diskGb, vm: { arch, cpus, memory, user, accelerator } }: Spare): string {
  return [imageName, arch, diskGb, cpus, memory, user, accelerator].join(' ');
}

export async function removeSurplusSpares({ computer }: DriverCall): Promise<void> {
  const spares = (await readSpares(computer)).map(({ spare }) => spare);
  for (const { vm } of findSurplusSpares(spares, new Date())) await removeSpareFolder(vm.id, computer);
}

/** Removes all spares, of any kind, that can never resume because their QEMU or their image has changed. */
export async function removeUnusableSpares({ computer }: DriverCall): Promise<void> {
  const imageDigests = (await openImageStore(computer.home).list()).map(({ key }) => key.digest);
  for (const { spare, files } of await readSpares(computer)) {
    const { id, arch, imageDigest, snapshot, accelerator } = spare.vm;
    const program = await findProgram(qemuSystemProgram(arch), computer);
    // The QEMU of another architecture may be installed again.
    if (program === undefined) continue;
    const host = await readSnapshotHost(program, accelerator);
    const reason = incompatibilityReason(snapshot, hardwareDigestOf(spare.vm), host, files);
    const hasImage = imageDigests.some((digest) => imageDigest.startsWith(digest));
    if (reason !== undefined || !hasImage) await removeSpareFolder(id, computer);
  }
}
