import type { GceConnection } from './client.ts';
import { isUnavailable, type Deprecation } from './deprecation.ts';
import { findResource, usageError } from './errors.ts';
import { parseAccelerator } from './instance-request.ts';
import type { GceImage } from './images.ts';
import { canHaveAccelerators, defaultDiskType, canBootFrom, isMovable } from './machine-families.ts';
import type { MachineType } from './machine-type.ts';
import type { GceOptions } from './options.ts';

/**
 * Refuses options that Google would refuse together, with one sentence and before anything exists. Pure: what the API
 * knows about the parts is given.
 */
export function requireCompatible(options: GceOptions, type: MachineType, image: GceImage): void {
  requireArchitecture(type, image, options);
  requireDiskTypeFor(type.name, options.diskType);
  if (options.diskSize < image.minDiskSize)
    throw usageError(
      `The image ${nameOf(image.link)} needs a disk of at least ${image.minDiskSize} GB, and --gce-disk-size is ${options.diskSize}`,
      `For example: --gce-disk-size ${image.minDiskSize}`,
    );
  requireAccelerator(options, type);
  if (options.maintenancePolicy === 'MIGRATE' && !isMovable(type.name))
    throw usageError(
      `Google can't move a running instance of ${type.name} to another host`,
      'Use --gce-maintenance-policy TERMINATE',
    );
}

function requireArchitecture(type: MachineType, { architecture, link }: GceImage, options: GceOptions): void {
  if (architecture === undefined || architecture === type.architecture) return;
  const otherFamily = options.machineImage === undefined ? otherFamilyOf(options.imageFamily) : undefined;
  throw usageError(
    `The machine type ${type.name} is ${type.architecture}, and the image ${nameOf(link)} is for ${architecture}`,
    otherFamily === undefined || type.architecture === 'X86_64'
      ? `Choose an image for ${type.architecture}: --gce-image-family ${type.architecture === 'ARM64' ? 'debian-13-arm64' : 'debian-13'}`
      : `Choose an image for ${type.architecture}: --gce-image-family ${otherFamily}`,
  );
}

/** Returns the family of the same distribution for ARM; undefined where its name does not tell. */
function otherFamilyOf(family: string): string | undefined {
  if (/^debian-\d+$/.test(family)) return `${family}-arm64`;
  return /^ubuntu-.*-lts(-amd64)?$/.test(family) ? family.replace(/(-amd64)?$/, '-arm64') : undefined;
}

/** Refuses a disk from which no instance of the machine type can boot. */
export function requireDiskTypeFor(machineType: string, diskType: string): void {
  if (canBootFrom(machineType, diskType)) return;
  throw usageError(
    `An instance of ${machineType} can't boot from a disk of the type ${diskType}`,
    `Use --gce-disk-type ${defaultDiskType(machineType)}, or omit --gce-disk-type`,
  );
}

function requireAccelerator(options: GceOptions, { name, accelerators }: MachineType): void {
  const wanted = parseAccelerator(options);
  if (wanted === undefined || accelerators.includes(wanted.type)) return;
  if (accelerators.length > 0)
    throw usageError(
      `The machine type ${name} has ${accelerators.join(' and ')}, not ${wanted.type}`,
      'Omit --gce-accelerator',
    );
  if (canHaveAccelerators(name)) return;
  throw usageError(
    `The machine type ${name} accepts no accelerators`,
    'Choose a type that does: --gce-machine-type n1-standard-4, or one that has them: --gce-machine-type g2-standard-4',
  );
}

const nameOf = (link: string): string => link.split('/').at(-1) ?? '';

type DiskTypeDocument = { readonly validDiskSize?: string; readonly deprecated?: Deprecation };

/** Refuses a type of disk that the zone does not have, and a size that it can't have. */
export async function requireDiskType(
  gce: GceConnection,
  { zone, diskType, diskSize }: Pick<GceOptions, 'zone' | 'diskType' | 'diskSize'>,
): Promise<void> {
  const found = await findResource(
    gce.send<DiskTypeDocument>(`looking for the disk type ${diskType}`, 'DiskTypesClient', 'get', { zone, diskType }),
  );
  if (found === 'unknown') return;
  if (!found || isUnavailable(found.deprecated))
    throw usageError(`The disk type ${diskType} does not exist in ${zone}`, 'For example: --gce-disk-type pd-balanced');
  const [, min = '0', max = 'Infinity'] = /^(\d+)GB-(\d+)GB$/.exec(found.validDiskSize ?? '') ?? [];
  if (diskSize >= Number(min) && diskSize <= Number(max)) return;
  throw usageError(
    `A disk of the type ${diskType} has ${min} to ${max} GB, and --gce-disk-size is ${diskSize}`,
    `For example: --gce-disk-size ${diskSize < Number(min) ? min : max}`,
  );
}
