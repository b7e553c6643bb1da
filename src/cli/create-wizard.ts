import { setTimeout as sleep } from 'node:timers/promises';
import { sortByPriority, getDriverStatuses, getDriverProblem, type DriverStatus } from '../drivers/availability.ts';
import type { OptionChoice, Driver, DriverManifest } from '../drivers/contract.ts';
import { getDriver, drivers, loadDriver } from '../drivers/registry.ts';
import { canceledError, SlipwayError } from '../errors.ts';
import { overriddenOptions } from '../machine-options/credential-flags.ts';
import { driverOptionSpecs } from '../machine-options/option-specs.ts';
import { continueOrUndoHint, machineExistsMessage } from '../machine/require-machine.ts';
import { isMachineName, type MachineSpec } from '../machine/model.ts';
import {
  coerceOptionValue,
  optionsFromEnv,
  pickFlagValues,
  type OptionSpec,
  type OptionValues,
} from '../machine/options.ts';
import { engineOptionSpecs } from '../machine/spec.ts';
import { invalidNameError } from '../machine/store.ts';
import { driverCallFor } from '../operations/world.ts';
import { askQuestions, confirm, type Question } from '../terminal/questions.ts';
import type { Cli } from './command.ts';

/** The values that flags and environment provide before the wizard asks. */
type WizardInput = {
  readonly name: string | undefined;
  readonly driver: string | undefined;
  readonly flags: OptionValues;
  readonly use: boolean;
};

export type WizardResult = {
  readonly name: string;
  readonly driver: string;
  readonly flags: OptionValues;
  readonly use: boolean;
};

type AnswerValidator = (spec: OptionSpec, value: unknown) => true | string;

/** Asks for everything that flags and environment do not provide. Each question has a flag that answers it. */
export async function askForMachine(input: WizardInput, cli: Cli): Promise<WizardResult> {
  const driver = input.driver ?? (await askDriver(cli));
  const name = input.name ?? (await askName(driver, cli));
  const driverAnswers = await askDriverOptions(await loadDriver(driver), input.flags, cli);
  const flags = { ...driverAnswers, ...input.flags };
  const engineAnswers = await askEngineOptions(getDriver(driver), flags, cli);
  const use = input.flags.use === undefined && !input.use ? await askUse() : input.use;
  return { name, driver, flags: { ...engineAnswers, ...flags }, use };
}

/** Shows what will be created and its cost. Throws CANCELED if the user does not confirm. */
export async function requireCreateConfirmation(spec: MachineSpec, { say }: Cli): Promise<void> {
  const { name, driver: driverName, options } = spec;
  const driver = await loadDriver(driverName);
  const { cost } = driver;
  const driverOptions = driver.options.parse(options);
  const monthlyCost = await cost?.monthly?.(driverOptions);
  const surcharge = cost?.describeSurcharge?.(driverOptions);
  const chosen = (driverOptionSpecs[driver.name] ?? []).flatMap(({ key, question }): [string, string][] =>
    question === undefined || options[key] === undefined ? [] : [[toLabel(key), String(options[key])]],
  );
  const { formatFields } = await import('../terminal/text-output.ts');
  const rows: readonly (readonly [string, string])[] = [
    ['Machine', name],
    ['Where', driver.summary],
    ...chosen,
    ['Creates', cost?.describeResources(driverOptions) ?? 'nothing: the host exists already'],
    ['Costs', cost?.monthly === undefined ? 'nothing' : formatCost(monthlyCost)],
    ...(surcharge === undefined ? [] : [['Costs extra', surcharge] as const]),
  ];
  say(formatFields(rows));
  if (!(await confirm(cost ? 'Create it?' : 'Continue?'))) throw canceledError();
}

const HOURS_PER_MONTH = 730;

function formatCost(monthlyCost: number | undefined): string {
  if (monthlyCost === undefined) return "unknown: see the provider's price list";
  const hourlyCost = monthlyCost / HOURS_PER_MONTH;
  return `about $${monthlyCost.toFixed(2)} a month at list prices, $${hourlyCost.toFixed(3)} an hour`;
}

