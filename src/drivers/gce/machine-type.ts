import { SlipwayError } from '../../errors.ts';
import type { GceConnection } from './client.ts';
import { isUnavailable, type Deprecation } from './deprecation.ts';
import { toArchitecture } from './images.ts';
import { architectureOf, type Architecture } from './machine-families.ts';
import type { GceOptions } from './options.ts';

/** The fields of a machine type that this driver reads. */
export type MachineTypeDocument = {
  readonly name?: string;
  readonly guestCpus?: number;
  readonly memoryMb?: number;
  readonly architecture?: string;
  readonly deprecated?: Deprecation;
  readonly accelerators?: readonly { readonly guestAcceleratorType?: string }[];
};

export type MachineType = {
  readonly name: string;
  readonly cpus: number | undefined;
  readonly memoryMib: number;
  readonly architecture: Architecture;
  /** The accelerators that each instance of the type has. */
  readonly accelerators: readonly string[];
  readonly isUnavailable: boolean;
};

export function toMachineType(document: MachineTypeDocument, name: string): MachineType {
  const { guestCpus, memoryMb = 0, architecture, deprecated, accelerators = [] } = document;
  return {
    name,
    cpus: guestCpus,
    memoryMib: memoryMb,
    architecture: toArchitecture(architecture) ?? architectureOf(name),
    accelerators: accelerators.flatMap(({ guestAcceleratorType }) => guestAcceleratorType ?? []),
    isUnavailable: isUnavailable(deprecated),
  };
}

/** Returns the machine type that the options name. Throws USAGE if the zone does not have it. */
export async function requireMachineType(
  gce: GceConnection,
  options: Pick<GceOptions, 'zone' | 'machineType'>,
): Promise<MachineType> {
  const { zone, machineType } = options;
  const found = await findMachineType(gce, options);
  if (found && !found.isUnavailable) return found;
  throw new SlipwayError('USAGE', `The machine type ${machineType} does not exist in ${zone}`, {
    hint: 'For example: --gce-machine-type e2-medium',
  });
}

export async function findMachineType(
  gce: GceConnection,
  { zone, machineType }: Pick<GceOptions, 'zone' | 'machineType'>,
): Promise<MachineType | undefined> {
  const doing = `looking for the machine type ${machineType}`;
  const found = await gce.find<MachineTypeDocument>(doing, 'MachineTypesClient', 'get', { zone, machineType });
  return found && toMachineType(found, machineType);
}
