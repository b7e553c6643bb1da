import inquirer from 'inquirer';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Choice, Driver } from '../drivers/contract.ts';
import { driverNamed, drivers } from '../drivers/registry.ts';
import { canceled, SlipwayError } from '../errors.ts';
import { callOf } from '../operations/world.ts';
import { isMachineName, type MachineSpec } from '../machine/model.ts';
import { coerce, fromEnv, type OptionInfo, type Values } from '../machine/options.ts';
import { engineInfos } from '../machine/spec.ts';
import { badName } from '../machine/store.ts';
import type { Cli } from './command.ts';
import { driverInfos, outdoneBy } from './spec.ts';
import { byRank, standingsOf, troublesOf } from '../drivers/availability.ts';

export type Answers = { readonly name: string; readonly driver: string; readonly flags: Values; readonly use: boolean };

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

type Check = (info: OptionInfo, value: unknown) => true | string;

/** The options that have a question and no answer yet. */
export function toQuestions(
  infos: readonly OptionInfo[],
  given: Values,
  env: Cli['env'],
  check: Check,
): readonly Question[] {
  const set = fromEnv(infos, env);
  return infos
    .filter((info) => info.ask !== undefined && given[info.flag] === undefined && set[info.key] === undefined)
    .map((info) => ({
      name: info.flag,
      type: info.secret
        ? 'password'
        : ({ choice: 'select', boolean: 'confirm', int: 'number', string: 'input', list: 'input' } as const)[info.kind],
      message: info.ask ?? '',
      ...(info.default === undefined ? {} : { default: info.default }),
      ...(info.kind === 'choice'
        ? { choices: info.choices }
        : { validate: (answer: unknown) => check(info, typeof answer === 'string' ? coerce(info, answer) : answer) }),
    }));
}

/** Asks what flags and environment left open; everything it asks has a flag. */
export async function askForMachine(
  given: {
    readonly name: string | undefined;
    readonly driver: string | undefined;
    readonly flags: Values;
    readonly use: boolean;
  },
  cli: Cli,
): Promise<Answers> {
  const driver = given.driver ?? (await chosenDriver(cli));
  const name = given.name ?? (await freeName(driver, cli));
  const own = await driverAnswers(driverNamed(driver), given.flags, cli);
  const flags = { ...own, ...(await engineAnswers(driverNamed(driver), { ...own, ...given.flags }, cli)) };
  return {
    name,
    driver,
    flags: { ...flags, ...given.flags },
    use: given.flags.use === undefined && !given.use ? await wantsUse() : given.use,
  };
}

/** What will be made and what it costs, before anything is; a no leaves nothing. */
export async function wanted(spec: MachineSpec, { say }: Cli): Promise<void> {
  const { name, driver: driverName, options } = spec;
  const driver = driverNamed(driverName);
  const monthly = await driver.monthly?.(driver.options.parse(options));
  const infos = driverInfos[driver.name] ?? [];
  const chosen = infos.flatMap(({ key, ask: question }): [string, string][] =>
    question === undefined || options[key] === undefined ? [] : [[inWords(key), String(options[key])]],
  );
  const { page } = await import('../terminal/print.ts');
  const rows: readonly (readonly [string, string])[] = [
    ['Machine', name],
    ['Where', driver.summary],
    ...chosen,
    ['Makes', driver.makes?.(driver.options.parse(options)) ?? 'nothing: it is there already'],
    ['Costs', driver.monthly === undefined ? 'nothing' : cost(monthly)],
  ];
  say(page(rows));
  if (!(await confirmed(driver.makes ? 'Make it?' : 'Go?'))) throw canceled();
}

function cost(monthly: number | undefined): string {
  if (monthly === undefined) return 'its price is not known here: see the provider’s list';
  return `about $${monthly.toFixed(2)} a month at list prices, $${(monthly / HOURS_A_MONTH).toFixed(3)} an hour`;
}

const HOURS_A_MONTH = 730;

/** `instanceType` -> `Instance type`, `sshUser` -> `SSH user`. */
function inWords(key: string): string {
  const words = key.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.replace(/^(ssh|ip|url|id)\b|^./, (first) => first.toUpperCase());
}

async function wantsUse(): Promise<boolean> {
  const message = 'Make it the current context of your docker CLI?';
  return (await ask([{ name: 'use', type: 'confirm', message, default: false }])).use === true;
}

/** A local machine's image brings its engine, and an engine that exists is there. */
async function engineAnswers({ name, rank }: Driver, flags: Values, { env }: Cli): Promise<Values> {
  if (name === 'none' || rank !== undefined) return {};
  return await ask(toQuestions(engineInfos, flags, env, () => true));
}