/** `instanceType` -> `Instance type`, `sshUser` -> `SSH user`. */
function toLabel(key: string): string {
  const words = key.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.replace(/^(ssh|ip|url|id)\b|^./, (first) => first.toUpperCase());
}

async function askDriver({ world: { computer } }: Cli): Promise<string> {
  const statuses = sortByPriority(await getDriverStatuses(drivers, computer));
  const choices = await Promise.all(statuses.map(async (status) => toDriverChoice(status, computer)));
  // Drivers that can't be chosen come last, each with its fix.
  const sorted = choices.toSorted((left, right) => Number('disabled' in left) - Number('disabled' in right));
  const message = 'Where should the machine run?';
  const { driver } = await askQuestions([{ name: 'driver', type: 'select', message, choices: sorted }]);
  return String(driver);
}

async function toDriverChoice(status: DriverStatus, computer: Cli['world']['computer']): Promise<object> {
  const { name, summary } = status.driver;
  const problem = await getDriverProblem(status, computer);
  const label = `${name}: ${summary}`;
  if (problem === undefined) return { value: name, name: label };
  // The installation of programs is offered once the driver is chosen.
  if (problem.installable) return { value: name, name: `${label} (${problem.reason} yet)` };
  return { value: name, name: label, disabled: `(${problem.reason}; to fix it: ${problem.fix})` };
}

async function askName(driver: string, cli: Cli): Promise<string> {
  const { world } = cli;
  const answer = await askQuestions([
    {
      name: 'name',
      type: 'input',
      message: 'Machine name?',
      default: getDriver(driver).priority === undefined ? 'web' : 'dev',
      validate: (text) => isMachineName(String(text)) || (invalidNameError(String(text)).hint ?? false).toString(),
    },
  ]);
  const name = String(answer.name);
  const before = await world.store.find(name);
  if (!before) return name;
  const hint = before.phase === 'ready' ? '' : `. ${continueOrUndoHint(name)}`;
  world.progress.note(`${machineExistsMessage(name)}${hint}`);
  return askName(driver, cli);
}

async function askUse(): Promise<boolean> {
  const message = 'Make it the current context of the docker CLI?';
  return (await askQuestions([{ name: 'use', type: 'confirm', message, default: false }])).use === true;
}

/** Asks for engine options, unless the engine comes with a local machine's image or exists already. */
async function askEngineOptions(
  { priority, shutdownBehavior }: DriverManifest,
  flags: OptionValues,
  { env }: Cli,
): Promise<OptionValues> {
  // Without `shutdownBehavior`, Slipway runs nothing on the host: its engine exists already.
  if (shutdownBehavior === undefined || priority !== undefined) return {};
  return await askQuestions(toQuestions(engineOptionSpecs, flags, env, () => true));
}

/** Asks one question after another, since the choices of one may depend on the answer to another. */
async function askDriverOptions(driver: Driver, flags: OptionValues, cli: Cli): Promise<OptionValues> {
  const overridden = overriddenOptions(flags);
  const specs = (driverOptionSpecs[driver.name] ?? []).filter((spec) => !overridden.includes(spec));
  let answers: OptionValues = {};
  for (const spec of specs) {
    const [question] = toQuestions([spec], { ...answers, ...flags }, cli.env, validatorFor(driver));
    if (!question) continue;
    const loadList = await loadChoices(driver, spec, { ...answers, ...flags }, cli);
    // An optional value that has no choices on this computer is not worth a question.
    if (!loadList && driver.prompts?.[spec.key] && !spec.required && spec.default === undefined) continue;
    const { [spec.flag]: value } = await askQuestions([
      loadList ? toSearchQuestion(question, loadList, spec.default) : question,
    ]);
    const implied = (await loadList?.())?.find((choice) => choice.value === value)?.sets ?? {};
    answers = { ...answers, ...toFlags(specs, implied), ...(value === '' ? {} : { [spec.flag]: value }) };
  }
  return answers;
}

