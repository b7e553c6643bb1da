import type { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import {
  MAX_CONNECTIONS,
  runForMachines,
  type MachineOutcome,
  concurrencyLimit,
} from '../../operations/concurrency.ts';
import type { World } from '../../operations/world.ts';
import type { Cli, Command, CommandResult } from '../command.ts';

/** What a command prints about one machine: a JSON document, and text for people. */
export type MachineResult = { readonly json: object; readonly text: string };

type MachineCommand<S extends z.ZodObject> = Pick<Command<S>, 'name' | 'summary' | 'args' | 'details'> & {
  runOnMachine(name: string, args: z.output<S>, world: World): Promise<MachineResult>;
};

/** Defines a command that runs the same operation for each machine that the user names. */
export const defineMachineCommand = <S extends z.ZodObject>({
  runOnMachine,
  ...command
}: MachineCommand<S>): Command<S> => ({
  ...command,
  usage: '<names...>',
  async run({ positionals, args }, cli) {
    await requireMachines(positionals, cli);
    return await runForEach(positionals, cli, (name, world) => runOnMachine(name, args, world));
  },
});

/**
 * Requires that each machine exists, so that a wrong name stops a command before it changes anything. A broken record
 * stops it too, unless broken records are `allowed`.
 */
export async function requireMachines(
  names: readonly string[],
  { world }: Cli,
  brokenRecords: 'refused' | 'allowed' = 'refused',
): Promise<void> {
  requireUniqueNames(names);
  for (const name of names) {
    await world.store.read(name).catch((error: unknown) => {
      if (brokenRecords === 'refused' || !(error instanceof SlipwayError) || error.code !== 'RECORD_BROKEN')
        throw error;
    });
  }
}

export function requireUniqueNames(names: readonly string[]): void {
  const duplicate = names.find((name, index) => names.indexOf(name) !== index);
  if (duplicate !== undefined)
    throw new SlipwayError('USAGE', `Machine "${duplicate}" is named twice`, { hint: 'Name each machine once' });
}

/**
 * Runs `work` for all machines concurrently. If one fails, the others go ahead, and its error is reported at the end.
 */
export async function runForEach(
  names: readonly string[],
  cli: Cli,
  work: (name: string, world: World) => Promise<MachineResult>,
): Promise<CommandResult> {
  const { world, progressOf } = cli;
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) {
    const { json, text } = await work(only, world);
    return { json: [json], text };
  }
  // All machines are in the progress list from the start, including those that wait.
  const progress = new Map(names.map((name) => [name, progressOf(name)]));
  const outcomes = await runForMachines(
    names,
    {
      limit: concurrencyLimit(MAX_CONNECTIONS),
      signal: world.signal,
      onDone: ({ name, error }) => progress.get(name)?.end(error),
    },
    (name) => work(name, { ...world, progress: progress.get(name) ?? world.progress }),
  );
  return await reportOutcomes(outcomes, cli);
}

/** Reports what happened to each machine. The exit status is that of the first failure. */
export async function reportOutcomes(
  outcomes: readonly MachineOutcome<MachineResult>[],
  { say, color }: Cli,
): Promise<CommandResult> {
  const { toErrorDocument, formatError } = await import('../../terminal/text-output.ts');
  const failed = outcomes.flatMap(({ name, started, error }) => (error ? [{ name, started, error }] : []));
  for (const { name, started, error } of failed) if (started) say(`${name}: ${formatError(error, color)}`);
  // One line names the machines that an interruption left, instead of an error for each.
  const notStarted = failed.filter(({ started }) => !started).map(({ name }) => name);
  if (notStarted.length > 0) say(notStartedMessage(notStarted));
  return {
    json: outcomes.map(({ name, value, error }) => (error ? { name, ...toErrorDocument(error) } : value.json)),
    text: outcomes.flatMap(({ value }) => (value ? [value.text] : [])).join('\n'),
    ...(failed[0] ? { status: exitCodes[failed[0].error.code] } : {}),
  };
}

/** Returns a line that names the machines that were not started and says how to continue. */
export function notStartedMessage(names: readonly string[]): string {
  return `Not started: ${names.join(', ')}. To continue, run the same command again`;
}
