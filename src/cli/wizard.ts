import inquirer from 'inquirer';
import { driverNamed, drivers } from '../drivers/index.ts';
import { canceled } from '../errors.ts';
import { isMachineName } from '../machine.ts';
import { coerce, fromEnv, type OptionInfo, type Values } from '../options.ts';
import { engineInfos } from '../spec.ts';
import { badName } from '../store.ts';
import type { Cli } from './command.ts';
import { driverInfos } from './spec.ts';
import { byRank, standingsOf, troublesOf } from './standing.ts';

export type Answers = { readonly name: string; readonly driver: string; readonly flags: Values; readonly use: boolean };

/** A question as inquirer takes it, made from a declaration alone. */
export type Question = {
  readonly name: string;
  readonly type: 'input' | 'number' | 'confirm' | 'select' | 'password';
  readonly message: string;
  readonly default?: unknown;
  readonly choices?: readonly string[];
  readonly validate?: (answer: unknown) => true | string;
};

/** The options that have a question and no answer yet. */
export function toQuestions(
  infos: readonly OptionInfo[],
  given: Values,
  env: Cli['env'],
  check: (info: OptionInfo, value: unknown) => true | string,
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
  const name = given.name ?? (await freeName(cli));
  const driver = given.driver ?? (await chosenDriver(cli));
  const { options: schema, rank } = driverNamed(driver);
  const check = (info: OptionInfo, value: unknown): true | string => {
    const result = schema.shape[info.key]?.safeParse(value === '' ? undefined : value);
    return result === undefined || result.success
      ? true
      : `Must be ${result.error.issues[0]?.message ?? 'something else'}`;
  };
  const questions = [
    ...toQuestions(driverInfos[driver] ?? [], given.flags, cli.env, check),
    // A local machine's image brings its engine, and an engine that exists is there.
    ...(driver === 'none' || rank !== undefined ? [] : toQuestions(engineInfos, given.flags, cli.env, () => true)),
  ];
  const answers = await ask(questions);
  const use =
    given.use ||
    (
      await ask([
        { name: 'use', type: 'confirm', message: 'Make it the current context of your docker CLI?', default: false },
      ])
    ).use === true;
  return { name, driver, flags: { ...answers, ...given.flags }, use };
}

async function freeName(cli: Cli): Promise<string> {
  const { world } = cli;
  const { name } = await ask([
    {
      name: 'name',
      type: 'input',
      message: 'Name of the machine?',
      default: 'dev',
      validate: (answer) => isMachineName(String(answer)) || (badName(String(answer)).hint ?? false).toString(),
    },
  ]);
  const before = await world.store.find(String(name));
  if (before?.phase !== 'ready') return String(name);
  world.progress.note(`There is a machine named "${String(name)}" already`);
  return freeName(cli);
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
  const { driver } = await ask([{ name: 'driver', type: 'select', message: 'Where?', choices } as unknown as Question]);
  return String(driver);
}

/** One yes or no; Enter alone is yes. */
export async function confirmed(message: string): Promise<boolean> {
  return (await ask([{ name: 'yes', type: 'confirm', message, default: true }])).yes === true;
}

/** On stderr, like all that is not a value. Escape and Ctrl-C leave nothing behind. */
async function ask(questions: readonly Question[]): Promise<Record<string, unknown>> {
  const prompt = inquirer.createPromptModule({ output: process.stderr });
  try {
    // inquirer's types tie each question's name to the answers' type; ours are made at run time.
    return (await prompt(questions as unknown as Parameters<typeof prompt>[0])) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError'))
      throw canceled();
    throw error;
  }
}