/** Returns the questions of the options that have one and no value yet. */
export function toQuestions(
  specs: readonly OptionSpec[],
  flags: OptionValues,
  env: Cli['env'],
  validate: AnswerValidator,
): readonly Question[] {
  const envValues = optionsFromEnv(specs, env);
  return specs
    .filter(
      ({ flag, key, question }) => question !== undefined && flags[flag] === undefined && envValues[key] === undefined,
    )
    .map((spec) => ({
      name: spec.flag,
      type: spec.secret ? 'password' : QUESTION_TYPES[spec.kind],
      message: spec.question ?? '',
      ...(spec.default === undefined ? {} : { default: spec.default }),
      ...(spec.kind === 'choice'
        ? { choices: spec.choices }
        : {
            validate: (answer: unknown) =>
              validate(spec, typeof answer === 'string' ? coerceOptionValue(spec, answer) : answer),
          }),
    }));
}

const QUESTION_TYPES = {
  choice: 'select',
  boolean: 'confirm',
  int: 'number',
  string: 'input',
  list: 'input',
} as const satisfies Readonly<Record<OptionSpec['kind'], Question['type']>>;

const validatorFor =
  ({ options }: DriverManifest): AnswerValidator =>
  (spec, value) => {
    const result = options.shape[spec.key]?.safeParse(value === '' ? undefined : value);
    return result === undefined || result.success
      ? true
      : `Must be ${result.error.issues[0]?.message ?? 'something else'}`;
  };

function toFlags(specs: readonly OptionSpec[], values: OptionValues): OptionValues {
  return Object.fromEntries(specs.flatMap(({ key, flag }) => (values[key] === undefined ? [] : [[flag, values[key]]])));
}

/** How long the wizard waits for a list before it asks; a list that arrives later still fills the question. */
const CHOICES_WAIT_MS = 300;

/** Starts to load an option's possible values. Returns undefined if there is no list, so that the user has to type. */
async function loadChoices(
  driver: Driver,
  { key }: OptionSpec,
  flags: OptionValues,
  { world, env }: Cli,
): Promise<(() => Promise<readonly OptionChoice[]>) | undefined> {
  const list = driver.prompts?.[key];
  if (!list) return undefined;
  const specs = driverOptionSpecs[driver.name] ?? [];
  const values = { ...optionsFromEnv(specs, env), ...pickFlagValues(specs, flags) };
  const choices = list(values, driverCallFor(world, world.debug)).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(error.message);
    return [];
  });
  const early = await Promise.race([choices, sleep(CHOICES_WAIT_MS, undefined)]);
  return early?.length === 0 ? undefined : () => choices;
}

/**
 * Returns a question with a list: what the user types narrows it, and can be taken as typed. inquirer answers Enter
 * with the row selected before the last key when both arrive together; the answer then is the first row for what was
 * typed.
 */
export function toSearchQuestion(
  question: Question,
  loadList: () => Promise<readonly OptionChoice[]>,
  initial: unknown,
): Question {
  const { validate, choices: _, default: __, ...rest } = question;
  let choices: readonly OptionChoice[] = [];
  let lastTyped = '';
  return {
    ...rest,
    type: 'search',
    ...(validate ? { validate } : {}),
    async source(typed = '') {
      lastTyped = typed;
      const loaded = await loadList();
      const first = loaded.find(({ isConfigured }) => isConfigured)?.value ?? initial;
      choices = loaded.toSorted((left, right) => Number(right.value === first) - Number(left.value === first));
      return toSearchRows(choices, typed);
    },
    filter(answer) {
      const rows = toSearchRows(choices, lastTyped);
      return rows.some(({ value }) => value === answer) ? answer : rows[0]?.value;
    },
  };
}

function toSearchRows(
  choices: readonly OptionChoice[],
  typed: string,
): readonly { readonly value: string; readonly name: string }[] {
  const width = Math.max(0, ...choices.map(({ value }) => value.length));
  const rows = choices
    .filter(({ value, note }) => `${value} ${note}`.toLowerCase().includes(typed.toLowerCase()))
    .map(({ value, note }) => ({ value, name: `${value.padEnd(width)}  ${note}`.trim() }));
  const isListed = typed === '' || choices.some(({ value }) => value === typed);
  return isListed ? rows : [...rows, { value: typed, name: `${typed} (as typed)` }];
}
