import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { type FieldChange, type FleetPlan, hasWork, type Item, planFleet } from '../fleet/plan.ts';
import { nearest } from '../did-you-mean.ts';
import type { Cli } from './command.ts';
import { errorDocument } from '../terminal/print.ts';

/** What `plan` and `apply` share: which file, and whether what left it goes. */
export const fleetOptions = {
  file: z
    .string()
    .min(1)
    .default('machines.yaml')
    .meta({ description: 'The file that describes the machines', short: 'f', value: 'file' }),
  prune: z
    .boolean()
    .default(false)
    .meta({ description: 'Also remove machines that an apply of this file made and that are no longer in it' }),
};

/** What would be done for the machines of a file, or for those of them that are named. Asks nobody. */
export async function plannedFleet(
  { file, prune, names }: { readonly file: string; readonly prune: boolean; readonly names: readonly string[] },
  { world, env }: Cli,
): Promise<FleetPlan> {
  const { readFleet } = await import('../fleet/read.ts');
  const fleet = await readFleet(file, { env, home: world.userHome });
  const plan = planFleet(fleet, await world.store.list(), { prune, now: world.now() });
  return names.length === 0 ? plan : { ...plan, items: chosen(plan, names) };
}

/** `web` is each of web-1, web-2 and web-3 that its count makes. */
function chosen({ shown, items }: FleetPlan, names: readonly string[]): readonly Item[] {
  const called = (item: Item): readonly string[] => [item.name, ...(item.wanted ? [item.wanted.entry] : [])];
  const known = new Set(items.flatMap(called));
  const strange = names.find((name) => !known.has(name));
  if (strange === undefined) return items.filter((item) => called(item).some((name) => names.includes(name)));
  const near = nearest(strange, [...known]);
  throw new SlipwayError('USAGE', `${shown} has no machine named "${strange}"`, {
    hint: near === undefined ? 'See what it has: slipway plan' : `Did you mean ${near}? All of them: slipway plan`,
  });
}

const SIGNS: Readonly<Record<Item['deed'], string>> = {
  create: '+',
  finish: '+',
  change: '~',
  replace: '±',
  remove: '-',
  nothing: '=',
  broken: '!',
};

export const HOW: Readonly<Record<FieldChange['how'], string>> = {
  live: 'at once',
  engine: 'restarts the engine',
  restart: 'at its next start; one that runs is stopped and started',
  replace: 'takes another machine',
};

/** The plan as people read it: what is as it should be is counted, the rest is told field by field. */
export function shownFleet({ shown, items }: FleetPlan): string {
  const work = items.filter(hasWork);
  const same = items.length - work.length;
  const rest = same === 0 ? [] : [`${same === 1 ? '1 machine is' : `${same} machines are`} as ${shown} says`];
  const quiet = items.filter((item) => !hasWork(item) && item.notes.length > 0);
  if (work.length === 0 && items.length === 0) return `${shown} has no machines, and there is nothing to do`;
  const width = Math.max(0, ...[...work, ...quiet].map(({ name }) => name.length));
  const lines = [...work, ...quiet].flatMap((item) => linesOf(item, width));
  return [...(work.length > 0 ? [`${shown}: this is to be done`] : []), ...lines, ...rest].join('\n');
}

function linesOf({ deed, name, driver, changes, notes, broken }: Item, width: number): readonly string[] {
  const why = [...notes, ...(broken ? [broken.message] : [])].map(plainly).join('; ');
  return [
    `  ${SIGNS[deed]} ${deed.padEnd(8)} ${name.padEnd(width)}  ${driver}${why === '' ? '' : `: ${why}`}`,
    ...changes.map(
      ({ field, from, to, how }) => `      ${field}: ${valueText(from)} -> ${valueText(to)}  (${HOW[how]})`,
    ),
  ];
}

function valueText(value: unknown): string {
  if (value === undefined) return 'not set';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(valueText).join(', ');
  return plainly(String(value));
}

/** Nothing in it moves the cursor. */
function plainly(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ');
}

/** For --json: the same for each machine, whatever is to be done. */
export function itemDocument({ name, driver, deed, changes, notes, broken }: Item): object {
  return {
    name,
    driver,
    action: deed,
    changes: changes.map(({ field, from, to, how }) => ({ field, from: from ?? null, to: to ?? null, how })),
    notes,
    ...(broken ? errorDocument(broken) : {}),
  };
}
