import type { Machine, MachineSpec } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import type { MakeImage } from '../images/get-or-make-image.ts';
import { findNearestWord } from '../did-you-mean.ts';
import * as all from './all.ts';
import { loadCode, type Driver, type DriverManifest, type Target } from './contract.ts';

export const drivers: readonly DriverManifest[] = Object.values(all);

/** Returns the manifest of the driver of this name or alias. */
export function getDriver(name: string): DriverManifest {
  const driver = drivers.find((candidate) => candidate.name === name || candidate.aliases?.includes(name) === true);
  if (driver) return driver;
  const names = drivers.map((candidate) => candidate.name);
  const near = findNearestWord(
    name,
    drivers.flatMap((candidate) => [candidate.name, ...(candidate.aliases ?? [])]),
  );
  throw new SlipwayError('DRIVER_UNKNOWN', `There is no driver named "${name}"`, {
    hint: [...(near === undefined ? [] : [`Did you mean ${near}?`]), `Drivers: ${names.toSorted().join(', ')}`].join(
      ' ',
    ),
  });
}

/** Loads the driver of this name or alias: from then on its machines can be created, inspected and removed. */
export async function loadDriver(name: string): Promise<Driver> {
  return await loadCode(getDriver(name));
}

/** Images are made by who runs VMs: a vendor's has to be started once. */
export const makeImage: MakeImage = async (...call) => (await import('./qemu/vm-image.ts')).makeImage(...call);

/** The stored options were parsed when the spec was made; parsing again gives them the driver's own type. */
export function targetOf(
  driver: DriverManifest,
  { id, name, batch, options, lifetime }: MachineSpec,
  record?: Machine,
): Target<Record<string, unknown>> {
  return {
    id,
    name,
    options: driver.options.parse(options),
    ...(batch ? { batch } : {}),
    ...(record?.phase === 'creating' && record.lastRequest ? { lastRequest: record.lastRequest } : {}),
    ...(lifetime ? { lifetime } : {}),
    ...(record?.onShutdown ? { onShutdown: record.onShutdown } : {}),
    ...(record?.adoptedResource === undefined ? {} : { adoptedResource: record.adoptedResource }),
  };
}
