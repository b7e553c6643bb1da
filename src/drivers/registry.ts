import type { Machine, MachineSpec } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import type { MakeImage } from '../images/get-or-make-image.ts';
import { findNearestWord } from '../did-you-mean.ts';
import * as all from './all.ts';
import type { Driver, Target } from './contract.ts';

export const drivers: readonly Driver[] = Object.values(all);

export function getDriver(name: string): Driver {
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

/** Images are made by who runs VMs: a vendor's has to be started once. */
export const makeImage: MakeImage = async (...call) => (await import('./qemu/vm-image.ts')).makeImage(...call);

/** The stored options were parsed when the spec was made; parsing again gives them the driver's own type. */
export function targetOf(
  driver: Driver,
  { id, name, batch, options, life: lifetime }: MachineSpec,
  record?: Machine,
): Target<Record<string, unknown>> {
  return {
    id,
    name,
    options: driver.options.parse(options),
    ...(batch ? { batch } : {}),
    ...(record?.phase === 'creating' && record.asked ? { lastRequest: record.asked } : {}),
    ...(lifetime ? { lifetime } : {}),
    ...(record?.ending ? { onShutdown: record.ending } : {}),
    ...(record?.adopts === undefined ? {} : { adoptedResource: record.adopts }),
  };
}
