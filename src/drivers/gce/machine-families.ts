import { DEFAULT_DISK_TYPE } from './options.ts';

/*
 * What the families of machine types accept, from Google's documentation: the API reports architectures and
 * accelerators, but not which disks fit a type. A family that is not listed accepts everything, and Google decides.
 */

export type Architecture = 'X86_64' | 'ARM64';

const ARM_FAMILIES: readonly string[] = ['t2a', 'c4a', 'n4a', 'a4x'];
/** Families without Persistent Disk. */
const HYPERDISK_ONLY_FAMILIES: readonly string[] = [
  'a4',
  'a4x',
  'c4',
  'c4a',
  'c4d',
  'g4',
  'h4d',
  'm4',
  'n4',
  'n4a',
  'n4d',
  'x4',
];
/** Families without Hyperdisk that an instance can boot from. */
const PERSISTENT_DISK_ONLY_FAMILIES: readonly string[] = [
  'c2',
  'c2d',
  'e2',
  'f1',
  'g1',
  'n1',
  'n2',
  'n2d',
  't2a',
  't2d',
];
/** Families with Persistent Disk, but without `pd-standard`. */
const NO_STANDARD_DISK_FAMILIES: readonly string[] = ['a3', 'c3', 'c3d', 'g2', 'h3', 'm3', 'z3'];
/** Disks that hold data only: no instance boots from them. */
const DATA_DISK_TYPES: readonly string[] = ['hyperdisk-extreme', 'hyperdisk-ml', 'hyperdisk-throughput'];
/** Families whose instances Google stops during host maintenance, since it can't move them. */
const NOT_MOVABLE_FAMILIES: readonly string[] = ['a2', 'a3', 'a4', 'a4x', 'g2', 'g4', 'h3', 'h4d', 'z3'];
/** Only these families accept accelerators besides the ones that a type has. */
const ACCELERATOR_FAMILIES: readonly string[] = ['n1'];

const DEFAULT_HYPERDISK_TYPE = 'hyperdisk-balanced';

/** `c4` of `c4-standard-2`. */
export const familyOf = (machineType: string): string => machineType.split('-')[0] ?? '';

/** Returns the architecture of a type, for endpoints that do not report it. */
export function architectureOf(machineType: string): Architecture {
  return ARM_FAMILIES.includes(familyOf(machineType)) ? 'ARM64' : 'X86_64';
}

/** Returns the type of the boot disk for a machine type whose user named none. */
export function defaultDiskType(machineType: string): string {
  return isHyperdiskOnly(machineType) ? DEFAULT_HYPERDISK_TYPE : DEFAULT_DISK_TYPE;
}

function isHyperdiskOnly(machineType: string): boolean {
  return HYPERDISK_ONLY_FAMILIES.includes(familyOf(machineType)) || machineType.startsWith('a3-ultragpu-');
}

/** Returns whether an instance of this type can boot from a disk of this type. */
export function canBootFrom(machineType: string, diskType: string): boolean {
  const family = familyOf(machineType);
  if (DATA_DISK_TYPES.includes(diskType)) return false;
  if (diskType.startsWith('hyperdisk-')) return !PERSISTENT_DISK_ONLY_FAMILIES.includes(family);
  if (isHyperdiskOnly(machineType)) return !diskType.startsWith('pd-');
  return diskType !== 'pd-standard' || !NO_STANDARD_DISK_FAMILIES.includes(family);
}

/** Returns whether Google can move an instance of this type to another host while it runs. */
export function isMovable(machineType: string): boolean {
  return !NOT_MOVABLE_FAMILIES.includes(familyOf(machineType)) && !machineType.endsWith('-metal');
}

/** Returns whether a type that has no accelerators of its own accepts some. */
export function canHaveAccelerators(machineType: string): boolean {
  return ACCELERATOR_FAMILIES.includes(familyOf(machineType));
}
