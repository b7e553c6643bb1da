import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { type FieldChange, type FleetPlan, hasWork, type FleetItem, planFleet } from '../fleet/plan-fleet.ts';
import { findNearestWord } from '../did-you-mean.ts';
import type { Cli } from './command.ts';
import { toErrorDocument } from '../terminal/text-output.ts';

/** The options that `plan` and `apply` share. */
export const fleetOptions = {
  file: z
    .string()
    .min(1)
    .default('machines.yaml')
    .meta({ description: 'File that describes the machines', short: 'f', value: 'file' }),
  prune: z
    .boolean()
    .default(false)
    .meta({ description: 'Also remove machines that apply created from this file and that are no longer in it' }),
};

/**
 * Returns what `apply` would do for the machines of a file, or for those of them that are named. Queries no machine.
 */
export async function loadFleetPlan(
  { file, prune, names }: { readonly file: string; readonly prune: boolean; readonly names: readonly string[] },
  { world, env }: Cli,
): Promise<FleetPlan> {
  const { readFleet } = await import('../fleet/read-fleet.ts');
  const fleet = await readFleet(file, { env, home: world.userHome });
  const plan = planFleet(fleet, await world.store.list(), { prune, now: world.now() });
  return names.length === 0 ? plan : { ...plan, items: selectItems(plan, names) };
}

/** Selects items by the names of machines, or of entries: `web` selects web-1, web-2 and web-3 if its count is 3. */
function selectItems({ displayPath, items }: FleetPlan, names: readonly string[]): readonly FleetItem[] {
  const namesOf = (item: FleetItem): readonly string[] => [item.name, ...(item.wanted ? [item.wanted.entry] : [])];
  const known = new Set(items.flatMap(namesOf));
  const unknown = names.find((name) => !known.has(name));
  if (unknown === undefined) return items.filter((item) => namesOf(item).some((name) => names.includes(name)));
  const near = findNearestWord(unknown, [...known]);
  throw new SlipwayError('USAGE', `${displayPath} defines no machine "${unknown}"`, {
    hint: near === undefined ? 'To list its machines: slipway plan' : `Did you mean ${near}? To list all: slipway plan`,
  });
}

const ACTION_SIGNS: Readonly<Record<FleetItem['action'], string>> = {
  create: '+',
  finish: '+',
  change: '~',
  replace: '±',
  remove: '-',
  nothing: '=',
  broken: '!',
};

export const CHANGE_EFFECTS: Readonly<Record<FieldChange['how'], string>> = {
  live: 'immediately',
  engine: 'restarts the engine',
  restart: 'at the next start; a running machine is restarted',
  replace: 'replaces the machine',
};

/** Formats a plan for people: each change field by field, and the number of machines that need none. */
export function formatFleetPlan({ displayPath, items }: FleetPlan): string {
  const work = items.filter(hasWork);
  const unchanged = items.length - work.length;
  const rest =
    unchanged === 0 ? [] : [`${unchanged === 1 ? '1 machine matches' : `${unchanged} machines match`} ${displayPath}`];
  const noted = items.filter((item) => !hasWork(item) && item.notes.length > 0);
  if (work.length === 0 && items.length === 0) return `${displayPath} defines no machines: nothing to do`;
  const width = Math.max(0, ...[...work, ...noted].map(({ name }) => name.length));
  const lines = [...work, ...noted].flatMap((item) => formatItem(item, width));
  return [...(work.length > 0 ? [`${displayPath}: planned changes`] : []), ...lines, ...rest].join('\n');
}

function formatItem({ action, name, driver, changes, notes, broken }: FleetItem, width: number): readonly string[] {
  const why = [...notes, ...(broken ? [broken.message] : [])].map(replaceControlCharacters).join('; ');
  return [
    `  ${ACTION_SIGNS[action]} ${action.padEnd(8)} ${name.padEnd(width)}  ${driver}${why === '' ? '' : `: ${why}`}`,
    ...changes.map(
      ({ field, from, to, how }) =>
        `      ${field}: ${formatValue(from)} -> ${formatValue(to)}  (${CHANGE_EFFECTS[how]})`,
    ),
  ];
}

function formatValue(value: unknown): string {
  if (value === undefined) return 'not set';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(formatValue).join(', ');
  return replaceControlCharacters(String(value));
}

/** Replaces characters that would control the terminal. */
function replaceControlCharacters(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ');
}

/** Returns an item as --json prints it, with the same keys for every action. */
export function toItemDocument({ name, driver, action, changes, notes, broken }: FleetItem): object {
  return {
    name,
    driver,
    action,
    changes: changes.map(({ field, from, to, how }) => ({ field, from: from ?? null, to: to ?? null, how })),
    notes,
    ...(broken ? toErrorDocument(broken) : {}),
  };
}
