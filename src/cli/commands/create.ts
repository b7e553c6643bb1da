import { z } from 'zod';
import { getDriver, drivers } from '../../drivers/registry.ts';
import { createMachines, type CreateOutcome } from '../../operations/create-many.ts';
import { SlipwayError } from '../../errors.ts';
import { createMachine } from '../../operations/create.ts';
import { planDryRun } from '../../operations/dry-run.ts';
import { requireSameDriver } from '../../operations/guards.ts';
import { validateSpec } from '../../operations/validate-spec.ts';
import type { MachineOutcome } from '../../operations/concurrency.ts';
import type { World } from '../../operations/world.ts';
import { optionsFromEnv, formatList, toArgv, type OptionSpec, type OptionValues } from '../../machine/options.ts';
import { getDockerClientProgram, planInstall, findMissingPrograms } from '../../computer/programs.ts';
import { defaultProfiles, profiles as known } from '../../profiles/registry.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sudoPasswordOption } from '../../machine/spec.ts';
import { invalidNameError } from '../../machine/store.ts';
import { isMachineName, type Machine, type MachineSpec, type ReadyMachine } from '../../machine/model.ts';
import { toCommandLine } from '../../ssh/shell.ts';
import { defineCommand, optionSpecsOf, type Cli, type Command, type CommandResult } from '../command.ts';
import { installMissing } from '../install-programs.ts';
import {
  credentialOptionSpecs,
  driverFromFlags,
  driverOptionSpecs,
  setCredentialsForRun,
  machineOptionSpecs,
  resolveSpec,
} from '../spec-from-flags.ts';
import { findDefaultDriver } from '../../drivers/availability.ts';
import { requireUniqueNames, type MachineResult, reportOutcomes } from './for-each-machine.ts';
import { planResult } from './provision.ts';
import { makeCurrent, noContextError } from './use.ts';

const args = z.object({
  driver: z
    .string()
    .optional()
    .meta({
      description: `Driver: ${drivers.map(({ name }) => name).join(', ')}`,
      env: 'MACHINE_DRIVER',
      short: 'd',
      value: 'name',
    }),
  use: z.boolean().default(false).meta({ description: "Make it the docker CLI's current context" }),
  yes: z.boolean().default(false).meta({ description: 'Install missing programs without asking', short: 'y' }),
  count: z
    .int()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: 'Make so many machines: NAME-1, NAME-2, …', value: 'number' }),
  dryRun: z.boolean().default(false).meta({ description: 'Show what would be done on the host' }),
  profile: z
    .array(z.enum(known.map(({ name }) => name) as [string, ...string[]]))
    .default([...defaultProfiles])
    .meta({ description: 'Profiles', value: 'name' }),
  sudoPassword: sudoPasswordOption,
});

export const create: Command<typeof args> = defineCommand({
  name: 'create',
  summary: 'Make machines, or finish those whose making was stopped',
  usage: '[names...]',
  args,
  extraOptions: [...machineOptionSpecs, ...credentialOptionSpecs],
  details:
    'Flags of a driver choose it: --generic-ip-address 192.0.2.10 needs no --driver. Without any: the best local driver here. Several names: machines of one kind.',
  async run({ positionals, args: given, flags }, cli) {
    const names = parseNames(positionals, given.count);
    setCredentialsForRun(flags, cli);
    const [named] = names;
    const { spec, usedWizard, use } = await resolveRequest(named, given, flags, cli);
    if (use && !spec.profiles.includes('docker-context')) throw noContextError(spec.name);
    if (names.length > 1) return await createMany(spec, names, given, flags, cli);
    const before = await cli.world.store.find(spec.name);
    const repeat = toRepeatCommand(spec, use, cli);
    // What can't be made, and a name that is taken, are refused before anything is installed for it.
    await validateSpec(spec, cli.world);
    if (before?.phase !== 'ready') await installDriverPrograms(spec.driver, given, repeat, cli);
    if (given.dryRun) return planResult(spec.name, await planDryRun(spec, before, cli.world));
    const ready = await createMachine(spec, cli.world);
    if (use) await makeCurrent(ready, cli);
    return createdResult(
      ready,
      usedWizard ? await formatRepeatHints(spec, repeat) : [],
      await findClientInstallCommand(cli),
    );
  },
});

/** `web --count 3` is `web-1 web-2 web-3`. */
function parseNames(words: readonly string[], count: number | undefined): readonly string[] {
  if (count !== undefined && words.length !== 1) {
    throw new SlipwayError('USAGE', `--count numbers the machines of one name, and ${words.length} were given`, {
      hint: `For example: slipway create ${words[0] ?? 'web'} --count ${count}`,
    });
  }
  const names = count === undefined ? words : Array.from({ length: count }, (_, at) => `${words[0]}-${at + 1}`);
  const wrong = names.find((name) => !isMachineName(name));
  if (wrong !== undefined) throw invalidNameError(wrong);
  requireUniqueNames(names);
  return names;
}

