import { SlipwayError } from '../errors.ts';
import { resolveSpec } from '../machine-options/spec-from-flags.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import type { OptionSpec, OptionValues } from '../machine/options.ts';
import type { MachineOutcome } from '../operations/concurrency.ts';
import { createMachines, type CreateOutcome } from '../operations/create-many.ts';
import { planDryRun } from '../operations/dry-run.ts';
import { requireSameDriver } from '../operations/guards.ts';
import { validateSpec } from '../operations/validate-spec.ts';
import type { Cli, CommandResult } from './command.ts';
import { reportOutcomes, type MachineResult } from './commands/for-each-machine.ts';
import { planResult } from './commands/provision.ts';
import { installDriverPrograms, type CreateOptions } from './create-request.ts';
import { toRepeatCommand } from './repeat-command.ts';

type SeveralRequest = {
  readonly options: CreateOptions;
  readonly flags: OptionValues;
  readonly ownOptions: readonly OptionSpec[];
};

/** Creates several machines with the options of the first one, which was resolved already. */
export async function createSeveral(
  first: MachineSpec,
  names: readonly string[],
  { options, flags, ownOptions }: SeveralRequest,
  cli: Cli,
): Promise<CommandResult> {
  const { world } = cli;
  const before = await Promise.all(names.map(async (name) => world.store.find(name)));
  for (const machine of before) if (machine?.phase !== 'ready') requireSameDriver(machine, first.driver);
  if (options.use) {
    throw new SlipwayError('USAGE', `--use requires exactly one name: ${names.length} given`, {
      hint: `Omit --use, then choose one: slipway use ${names[0]}`,
    });
  }
  const specs = names.map((name, index) =>
    name === first.name ? first : deriveSpec(first, name, flags, before[index], cli),
  );
  await validateSpec(first, world);
  if (before.some((machine) => machine?.phase !== 'ready'))
    await installDriverPrograms(first, options, toRepeatCommand(first, false, ownOptions, cli), cli);
  if (options.dryRun) return await planSeveral(specs, before, cli);
  return await createAll(specs, cli);
}

/** Returns the spec of another machine of the same kind; a machine that exists keeps its own options. */
function deriveSpec(
  { driver, profiles, options }: MachineSpec,
  name: string,
  flags: OptionValues,
  before: Machine | undefined,
  { env }: Cli,
): MachineSpec {
  const spec = resolveSpec({ name, driver, flags, env, before: before?.spec, profiles });
  return before ? spec : { ...spec, options };
}

async function planSeveral(
  specs: readonly MachineSpec[],
  before: readonly (Machine | undefined)[],
  { world }: Cli,
): Promise<CommandResult> {
  const plans = await Promise.all(
    specs.map(async (spec, index) => planDryRun(await validateSpec(spec, world), before[index], world)),
  );
  const results = plans.map((plan, index) => planResult(specs[index]?.name ?? '', plan));
  return { json: results.map(({ json }) => json), text: results.map(({ text }) => text).join('\n') };
}

async function createAll(specs: readonly MachineSpec[], cli: Cli): Promise<CommandResult> {
  const { world, progressOf } = cli;
  const names = specs.map(({ name }) => name);
  // All machines are in the progress list from the start, including those that wait.
  for (const name of names) progressOf(name);
  const outcomes = await createMachines(
    specs,
    world,
    (name) => ({ ...world, progress: progressOf(name) }),
    ({ name, error }) => progressOf(name).end(error),
  );
  if (outcomes.every(({ value, started }) => value !== undefined && !started)) throw allExistError(names);
  return await reportOutcomes(outcomes.map(toMachineOutcome), cli);
}

function allExistError(names: readonly string[]): SlipwayError {
  return new SlipwayError('MACHINE_EXISTS', `All of these machines already exist: ${names.join(', ')}`, {
    hint: `To bring them up to date: slipway provision ${names.join(' ')}`,
  });
}

function toMachineOutcome({ name, started, value, error }: CreateOutcome): MachineOutcome<MachineResult> {
  if (error) return { name, started, error };
  const { spec, endpoint } = value;
  const json = { name, driver: spec.driver, url: endpoint.url };
  return { name, started, value: { json, text: `${name} is ready: ${endpoint.url}` } };
}
