import type { z } from 'zod';
import type { OptionChoice } from '../contract.ts';
import { formatMonthlyCost } from './prices.ts';

/** The answers that the user gave in the wizard so far, by option. */
export type OptionAnswers = Readonly<Record<string, unknown>>;

/** Parses the answers that say how to connect to the provider; every other option has its default. */
export function optionsFromAnswers<S extends z.ZodObject>(
  schema: S,
  options: readonly (keyof z.output<S> & string)[],
  answers: OptionAnswers,
): z.output<S> {
  const known = options.map((option) => [option, answers[option]] as const).filter(([, value]) => value !== undefined);
  return schema.parse(Object.fromEntries(known));
}

/** The wizard offers no larger types: they are too expensive for a typical Docker host. */
const MAX_VCPUS = 16;

export type OfferedMachineType = {
  readonly name: string;
  readonly cpus: number | undefined;
  readonly memoryMib: number;
  readonly isArm?: boolean;
  /** US dollars a month; undefined where the price is unknown. */
  readonly monthlyCost: number | undefined;
};

/** US dollars a month that place a type of unknown price among the others. */
export type CostEstimate = { readonly perCpu: number; readonly perGib: number };

/** Returns the machine types of a usual size as the wizard offers them, the cheapest first. */
export function machineTypeChoices(
  types: readonly OfferedMachineType[],
  estimate: CostEstimate,
): readonly OptionChoice[] {
  const sortKeyOf = ({ cpus = 0, memoryMib, monthlyCost }: OfferedMachineType): number =>
    monthlyCost ?? cpus * estimate.perCpu + (memoryMib / 1024) * estimate.perGib;
  return types
    .filter(({ cpus = 0 }) => cpus <= MAX_VCPUS)
    .toSorted((left, right) => sortKeyOf(left) - sortKeyOf(right))
    .map((type) => ({ value: type.name, note: formatMachineType(type) }));
}

function formatMachineType({ cpus, memoryMib, isArm = false, monthlyCost }: OfferedMachineType): string {
  return [
    `${cpus ?? '?'} vCPU`,
    `${memoryMib / 1024} GiB`,
    ...(isArm ? ['ARM'] : []),
    ...(monthlyCost === undefined ? [] : [formatMonthlyCost(monthlyCost)]),
  ].join(', ');
}
