import inquirer from 'inquirer';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OptionChoice, Driver, DriverManifest } from '../drivers/contract.ts';
import { getDriver, drivers, loadDriver } from '../drivers/registry.ts';
import { canceledError, SlipwayError } from '../errors.ts';
import { driverCallFor } from '../operations/world.ts';
import { isMachineName, type MachineSpec } from '../machine/model.ts';
import { coerceOptionValue, optionsFromEnv, type OptionSpec, type OptionValues } from '../machine/options.ts';
import { engineOptionSpecs } from '../machine/spec.ts';
import { invalidNameError } from '../machine/store.ts';
import type { Cli } from './command.ts';
import { driverOptionSpecs, overriddenOptions } from './spec-from-flags.ts';
import { sortByPriority, getDriverStatuses, getDriverProblem } from '../drivers/availability.ts';

export type WizardAnswers = {
  readonly name: string;
  readonly driver: string;
  readonly flags: OptionValues;
  readonly use: boolean;
};

/** A question as inquirer takes it, made from a declaration alone. */
export type Question = {
  readonly name: string;
  readonly type: 'input' | 'number' | 'confirm' | 'select' | 'password' | 'search';
  readonly message: string;
  readonly default?: unknown;
  readonly choices?: readonly unknown[];
  readonly source?: (
    typed: string | undefined,
  ) => Promise<readonly { readonly value: string; readonly name: string }[]>;
  readonly validate?: (answer: unknown) => true | string;
};

type AnswerValidator = (info: OptionSpec, value: unknown) => true | string;

/** The options that have a question and no answer yet. */
export function toQuestions(
  infos: readonly OptionSpec[],
  given: OptionValues,
  env: Cli['env'],
  check: AnswerValidator,
): readonly Question[] {
  const set = optionsFromEnv(infos, env);
  return infos
    .filter((info) => info.question !== undefined && given[info.flag] === undefined && set[info.key] === undefined)
    .map((info) => ({
      name: info.flag,
      type: info.secret
        ? 'password'
        : ({ choice: 'select', boolean: 'confirm', int: 'number', string: 'input', list: 'input' } as const)[info.kind],
      message: info.question ?? '',
      ...(info.default === undefined ? {} : { default: info.default }),
      ...(info.kind === 'choice'
        ? { choices: info.choices }
        : {
            validate: (answer: unknown) =>
              check(info, typeof answer === 'string' ? coerceOptionValue(info, answer) : answer),
          }),
    }));
}

/** Asks what flags and environment left open; everything it asks has a flag. */
export async function askForMachine(
  given: {
    readonly name: string | undefined;
    readonly driver: string | undefined;
    readonly flags: OptionValues;
    readonly use: boolean;
  },
  cli: Cli,
): Promise<WizardAnswers> {
  const driver = given.driver ?? (await askDriver(cli));
  const name = given.name ?? (await askName(driver, cli));
  const own = await askDriverOptions(await loadDriver(driver), given.flags, cli);
  const flags = { ...own, ...(await askEngineOptions(getDriver(driver), { ...own, ...given.flags }, cli)) };
  return {
    name,
    driver,
    flags: { ...flags, ...given.flags },
    use: given.flags.use === undefined && !given.use ? await askUse() : given.use,
  };
}

/** What will be made and what it costs, before anything is; a no leaves nothing. */
export async function requireCreateConfirmation(spec: MachineSpec, { say }: Cli): Promise<void> {
  const { name, driver: driverName, options } = spec;
  const driver = await loadDriver(driverName);
  const { cost } = driver;
  const monthly = await cost?.monthly?.(driver.options.parse(options));
  const infos = driverOptionSpecs[driver.name] ?? [];
  const chosen = infos.flatMap(({ key, question }): [string, string][] =>
    question === undefined || options[key] === undefined ? [] : [[toLabel(key), String(options[key])]],
  );
  const { formatFields } = await import('../terminal/text-output.ts');
  const rows: readonly (readonly [string, string])[] = [
    ['Machine', name],
    ['Where', driver.summary],
    ...chosen,
    ['Makes', cost?.describeResources(driver.options.parse(options)) ?? 'nothing: it is there already'],
    ['Costs', cost?.monthly === undefined ? 'nothing' : formatCost(monthly)],
  ];
  say(formatFields(rows));
  if (!(await confirm(cost ? 'Make it?' : 'Go?'))) throw canceledError();
}

