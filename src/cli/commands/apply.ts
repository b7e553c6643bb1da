import { z } from 'zod';
import { getDriver } from '../../drivers/registry.ts';
import { exitCodes, SlipwayError } from '../../errors.ts';
import type { FleetItemResult } from '../../fleet/apply-fleet.ts';
import { type FleetPlan, hasWork, type FleetItem, isDestructive } from '../../fleet/plan-fleet.ts';
import { toArgv } from '../../machine/options.ts';
import { formatCommandLine } from '../../profiles/shell-env.ts';
import { sudoPasswordOption } from '../../machine/spec.ts';
import { defineCommand, optionSpecsOf, type Cli, type Command, type CommandResult } from '../command.ts';
import { notStartedMessage } from './for-each-machine.ts';
import { installMissing } from '../../terminal/install-programs.ts';
import { fleetOptions, toItemDocument, loadFleetPlan, formatFleetPlan } from '../fleet-output.ts';

const args = z.object({
  ...fleetOptions,
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done, as plan does' }),
  yes: z
    .boolean()
    .default(false)
    .meta({ description: 'Do not ask: also replace and remove machines, and install missing programs', short: 'y' }),
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
  summary: 'Create, change, replace and remove machines to match machines.yaml',
  usage: '[names...]',
  args,
  details:
    'Shows the plan, and asks for confirmation at a terminal. Elsewhere it applies the plan at once; to replace or remove machines it then requires --yes. To continue after an interruption, run the same command again.',
  async run({ positionals, args: options }, cli) {
    const plan = await loadFleetPlan({ ...options, names: positionals }, cli);
    const work = plan.items.filter(hasWork);
    const text = formatFleetPlan(plan);
    if (options.dryRun || work.length === 0) return { json: toApplyDocument(plan, []), text };
    cli.say(text);
    if (!(await confirmApply(work, options.yes, cli)))
      return { json: toApplyDocument(plan, []), text: 'Canceled: nothing was changed' };
    await installDriverPrograms(
      work,
      options.yes,
      work.some(isDestructive) ? undefined : toRepeatCommand(positionals, options, cli),
      cli,
    );
    return reportApplied(plan, work, await runPlan(plan, work, options.concurrency, cli), cli);
  },
});

/** Asks once, for all machines. Throws USAGE if machines would be replaced or removed and nobody can be asked. */
async function confirmApply(work: readonly FleetItem[], yes: boolean, cli: Cli): Promise<boolean> {
  if (yes) return true;
  const destructive = work.filter(isDestructive);
  const names = destructive.map(({ name }) => name).join(', ');
  if (cli.interactive) {
    const { confirm } = await import('../../terminal/questions.ts');
    if (destructive.length === 0) return await confirm('Apply these changes?');
    return await confirm(`Apply these changes, and delete the current ${names}?`, false);
  }
  if (destructive.length === 0) return true;
  throw new SlipwayError('USAGE', `Confirmation is required to replace or remove ${names}`, {
    hint: 'To confirm, add --yes. Nothing was changed',
  });
}

/** Returns the command that the user typed, with the flag that agrees to the installation of missing programs. */
function toRepeatCommand(
  names: readonly string[],
  options: z.output<typeof args>,
  { program, world: { computer } }: Cli,
): string {
  const specs = optionSpecsOf(apply as unknown as Command);
  return formatCommandLine([program, 'apply', ...names, ...toArgv(specs, { ...options, yes: true })], computer);
}

/**
 * Installs the programs that the drivers of new machines need, before any machine is created. `consentCommand` is
 * undefined if its --yes would also delete machines.
 */
async function installDriverPrograms(
  work: readonly FleetItem[],
  yes: boolean,
  consentCommand: string | undefined,
  cli: Cli,
): Promise<void> {
  const creations = work.filter(({ action }) => ['create', 'finish', 'replace'].includes(action));
  const programs = creations.flatMap(
    ({ driver, wanted }) => getDriver(driver).programs?.(cli.world.computer, wanted?.spec.options) ?? [],
  );
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
  create: 'is created',
  finish: 'is complete',
  change: 'is changed',
  replace: 'is replaced',
  remove: 'is removed',
  nothing: 'is unchanged',
  broken: 'is broken',
};

async function reportApplied(
  plan: FleetPlan,
  work: readonly FleetItem[],
  results: readonly FleetItemResult[],
  cli: Cli,
): Promise<CommandResult> {
  const { formatError } = await import('../../terminal/text-output.ts');
  const failed = results.flatMap(({ item, error }) => (error ? [{ item, error }] : []));
  for (const { item, error } of failed) cli.say(`${item.name}: ${formatError(error, cli.color)}`);
  const lines = results.flatMap(({ item, machine, error }) =>
    error ? [] : [`${item.name} ${COMPLETED_TEXT[item.action]}${machine?.endpoint ? `: ${machine.endpoint.url}` : ''}`],
  );
  const notStarted = work.filter(({ name }) => !results.some(({ item }) => item.name === name));
  if (failed.length > 0) lines.push(`${failed.length} of ${work.length} machines failed`);
  if (notStarted.length > 0) lines.push(notStartedMessage(notStarted.map(({ name }) => name)));
  else if (failed.length > 0) lines.push('To continue, run the same command again');
  // If nothing failed, only an interruption leaves machines that were not started.
  const code = failed[0]?.error.code ?? (notStarted.length > 0 ? 'CANCELED' : undefined);
  return {
    json: toApplyDocument(plan, results),
    text: lines.join('\n'),
    ...(code === undefined ? {} : { status: exitCodes[code] }),
  };
}

function toApplyDocument({ displayPath, fleetId, items }: FleetPlan, results: readonly FleetItemResult[]): object {
  const resultByName = new Map(results.map((result) => [result.item.name, result]));
  return {
    file: displayPath,
    fleet: fleetId,
    todo: items.filter(hasWork).length,
    machines: items.map((item) => ({ ...toItemDocument(item), ...toOutcomeDocument(resultByName.get(item.name)) })),
  };
}

/** Returns how a machine ended; `done` is null if it was not started or needed no change. */
function toOutcomeDocument(result: FleetItemResult | undefined): object {
  if (!result) return { done: null };
  const { error, machine } = result;
  if (error) return { done: false, error: { code: error.code, message: error.message, hint: error.hint ?? null } };
  return { done: true, url: machine?.endpoint?.url ?? null };
}
