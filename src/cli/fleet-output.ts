import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { type FieldChange, type FleetPlan, hasWork, type FleetItem, planFleet } from '../fleet/plan-fleet.ts';
import { findNearestWord } from '../did-you-mean.ts';
import type { Cli } from './command.ts';
import { toErrorDocument } from '../terminal/text-output.ts';

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
export async function loadFleetPlan(
  { file, prune, names }: { readonly file: string; readonly prune: boolean; readonly names: readonly string[] },
  { world, env }: Cli,
): Promise<FleetPlan> {
  const { readFleet } = await import('../fleet/read-fleet.ts');
  const fleet = await readFleet(file, { env, home: world.userHome });
  const plan = planFleet(fleet, await world.store.list(), { prune, now: world.now() });
  return names.length === 0 ? plan : { ...plan, items: selectItems(plan, names) };
}

/** `web` is each of web-1, web-2 and web-3 that its count makes. */
function selectItems({ displayPath, items }: FleetPlan, names: readonly string[]): readonly FleetItem[] {
  const called = (item: FleetItem): readonly string[] => [item.name, ...(item.wanted ? [item.wanted.entry] : [])];
  const known = new Set(items.flatMap(called));
  const strange = names.find((name) => !known.has(name));
  if (strange === undefined) return items.filter((item) => called(item).some((name) => names.includes(name)));
  const near = findNearestWord(strange, [...known]);
  throw new SlipwayError('USAGE', `${displayPath} has no machine named "${strange}"`, {
    hint: near === undefined ? 'See what it has: slipway plan' : `Did you mean ${near}? All of them: slipway plan`,
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
  live: 'at once',
  engine: 'restarts the engine',
  restart: 'at its next start; one that runs is stopped and started',
  replace: 'takes another machine',
};

/** The plan as people read it: what is as it should be is counted, the rest is told field by field. */
export function formatFleetPlan({ displayPath, items }: FleetPlan): string {
  const work = items.filter(hasWork);
  const same = items.length - work.length;
  const rest = same === 0 ? [] : [`${same === 1 ? '1 machine is' : `${same} machines are`} as ${displayPath} says`];
  const quiet = items.filter((item) => !hasWork(item) && item.notes.length > 0);
  if (work.length === 0 && items.length === 0) return `${displayPath} has no machines, and there is nothing to do`;
  const width = Math.max(0, ...[...work, ...quiet].map(({ name }) => name.length));
  const lines = [...work, ...quiet].flatMap((item) => formatItem(item, width));
  return [...(work.length > 0 ? [`${displayPath}: this is to be done`] : []), ...lines, ...rest].join('\n');
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

/** Nothing in it moves the cursor. */
function replaceControlCharacters(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, ' ');
}

/** For --json: the same for each machine, whatever is to be done. */
export function toItemDocument({ name, driver, action, changes, notes, broken }: FleetItem): object {
  return {
    name,
    driver,
    action: action,
    changes: changes.map(({ field, from, to, how }) => ({ field, from: from ?? null, to: to ?? null, how })),
    notes,
    ...(broken ? toErrorDocument(broken) : {}),
  };
}