function formatCost(monthly: number | undefined): string {
  if (monthly === undefined) return "its price is not known here: see the provider's list";
  return `about $${monthly.toFixed(2)} a month at list prices, $${(monthly / HOURS_PER_MONTH).toFixed(3)} an hour`;
}

const HOURS_PER_MONTH = 730;

/** `instanceType` -> `Instance type`, `sshUser` -> `SSH user`. */
function toLabel(key: string): string {
  const words = key.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.replace(/^(ssh|ip|url|id)\b|^./, (first) => first.toUpperCase());
}

async function askUse(): Promise<boolean> {
  const message = 'Make it the current context of your docker CLI?';
  return (await askQuestions([{ name: 'use', type: 'confirm', message, default: false }])).use === true;
}

/** A local machine's image brings its engine, and an engine that exists is there. */
async function askEngineOptions(
  { name, priority }: DriverManifest,
  flags: OptionValues,
  { env }: Cli,
): Promise<OptionValues> {
  if (name === 'none' || priority !== undefined) return {};
  return await askQuestions(toQuestions(engineOptionSpecs, flags, env, () => true));
}

/** One after another: what can be chosen may depend on what was answered. */
async function askDriverOptions(driver: Driver, flags: OptionValues, cli: Cli): Promise<OptionValues> {
  const outdone = overriddenOptions(flags);
  const infos = (driverOptionSpecs[driver.name] ?? []).filter((info) => !outdone.includes(info));
  let answers: OptionValues = {};
  for (const info of infos) {
    const [question] = toQuestions([info], { ...answers, ...flags }, cli.env, validatorFor(driver));
    if (!question) continue;
    const choices = await loadChoices(driver, info, { ...answers, ...flags }, cli);
    // What may be left open, and has nothing to choose from here, is no question that matters.
    if (!choices && driver.prompts?.[info.key] && !info.required && info.default === undefined) continue;
    const chosen = choices ? toSearchQuestion(question, choices, info.default) : question;
    const { [info.flag]: value } = await askQuestions([chosen]);
    const sets = (await choices?.())?.find((choice) => choice.value === value)?.sets ?? {};
    answers = { ...answers, ...toFlags(infos, sets), ...(value === '' ? {} : { [info.flag]: value }) };
  }
  return answers;
}

const validatorFor =
  ({ options }: DriverManifest): AnswerValidator =>
  (info, value) => {
    const result = options.shape[info.key]?.safeParse(value === '' ? undefined : value);
    return result === undefined || result.success
      ? true
      : `Must be ${result.error.issues[0]?.message ?? 'something else'}`;
  };

function toFlags(infos: readonly OptionSpec[], values: OptionValues): OptionValues {
  return Object.fromEntries(infos.flatMap(({ key, flag }) => (values[key] === undefined ? [] : [[flag, values[key]]])));
}

/** So long a list may take to be known before the question is asked without it; it then fills as it comes. */
const CHOICES_WAIT_MS = 300;

/** What an option can be here and now; undefined where it is to be typed. */
async function loadChoices(
  driver: Driver,
  { key }: OptionSpec,
  flags: OptionValues,
  { world, env }: Cli,
): Promise<(() => Promise<readonly OptionChoice[]>) | undefined> {
  const list = driver.prompts?.[key];
  if (!list) return undefined;
  const infos = driverOptionSpecs[driver.name] ?? [];
  const given = Object.fromEntries(
    infos.map((info) => [info.key, flags[info.flag] ?? optionsFromEnv(infos, env)[info.key]]),
  );
  const asked = list(given, driverCallFor(world, world.debug)).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(error.message);
    return [];
  });
  const quick = await Promise.race([asked, sleep(CHOICES_WAIT_MS, undefined)]);
  return quick?.length === 0 ? undefined : () => asked;
}

