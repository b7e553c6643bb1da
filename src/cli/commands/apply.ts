import { z } from 'zod';
import { getDriver } from '../../drivers/registry.ts';
import { exitCodes, SlipwayError } from '../../errors.ts';
import type { FleetItemResult } from '../../fleet/apply-fleet.ts';
import { type FleetPlan, hasWork, type FleetItem, isDestructive } from '../../fleet/plan-fleet.ts';
import { toArgv } from '../../machine/options.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, optionSpecsOf, type Cli, type Command, type CommandResult } from '../command.ts';
import { installMissing } from '../../terminal/install-programs.ts';
import { fleetOptions, toItemDocument, loadFleetPlan, formatFleetPlan } from '../fleet-output.ts';

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
  sudoPassword: sudoPasswordOption,
});

export const apply: Command<typeof args> = defineCommand({
  name: 'apply',
  summary: 'Make the machines what machines.yaml says: create, change, replace, remove',
  usage: '[names...]',
  args,
  details:
    'Shows the plan first. On a terminal it asks once; elsewhere it goes on, unless machines would be replaced or removed, which takes --yes. Run again, it finishes what was stopped.',
  async run({ positionals, args: given }, cli) {
    const plan = await loadFleetPlan({ ...given, names: positionals }, cli);
    const work = plan.items.filter(hasWork);
    const text = formatFleetPlan(plan);
    if (given.dryRun || work.length === 0) return { json: toApplyDocument(plan, []), text };
    cli.say(text);
    if (!(await confirmApply(work, given.yes, cli)))
      return { json: toApplyDocument(plan, []), text: 'Nothing was done' };
    await installDriverPrograms(
      work,
      given.yes,
      work.some(isDestructive) ? undefined : toRepeatCommand(positionals, given, cli),
      cli,
    );
    return reportApplied(plan, work, await runPlan(plan, work, given.concurrency, cli), cli);
  },
});

/** Asked once, for all. Where nobody can be asked, nothing is lost that nobody gave up. */
async function confirmApply(work: readonly FleetItem[], yes: boolean, cli: Cli): Promise<boolean> {
  if (yes) return true;
  const lost = work.filter(isDestructive);
  const names = lost.map(({ name }) => name).join(', ');
  if (cli.interactive) {
    const { confirm } = await import('../../terminal/questions.ts');
    if (lost.length === 0) return await confirm('Do this?');
    return await confirm(`Do this, and give up what is there of ${names}?`, false);
  }
  if (lost.length === 0) return true;
  throw new SlipwayError('USAGE', `This would replace or remove ${names}, and nobody can be asked here`, {
    hint: 'When that is meant, add --yes; nothing was done',
  });
}

/** What was typed, with the consent that lets missing programs be installed. */
function toRepeatCommand(names: readonly string[], given: z.output<typeof args>, { program }: Cli): string {
  const own = optionSpecsOf(apply as unknown as Command);
  return toCommandLine([program, 'apply', ...names, ...toArgv(own, { ...given, yes: true })]);
}

/**
 * What the drivers of new machines need on this computer, before anything is begun. `again` is left out where --yes would also give
 * machines up.
 */
async function installDriverPrograms(
  work: readonly FleetItem[],
  yes: boolean,
  consentCommand: string | undefined,
  cli: Cli,
): Promise<void> {
  const making = work.filter(({ action }) => ['create', 'finish', 'replace'].includes(action));
  const drivers = new Set(making.map(({ driver }) => driver));
  const programs = [...drivers].flatMap((name) => getDriver(name).programs?.(cli.world.computer) ?? []);
  await installMissing(programs, { yes, consentCommand }, cli);
}

async function runPlan(
  plan: FleetPlan,
  work: readonly FleetItem[],
  concurrency: number,
  cli: Cli,
): Promise<readonly FleetItemResult[]> {
  const { applyFleetPlan } = await import('../../fleet/apply-fleet.ts');
  const rows = new Map(work.map(({ name }) => [name, cli.progressOf(name)]));
  return await applyFleetPlan(plan, {
    world: cli.world,
    worldFor: (name) => ({ ...cli.world, progress: rows.get(name) ?? cli.world.progress }),
    onMachineDone: (name, error) => rows.get(name)?.end(error),
    concurrency,
  });
}

const COMPLETED_TEXT: Readonly<Record<FleetItem['action'], string>> = {
  create: 'is made',
  finish: 'is finished',
  change: 'is changed',
  replace: 'is made anew',
  remove: 'is removed',
  nothing: 'is as it was',
  broken: 'is broken',
};

async function reportApplied(
  plan: FleetPlan,
  work: readonly FleetItem[],
  ends: readonly FleetItemResult[],
  cli: Cli,
): Promise<CommandResult> {
  const { formatError } = await import('../../terminal/text-output.ts');
  const failed = ends.flatMap(({ item, error }) => (error ? [{ item, error }] : []));
  for (const { item, error } of failed) cli.say(`${item.name}: ${formatError(error, cli.color)}`);
  const lines = ends.flatMap(({ item, machine, error }) =>
    error ? [] : [`${item.name} ${COMPLETED_TEXT[item.action]}${machine?.endpoint ? `: ${machine.endpoint.url}` : ''}`],
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
    json: toApplyDocument(plan, ends),
    text: lines.join('\n'),
    ...(code === undefined ? {} : { status: exitCodes[code] }),
  };
}

function toApplyDocument({ displayPath, fleetId, items }: FleetPlan, ends: readonly FleetItemResult[]): object {
  const known = new Map(ends.map((end) => [end.item.name, end]));
  return {
    file: displayPath,
    fleet: fleetId,
    todo: items.filter(hasWork).length,
    machines: items.map((item) => ({ ...toItemDocument(item), ...toOutcomeDocument(known.get(item.name)) })),
  };
}

/** `done` is null for what was not begun, or needed nothing. */
function toOutcomeDocument(end: FleetItemResult | undefined): object {
  if (!end) return { done: null };
  const { error, machine } = end;
  if (error) return { done: false, error: { code: error.code, message: error.message, hint: error.hint ?? null } };
  return { done: true, url: machine?.endpoint?.url ?? null };
}
