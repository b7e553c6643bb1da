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

/** What a command tells of one machine. */
export type MachineResult = { readonly json: object; readonly text: string };

type MachineCommand<S extends z.ZodObject> = Pick<Command<S>, 'name' | 'summary' | 'args' | 'details'> & {
  runOnMachine(name: string, args: z.output<S>, world: World): Promise<MachineResult>;
};

/** A command that does one thing to each of the machines that are named. */
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

/** A name that is wrong stops a command before anything is done; a record that is broken does not where that is `fine`. */
export async function requireMachines(
  names: readonly string[],
  { world }: Cli,
  broken: 'refused' | 'fine' = 'refused',
): Promise<void> {
  requireUniqueNames(names);
  for (const name of names) {
    await world.store.read(name).catch((error: unknown) => {
      if (broken === 'refused' || !(error instanceof SlipwayError) || error.code !== 'RECORD_BROKEN') throw error;
    });
  }
}

export function requireUniqueNames(names: readonly string[]): void {
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new SlipwayError('USAGE', `"${twice}" was given twice`, { hint: 'Name each machine once' });
}

/** One machine has the command to itself. Several are worked on at once, and a failure of one is told at the end. */
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
  // All stand in the list from the beginning, those that have to wait as well.
  const rows = new Map(names.map((name) => [name, progressOf(name)]));
  const done = await runForMachines(
    names,
    {
      limit: concurrencyLimit(MAX_CONNECTIONS),
      signal: world.signal,
      onDone: ({ name, error }) => rows.get(name)?.end(error),
    },
    (name) => work(name, { ...world, progress: rows.get(name) ?? world.progress }),
  );
  return await reportOutcomes(done, cli);
}

/** A row a machine. Each failure is told with what to type next, and the first of them is the command's. */
export async function reportOutcomes(
  outcomes: readonly MachineOutcome<MachineResult>[],
  { say, color }: Cli,
): Promise<CommandResult> {
  const { toErrorDocument, formatError } = await import('../../terminal/text-output.ts');
  const failed = outcomes.flatMap(({ name, started, error }) => (error ? [{ name, begun: started, error }] : []));
  for (const { name, begun, error } of failed) if (begun) say(`${name}: ${formatError(error, color)}`);
  // After a Ctrl-C the rest needs no words of its own.
  const left = failed.filter(({ begun }) => !begun).map(({ name }) => name);
  if (left.length > 0) say(`Not begun: ${left.join(', ')}; the same command with these names goes on`);
  return {
    json: outcomes.map(({ name, value, error }) => (error ? { name, ...toErrorDocument(error) } : value.json)),
    text: outcomes.flatMap(({ value }) => (value ? [value.text] : [])).join('\n'),
    ...(failed[0] ? { status: exitCodes[failed[0].error.code] } : {}),
  };
}
