import type { Host, Machine, MachineSpec } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import type { MakeImage } from '../images/get-or-make-image.ts';
import { findNearestWord } from '../did-you-mean.ts';
import * as all from './all.ts';
import { loadCode, type Driver, type DriverManifest, type Target } from './contract.ts';

export const drivers: readonly DriverManifest[] = Object.values(all);

/** Returns the manifest of the driver with this name or alias. */
export function getDriver(name: string): DriverManifest {
  const driver = drivers.find((candidate) => candidate.name === name || candidate.aliases?.includes(name) === true);
  if (driver) return driver;
  const names = drivers.map((candidate) => candidate.name);
  const similar = findNearestWord(
    name,
    drivers.flatMap((candidate) => [candidate.name, ...(candidate.aliases ?? [])]),
  );
  throw new SlipwayError('DRIVER_UNKNOWN', `There is no driver named "${name}"`, {
    hint: [
      ...(similar === undefined ? [] : [`Did you mean ${similar}?`]),
      `Drivers: ${names.toSorted().join(', ')}`,
    ].join(' '),
  });
}

/** Loads the driver with this name or alias, to create, inspect or remove its machines. */
export async function loadDriver(name: string): Promise<Driver> {
  return await loadCode(getDriver(name));
}

/** Makes an image of a local VM. The qemu driver does this, because a vendor's image has to boot once. */
export const makeImage: MakeImage = async (...call) => (await import('./qemu/vm-image.ts')).makeImage(...call);

/**
 * Returns the target that a driver gets for this spec. The spec's options were parsed when it was created; parsing them
 * again gives them the driver's own type.
 */
export function targetOf(
  driver: DriverManifest,
  { id, name, batch, options, lifetime, engine }: MachineSpec,
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
    enginePort: engine.port,
    ...(record?.host ? { host: hostOf(record.host) } : {}),
  };
}

function hostOf({ address, ...host }: Host): NonNullable<Target<unknown>['host']> {
  return { address, ...(host.ssh && host.instance !== undefined ? { instance: host.instance } : {}) };
}