/** Choose, or type another one: what is typed narrows the list, and stands below it to be taken as it is. */
export function toSearchQuestion(
  question: Question,
  choices: () => Promise<readonly OptionChoice[]>,
  initial: unknown,
): Question {
  const { validate, choices: _, default: __, ...rest } = question;
  return {
    ...rest,
    type: 'search',
    ...(validate ? { validate } : {}),
    async source(typed = '') {
      const all = (await choices()).toSorted(
        (left, right) => Number(right.value === initial) - Number(left.value === initial),
      );
      const width = Math.max(0, ...all.map(({ value }) => value.length));
      const found = all.filter(({ value, note }) => `${value} ${note}`.toLowerCase().includes(typed.toLowerCase()));
      const shown = found.map(({ value, note }) => ({ value, name: `${value.padEnd(width)}  ${note}`.trim() }));
      const typedAlone = typed === '' || all.some(({ value }) => value === typed);
      return typedAlone ? shown : [...shown, { value: typed, name: `${typed} (as typed)` }];
    },
  };
}

async function askName(driver: string, cli: Cli): Promise<string> {
  const { world } = cli;
  const { name } = await askQuestions([
    {
      name: 'name',
      type: 'input',
      message: 'Name of the machine?',
      default: getDriver(driver).priority === undefined ? 'web' : 'dev',
      validate: (answer) =>
        isMachineName(String(answer)) || (invalidNameError(String(answer)).hint ?? false).toString(),
    },
  ]);
  const before = await world.store.find(String(name));
  if (!before) return String(name);
  world.progress.note(
    before.phase === 'ready'
      ? `There is a machine named "${String(name)}" already`
      : `"${String(name)}" is half made; finish it: slipway create ${String(name)}, or undo it: slipway rm ${String(name)}`,
  );
  return askName(driver, cli);
}

async function askDriver({ world: { computer } }: Cli): Promise<string> {
  const choices = await Promise.all(
    sortByPriority(await getDriverStatuses(drivers, computer)).map(async (standing) => {
      const { name, summary } = standing.driver;
      const troubles = await getDriverProblem(standing, computer);
      const shown = `${name}: ${summary}`;
      if (troubles === undefined) return { value: name, name: shown };
      // What can be installed is asked for once the driver is chosen.
      if (troubles.installable) return { value: name, name: `${shown} (${troubles.reason} yet)` };
      return { value: name, name: shown, disabled: `(${troubles.reason}; mend it: ${troubles.fix})` };
    }),
  );
  // What can't be chosen stands below what can, with what would mend it.
  const sorted = choices.toSorted((left, right) => Number('disabled' in left) - Number('disabled' in right));
  const { driver } = await askQuestions([{ name: 'driver', type: 'select', message: 'Where?', choices: sorted }]);
  return String(driver);
}

/** One yes or no; Enter alone is `initial`, which is no where something is lost. */
export async function confirm(message: string, initial = true): Promise<boolean> {
  return (await askQuestions([{ name: 'yes', type: 'confirm', message, default: initial }])).yes === true;
}

/** On stderr, like all that is not a value. Escape and Ctrl-C leave nothing behind. */
async function askQuestions(questions: readonly Question[]): Promise<Record<string, unknown>> {
  const given = new AbortController();
  const escape = (_text: unknown, key: { readonly name?: string } | undefined): void => {
    if (key?.name === 'escape') given.abort();
  };
  const keys = process.stdin;
  keys.on('keypress', escape);
  const prompt = inquirer.createPromptModule({ output: process.stderr, signal: given.signal });
  try {
    // inquirer's types tie each question's name to the answers' type; ours are made at run time.
    return (await prompt(questions as unknown as Parameters<typeof prompt>[0])) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError'))
      throw canceledError();
    throw error;
  } finally {
    keys.off('keypress', escape);
  }
}
