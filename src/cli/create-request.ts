import { findDefaultDriver } from '../drivers/availability.ts';
import { getDriver, drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';
import { driverFromFlags, resolveSpec } from '../machine-options/spec-from-flags.ts';
import { isMachineName, type Machine, type MachineSpec } from '../machine/model.ts';
import { formatList, optionsFromEnv, type OptionSpec, type OptionValues } from '../machine/options.ts';
import { invalidNameError } from '../machine/store.ts';
import { installMissing } from '../terminal/install-programs.ts';
import { requireSameDriver } from '../operations/guards.ts';
import type { Cli } from './command.ts';
import { requireUniqueNames } from './commands/for-each-machine.ts';

/** The options of `create` itself, which belong to no driver and no engine. */
export type CreateOptions = {
  readonly driver?: string | undefined;
  readonly use: boolean;
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly profile: readonly string[];
};

/** The complete request of a `create` call: after it, nothing asks the user or reads flags. */
export type CreateRequest = { readonly spec: MachineSpec; readonly usedWizard: boolean; readonly use: boolean };

/** Returns the names of the machines: `web --count 3` is `web-1 web-2 web-3`. Throws USAGE for an invalid name. */
export function parseMachineNames(words: readonly string[], count: number | undefined): readonly string[] {
  if (count !== undefined && words.length !== 1) {
    throw new SlipwayError('USAGE', `--count requires exactly one name: ${words.length} given`, {
      hint: `For example: slipway create ${words[0] ?? 'web'} --count ${count}`,
    });
  }
  const names = count === undefined ? words : Array.from({ length: count }, (_, index) => `${words[0]}-${index + 1}`);
  const invalid = names.find((name) => !isMachineName(name));
  if (invalid !== undefined) throw invalidNameError(invalid);
  requireUniqueNames(names);
  return names;
}

/**
 * Resolves the spec of the first machine from flags, its record, the environment and, at a terminal, the wizard.
 * Without a terminal, throws USAGE with everything that is missing.
 */
export async function resolveCreateRequest(
  name: string | undefined,
  options: CreateOptions,
  flags: OptionValues,
  cli: Cli,
): Promise<CreateRequest> {
  const before = name === undefined ? undefined : await cli.world.store.find(name);
  const driver = await chooseDriver(name, options, flags, before, cli);
  if (before?.phase !== 'ready') requireSameDriver(before, driver);
  const profiles = flags.profile === undefined ? (before?.spec.profiles ?? options.profile) : options.profile;
  const sources = { env: cli.env, before: before?.spec, profiles };
  const missing = driver === undefined ? [] : findMissingOptions(driver, flags, before, cli);
  if (name !== undefined && driver !== undefined && missing.length === 0)
    return { spec: resolveSpec({ ...sources, name, driver, flags }), usedWizard: false, use: options.use };
  if (cli.interactive) {
    const { askForMachine, requireCreateConfirmation } = await import('./create-wizard.ts');
    const answers = await askForMachine({ name, driver, flags, use: options.use }, cli);
    const spec = resolveSpec({ ...sources, ...answers });
    await requireCreateConfirmation(spec, cli);
    return { spec, usedWizard: true, use: answers.use };
  }
  if (name === undefined || driver === undefined) throw incompleteRequestError(name, driver, flags, cli);
  return { spec: resolveSpec({ ...sources, name, driver, flags }), usedWizard: false, use: options.use };
}

/** Chooses the driver: from flags, then the machine's record, then the environment, then the best local one. */
async function chooseDriver(
  name: string | undefined,
  options: CreateOptions,
  flags: OptionValues,
  before: Machine | undefined,
  cli: Cli,
): Promise<string | undefined> {
  const fromFlags = flags.driver === undefined ? driverFromFlags(flags) : options.driver;
  const requested = fromFlags ?? before?.spec.driver ?? options.driver;
  if (requested !== undefined) return getDriver(requested).name;
  return name === undefined ? undefined : await chooseDefaultDriver(cli);
}

/** Returns the best local driver, and tells the user which one it is, or how to find out why there is none. */
async function chooseDefaultDriver({ world: { computer }, say }: Cli): Promise<string | undefined> {
  const best = await findDefaultDriver(drivers, computer);
  if (best) say(`Driver: ${best.driver.name} (${best.driver.summary}). To choose another: --driver NAME`);
  else if (drivers.some(({ priority }) => priority !== undefined))
    say('No local driver works on this computer. To see why: slipway drivers');
  return best?.driver.name;
}

/** Installs the programs that the machine's driver needs, once the user agrees. */
export async function installDriverPrograms(
  { driver, options }: Pick<MachineSpec, 'driver' | 'options'>,
  { yes, dryRun }: Pick<CreateOptions, 'yes' | 'dryRun'>,
  repeatCommand: string,
  cli: Cli,
): Promise<void> {
  const programs = getDriver(driver).programs?.(cli.world.computer, options) ?? [];
  // A dry run changes nothing on this computer either, so it fails with the command to type, as without a terminal.
  const context = dryRun ? { ...cli, interactive: false } : cli;
  await installMissing(programs, { yes: yes && !dryRun, consentCommand: `${repeatCommand} --yes` }, context);
}

function findMissingOptions(
  driver: string,
  flags: OptionValues,
  before: Machine | undefined,
  { env }: Cli,
): readonly OptionSpec[] {
  const specs = driverOptionSpecs[driver] ?? [];
  const values = { ...optionsFromEnv(specs, env), ...before?.spec.options };
  return specs.filter(({ flag, key, required }) => required && flags[flag] === undefined && values[key] === undefined);
}

/** Names everything that is missing at once. */
function incompleteRequestError(
  name: string | undefined,
  driver: string | undefined,
  flags: OptionValues,
  cli: Cli,
): SlipwayError {
  const options = driver === undefined ? [] : findMissingOptions(driver, flags, undefined, cli);
  const missing = [
    ...(name === undefined ? ['a name'] : []),
    ...(driver === undefined ? ['a driver'] : []),
    ...options.map(({ flag }) => `--${flag}`),
  ];
  const exampleDriver = driver ?? drivers.find(({ kind }) => kind === 'existing')?.name ?? '';
  const examples = (driverOptionSpecs[exampleDriver] ?? []).flatMap(({ flag, example }) =>
    example === undefined || flags[flag] !== undefined ? [] : [` --${flag} ${example}`],
  );
  return new SlipwayError('USAGE', `Required to create a machine: ${formatList(missing)}`, {
    hint:
      driver === undefined && name === undefined
        ? 'For a virtual machine on this computer: slipway create dev'
        : `For example: slipway create ${name ?? 'web'} --driver ${exampleDriver}${examples.join('')}`,
  });
}