/** One after another: what can be chosen may depend on what was answered. */
async function driverAnswers(driver: Driver, flags: Values, cli: Cli): Promise<Values> {
  const outdone = outdoneBy(flags);
  const infos = (driverInfos[driver.name] ?? []).filter((info) => !outdone.includes(info));
  let answers: Values = {};
  for (const info of infos) {
    const [question] = toQuestions([info], { ...answers, ...flags }, cli.env, checkBy(driver));
    if (!question) continue;
    const choices = await choicesOf(driver, info, { ...answers, ...flags }, cli);
    // What may be left open, and has nothing to choose from here, is no question that matters.
    if (!choices && driver.choices?.[info.key] && !info.required && info.default === undefined) continue;
    const chosen = choices ? searched(question, choices, info.default) : question;
    const { [info.flag]: value } = await ask([chosen]);
    const sets = (await choices?.())?.find((choice) => choice.value === value)?.sets ?? {};
    answers = { ...answers, ...flagsFor(infos, sets), ...(value === '' ? {} : { [info.flag]: value }) };
  }
  return answers;
}

const checkBy =
  ({ options }: Driver): Check =>
  (info, value) => {
    const result = options.shape[info.key]?.safeParse(value === '' ? undefined : value);
    return result === undefined || result.success
      ? true
      : `Must be ${result.error.issues[0]?.message ?? 'something else'}`;
  };

function flagsFor(infos: readonly OptionInfo[], values: Values): Values {
  return Object.fromEntries(infos.flatMap(({ key, flag }) => (values[key] === undefined ? [] : [[flag, values[key]]])));
}

/** So long a list may take to be known before the question is asked without it; it then fills as it comes. */
const QUICK_MS = 300;

/** What an option can be here and now; undefined where it is to be typed. */
async function choicesOf(
  driver: Driver,
  { key }: OptionInfo,
  flags: Values,
  { world, env }: Cli,
): Promise<(() => Promise<readonly Choice[]>) | undefined> {
  const list = driver.choices?.[key];
  if (!list) return undefined;
  const infos = driverInfos[driver.name] ?? [];
  const given = Object.fromEntries(infos.map((info) => [info.key, flags[info.flag] ?? fromEnv(infos, env)[info.key]]));
  const asked = list(given, callOf(world, world.debug)).catch((error: unknown) => {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(error.message);
    return [];
  });
  const quick = await Promise.race([asked, sleep(QUICK_MS, undefined)]);
  return quick?.length === 0 ? undefined : () => asked;
}

/** Choose, or type another one: what is typed narrows the list, and stands below it to be taken as it is. */
export function searched(question: Question, choices: () => Promise<readonly Choice[]>, initial: unknown): Question {
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

async function freeName(driver: string, cli: Cli): Promise<string> {
  const { world } = cli;
  const { name } = await ask([
    {
      name: 'name',
      type: 'input',
      message: 'Name of the machine?',
      default: driverNamed(driver).rank === undefined ? 'web' : 'dev',
      validate: (answer) => isMachineName(String(answer)) || (badName(String(answer)).hint ?? false).toString(),
    },
  ]);
  const before = await world.store.find(String(name));
  if (!before) return String(name);
  world.progress.note(
    before.phase === 'ready'
      ? `There is a machine named "${String(name)}" already`
      : `"${String(name)}" is half made; finish it: slipway create ${String(name)}, or undo it: slipway rm ${String(name)}`,
  );
  return freeName(driver, cli);
}

async function chosenDriver({ world: { computer } }: Cli): Promise<string> {
  const choices = await Promise.all(
    byRank(await standingsOf(drivers, computer)).map(async (standing) => {
      const { name, summary } = standing.driver;
      const troubles = await troublesOf(standing, computer);
      const shown = `${name}: ${summary}`;
      if (troubles === undefined) return { value: name, name: shown };
      // What can be installed is asked for once the driver is chosen.
      if (troubles.installable) return { value: name, name: `${shown} (${troubles.reason} yet)` };
      return { value: name, name: shown, disabled: `(${troubles.reason}; mend it: ${troubles.fix})` };
    }),
  );
  // What can't be chosen stands below what can, with what would mend it.
  const sorted = choices.toSorted((left, right) => Number('disabled' in left) - Number('disabled' in right));
  const { driver } = await ask([{ name: 'driver', type: 'select', message: 'Where?', choices: sorted }]);
  return String(driver);
}

/** One yes or no; Enter alone is `initial`, which is no where something is lost. */
export async function confirmed(message: string, initial = true): Promise<boolean> {
  return (await ask([{ name: 'yes', type: 'confirm', message, default: initial }])).yes === true;
}

/** On stderr, like all that is not a value. Escape and Ctrl-C leave nothing behind. */
async function ask(questions: readonly Question[]): Promise<Record<string, unknown>> {
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
      throw canceled();
    throw error;
  } finally {
    keys.off('keypress', escape);
  }
}
