import type { Machine, MachineSpec } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import type { MakeImage } from '../images/making.ts';
import { nearest } from '../did-you-mean.ts';
import * as all from './all.ts';
import type { Driver, Target } from './contract.ts';

export const drivers: readonly Driver[] = Object.values(all);

export function driverNamed(name: string): Driver {
  const driver = drivers.find((candidate) => candidate.name === name || candidate.also?.includes(name) === true);
  if (driver) return driver;
  const names = drivers.map((candidate) => candidate.name);
  const near = nearest(
    name,
    drivers.flatMap((candidate) => [candidate.name, ...(candidate.also ?? [])]),
  );
  throw new SlipwayError('DRIVER_UNKNOWN', `There is no driver named "${name}"`, {
    hint: [...(near === undefined ? [] : [`Did you mean ${near}?`]), `Drivers: ${names.toSorted().join(', ')}`].join(
      ' ',
    ),
  });
}

/** Images are made by who runs VMs: a vendor's has to be started once. */
export const makeImage: MakeImage = async (...call) => (await import('./qemu/image.ts')).makeImage(...call);

/** The stored options were parsed when the spec was made; parsing again gives them the driver's own type. */
export function targetOf(
  driver: Driver,
  { id, name, batch, options, life }: MachineSpec,
  record?: Machine,
): Target<Record<string, unknown>> {
  return {
    id,
    name,
    options: driver.options.parse(options),
    ...(batch ? { batch } : {}),
    ...(record?.phase === 'creating' && record.asked ? { asked: record.asked } : {}),
    ...(life ? { life } : {}),
    ...(record?.ending ? { ending: record.ending } : {}),
    ...(record?.adopts === undefined ? {} : { adopts: record.adopts }),
  };
}