/** Machines of one kind: the first one's answers are everyone's. */
async function createMany(
  first: MachineSpec,
  names: readonly string[],
  given: CreateOptions,
  flags: OptionValues,
  cli: Cli,
): Promise<CommandResult> {
  const { world, env } = cli;
  const before = await Promise.all(names.map(async (name) => world.store.find(name)));
  for (const machine of before) if (machine?.phase !== 'ready') requireSameDriver(machine, first.driver);
  if (given.use)
    throw new SlipwayError('USAGE', '--use makes one machine the current context, and several were named', {
      hint: `Leave it out, then choose one: slipway use ${names[0]}`,
    });
  const { driver, profiles, options } = first;
  const specs = names.map((name, at): MachineSpec =>
    name === first.name
      ? first
      : {
          ...resolveSpec({ name, driver, flags, env, before: before[at]?.spec, profiles }),
          ...(before[at] ? {} : { options }),
        },
  );
  await validateSpec(first, world);
  if (before.some((machine) => machine?.phase !== 'ready'))
    await installDriverPrograms(driver, given, toRepeatCommand(first, false, cli), cli);
  if (given.dryRun) {
    const plans = await Promise.all(specs.map(async (spec, at) => planDryRun(spec, before[at], world)));
    const results = plans.map((plan, at) => planResult(names[at] ?? '', plan));
    return { json: results.map(({ json }) => json), text: results.map(({ text }) => text).join('\n') };
  }
  // All stand in the list from the beginning, those that have to wait as well.
  for (const name of names) cli.progressOf(name);
  const worldOf = (name: string): World => ({ ...world, progress: cli.progressOf(name) });
  const made = await createMachines(specs, world, worldOf, ({ name, error }) => cli.progressOf(name).end(error));
  if (made.every(({ value, started }) => value !== undefined && !started)) throw allExistError(names);
  return await reportOutcomes(made.map(toMachineOutcome), cli);
}

function allExistError(names: readonly string[]): SlipwayError {
  return new SlipwayError('MACHINE_EXISTS', `All of these machines are ready already: ${names.join(', ')}`, {
    hint: `Bring them up to date with: slipway provision ${names.join(' ')}`,
  });
}

function toMachineOutcome({ name, started, value, error }: CreateOutcome): MachineOutcome<MachineResult> {
  if (error) return { name, started, error };
  const { spec, endpoint } = value;
  const json = { name, driver: spec.driver, url: endpoint.url };
  return { name, started, value: { json, text: `${name} is ready: ${endpoint.url}` } };
}

type CreateOptions = z.output<typeof args>;
type ResolvedCreate = { readonly spec: MachineSpec; readonly usedWizard: boolean; readonly use: boolean };

/** Everything that asks about the machine, or reads its flags, is here; after it nothing does. */
async function resolveRequest(
  named: string | undefined,
  given: CreateOptions,
  flags: OptionValues,
  cli: Cli,
): Promise<ResolvedCreate> {
  const before = named === undefined ? undefined : await cli.world.store.find(named);
  // What was typed, then what was begun, then what the environment says.
  const typed = flags.driver === undefined ? driverFromFlags(flags) : given.driver;
  const called = typed ?? before?.spec.driver ?? given.driver;
  const said = called === undefined ? undefined : getDriver(called).name;
  const driver = said ?? (named === undefined ? undefined : await chooseDefaultDriver(cli));
  if (before?.phase !== 'ready') requireSameDriver(before, driver);
  const profiles = flags.profile === undefined ? (before?.spec.profiles ?? given.profile) : given.profile;
  const complete =
    named !== undefined && driver !== undefined && missingOptions(driver, flags, before, cli).length === 0;
  if (cli.interactive && !complete) {
    const { askForMachine, requireCreateConfirmation } = await import('../create-wizard.ts');
    const answers = await askForMachine({ name: named, driver, flags, use: given.use }, cli);
    const spec = resolveSpec({ ...answers, env: cli.env, before: before?.spec, profiles });
    await requireCreateConfirmation(spec, cli);
    return { spec, usedWizard: true, use: answers.use };
  }
  if (named === undefined || driver === undefined) throw incompleteError(named, driver, flags, cli);
  return {
    spec: resolveSpec({ name: named, driver, flags, env: cli.env, before: before?.spec, profiles }),
    usedWizard: false,
    use: given.use,
  };
}

