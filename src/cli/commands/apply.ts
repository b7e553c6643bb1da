import { z } from 'zod';
import { driverNamed } from '../../drivers/registry.ts';
import { exitCodes, SlipwayError } from '../../errors.ts';
import type { Done } from '../../fleet/apply.ts';
import { type FleetPlan, hasWork, type Item, losesSomething } from '../../fleet/plan.ts';
import { toArgv } from '../../machine/options.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { sudoPassword } from '../../machine/spec.ts';
import { defineCommand, infosOf, type Cli, type Command, type Result } from '../command.ts';
import { installMissing } from '../consent.ts';
import { fleetOptions, itemDocument, plannedFleet, shownFleet } from '../fleet.ts';

const args = z.object({
  ...fleetOptions,
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done, as plan does' }),
  yes: z
    .boolean()
    .default(false)
    .meta({ description: 'Ask nothing: also replace and remove machines, and install missing programs', short: 'y' }),
  concurrency: z
    .int()
    .min(1)
    .max(64)
    .default(4)
    .meta({ description: 'Machines to work on at the same time', value: 'number' }),
  sudoPassword,
});

export const apply: Command<typeof args> = defineCommand({
  name: 'apply',
  summary: 'Make the machines what machines.yaml says: create, change, replace, remove',
  words: '[names...]',
  args,
  details:
    'Shows the plan first. On a terminal it asks once; elsewhere it goes on, unless machines would be replaced or removed, which takes --yes. Run again, it finishes what was stopped.',
  async run({ words, args: given }, cli) {
    const plan = await plannedFleet({ ...given, names: words }, cli);
    const work = plan.items.filter(hasWork);
    const text = shownFleet(plan);
    if (given.dryRun || work.length === 0) return { json: document(plan, []), text };
    cli.say(text);
    if (!(await agreed(work, given.yes, cli))) return { json: document(plan, []), text: 'Nothing was done' };
    await bringPrograms(work, given.yes, work.some(losesSomething) ? undefined : commandLine(words, given, cli), cli);
    return told(plan, work, await done(plan, work, given.concurrency, cli), cli);
  },
});

/** Asked once, for all. Where nobody can be asked, nothing is lost that nobody gave up. */
async function agreed(work: readonly Item[], yes: boolean, cli: Cli): Promise<boolean> {
  if (yes) return true;
  const lost = work.filter(losesSomething);
  const names = lost.map(({ name }) => name).join(', ');
  if (cli.interactive) {
    const { confirmed } = await import('../wizard.ts');
    if (lost.length === 0) return await confirmed('Do this?');
    return await confirmed(`Do this, and give up what is there of ${names}?`, false);
  }
  if (lost.length === 0) return true;
  throw new SlipwayError('USAGE', `This would replace or remove ${names}, and nobody can be asked here`, {
    hint: 'When that is meant, add --yes; nothing was done',
  });
}

/** What was typed, with the consent that lets missing programs be installed. */
function commandLine(names: readonly string[], given: z.output<typeof args>, { program }: Cli): string {
  const own = infosOf(apply as unknown as Command);
  return toCommandLine([program, 'apply', ...names, ...toArgv(own, { ...given, yes: true })]);
}

/**
 * What the drivers of new machines need on this computer, before anything is begun. `again` is left out where --yes would also give
 * machines up.
 */
async function bringPrograms(work: readonly Item[], yes: boolean, again: string | undefined, cli: Cli): Promise<void> {
  const making = work.filter(({ deed }) => ['create', 'finish', 'replace'].includes(deed));
  const drivers = new Set(making.map(({ driver }) => driver));
  const programs = [...drivers].flatMap((name) => driverNamed(name).programs?.(cli.world.computer) ?? []);
  await installMissing(programs, { yes, again }, cli);
}

async function done(plan: FleetPlan, work: readonly Item[], concurrency: number, cli: Cli): Promise<readonly Done[]> {
  const { applyPlan } = await import('../../fleet/apply.ts');
  const rows = new Map(work.map(({ name }) => [name, cli.progressOf(name)]));
  return await applyPlan(plan, {
    world: cli.world,
    worldOf: (name) => ({ ...cli.world, progress: rows.get(name) ?? cli.world.progress }),
    ended: (name, error) => rows.get(name)?.end(error),
    concurrency,
  });
}

const PAST: Readonly<Record<Item['deed'], string>> = {
  create: 'is made',
  finish: 'is finished',
  change: 'is changed',
  replace: 'is made anew',
  remove: 'is removed',
  nothing: 'is as it was',
  broken: 'is broken',
};

async function told(plan: FleetPlan, work: readonly Item[], ends: readonly Done[], cli: Cli): Promise<Result> {
  const { shownError } = await import('../../terminal/print.ts');
  const failed = ends.flatMap(({ item, error }) => (error ? [{ item, error }] : []));
  for (const { item, error } of failed) cli.say(`${item.name}: ${shownError(error, cli.color)}`);
  const lines = ends.flatMap(({ item, machine, error }) =>
    error ? [] : [`${item.name} ${PAST[item.deed]}${machine?.endpoint ? `: ${machine.endpoint.url}` : ''}`],
  );
  const left = work.filter(({ name }) => !ends.some(({ item }) => item.name === name));
  const rest = [
    ...(failed.length > 0 ? [`${failed.length} of ${work.length} failed`] : []),
    ...(left.length > 0 ? [`not begun: ${left.map(({ name }) => name).join(', ')}`] : []),
  ];
  if (rest.length > 0) lines.push([...rest, 'the same command again goes on'].join('; '));
  // What is left where nothing failed was left for a Ctrl-C.
  const code = failed[0]?.error.code ?? (left.length > 0 ? 'CANCELED' : undefined);
  return {
    json: document(plan, ends),
    text: lines.join('\n'),
    ...(code === undefined ? {} : { status: exitCodes[code] }),
  };
}

function document({ shown, mark, items }: FleetPlan, ends: readonly Done[]): object {
  const known = new Map(ends.map((end) => [end.item.name, end]));
  return {
    file: shown,
    fleet: mark,
    todo: items.filter(hasWork).length,
    machines: items.map((item) => ({ ...itemDocument(item), ...outcome(known.get(item.name)) })),
  };
}

/** `done` is null for what was not begun, or needed nothing. */
function outcome(end: Done | undefined): object {
  if (!end) return { done: null };
  const { error, machine } = end;
  if (error) return { done: false, error: { code: error.code, message: error.message, hint: error.hint ?? null } };
  return { done: true, url: machine?.endpoint?.url ?? null };
}