/** The local driver that is taken where nobody named one; undefined when there is none to take. */
async function chooseDefaultDriver({ world: { computer }, say }: Cli): Promise<string | undefined> {
  const best = await findDefaultDriver(drivers, computer);
  if (best) say(`Driver: ${best.driver.name} (${best.driver.summary}); another one: --driver`);
  else if (drivers.some(({ priority }) => priority !== undefined))
    say('No local driver works here; why: slipway drivers');
  return best?.driver.name;
}

async function installDriverPrograms(
  driver: string,
  { yes, dryRun: dry }: CreateOptions,
  repeat: string,
  cli: Cli,
): Promise<void> {
  const programs = getDriver(driver).programs?.(cli.world.computer) ?? [];
  // A plan changes nothing, on this computer neither: it is refused as where nobody can be asked.
  const asking = dry ? { ...cli, interactive: false } : cli;
  await installMissing(programs, { yes: yes && !dry, consentCommand: `${repeat} --yes` }, asking);
}

/** How to get the docker client, where it is missing. */
async function findClientInstallCommand({ world: { computer } }: Cli): Promise<string | undefined> {
  const missing = await findMissingPrograms([await getDockerClientProgram(computer)], computer);
  return missing.length === 0 ? undefined : (await planInstall(missing, computer)).instruction;
}

function missingOptions(
  driver: string,
  flags: OptionValues,
  before: Machine | undefined,
  { env }: Cli,
): readonly OptionSpec[] {
  const known = (key: string): boolean => before?.spec.options[key] !== undefined;
  const infos = driverOptionSpecs[driver] ?? [];
  const set = optionsFromEnv(infos, env);
  return infos.filter(
    (info) => info.required && flags[info.flag] === undefined && set[info.key] === undefined && !known(info.key),
  );
}

/** All that is missing at once, where nobody can be asked for it. */
function incompleteError(
  name: string | undefined,
  driver: string | undefined,
  flags: OptionValues,
  cli: Cli,
): SlipwayError {
  const open = driver === undefined ? [] : missingOptions(driver, flags, undefined, cli).map(({ flag }) => `--${flag}`);
  const missing = [...(name === undefined ? ['a name'] : []), ...(driver === undefined ? ['a driver'] : []), ...open];
  const example = `slipway create ${name ?? 'web'} --driver ${driver ?? 'generic'}`;
  const generic = (driver ?? 'generic') === 'generic' && flags['generic-ip-address'] === undefined;
  return new SlipwayError('USAGE', `To create a machine, ${formatList(missing)} must be given`, {
    hint:
      driver === undefined && name === undefined
        ? 'For a virtual machine on this computer: slipway create dev'
        : `For example: ${example}${generic ? ' --generic-ip-address 192.0.2.10' : ''}`,
  });
}

/** What one would type to get this machine without a question. */
function toRepeatCommand(spec: MachineSpec, use: boolean, { program }: Cli): string {
  const infos = driverOptionSpecs[spec.driver] ?? [];
  const own = optionSpecsOf(create as unknown as Command);
  const argv = [
    'create',
    spec.name,
    ...toArgv(own, { driver: spec.driver, use }),
    ...toArgv(lifetimeOptionSpecs, spec.life ?? {}),
    ...toArgv(infos, spec.options),
    // Values of variables may be secret; names remind the user to give them again.
    ...toArgv(engineOptionSpecs, { ...spec.engine, env: spec.engine.env.map((pair) => `${pair.split('=', 1)[0]}=…`) }),
  ];
  return toCommandLine([program, ...argv]);
}

/** What a person has answered, for a script and for a file. */
async function formatRepeatHints(spec: MachineSpec, repeat: string): Promise<readonly string[]> {
  const { toYaml } = await import('../../fleet/to-yaml.ts');
  return [
    `To repeat this without questions: ${repeat}`,
    'Or by slipway apply, from a file machines.yaml:',
    ...toYaml(spec)
      .trimEnd()
      .split('\n')
      .map((line) => `  ${line}`),
  ];
}

function createdResult(ready: ReadyMachine, repeat: readonly string[], client: string | undefined): CommandResult {
  const { name } = ready.spec;
  const context = ready.spec.profiles.includes('docker-context');
  const next = context ? `docker --context ${contextName(name)} ps` : `eval "$(slipway env ${name})"`;
  const todo = client === undefined ? `Try: ${next}` : `The docker client is missing here; to get it: ${client}`;
  const lines = [`${name} is ready: ${ready.endpoint.url}`, todo, ...repeat];
  return {
    json: {
      name,
      driver: ready.spec.driver,
      url: ready.endpoint.url,
      context: context ? contextName(name) : null,
    },
    text: lines.join('\n'),
  };
}
