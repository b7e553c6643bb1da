import type { z } from 'zod';
import { exitCodes, SlipwayError } from '../../errors.ts';
import { AT_ONCE, doEach, type Outcome, turnsFor } from '../../operations/concurrency.ts';
import type { World } from '../../operations/world.ts';
import type { Cli, Command, Result } from '../command.ts';

/** What a command tells of one machine. */
export type One = { readonly json: object; readonly text: string };

type Verb<S extends z.ZodObject> = Pick<Command<S>, 'name' | 'summary' | 'args' | 'details'> & {
  does(name: string, args: z.output<S>, world: World): Promise<One>;
};

/** A command that does one thing to each of the machines that are named. */
export const defineVerb = <S extends z.ZodObject>({ does, ...command }: Verb<S>): Command<S> => ({
  ...command,
  words: '<names...>',
  async run({ words, args }, cli) {
    await allKnown(words, cli);
    return await onEach(words, cli, (name, world) => does(name, args, world));
  },
});

/** A name that is wrong stops a command before anything is done; a record that is broken does not where that is `fine`. */
export async function allKnown(
  names: readonly string[],
  { world }: Cli,
  broken: 'refused' | 'fine' = 'refused',
): Promise<void> {
  namedOnce(names);
  for (const name of names) {
    await world.store.read(name).catch((error: unknown) => {
      if (broken === 'refused' || !(error instanceof SlipwayError) || error.code !== 'RECORD_BROKEN') throw error;
    });
  }
}

export function namedOnce(names: readonly string[]): void {
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined)
    throw new SlipwayError('USAGE', `"${twice}" was given twice`, { hint: 'Name each machine once' });
}

/** One machine has the command to itself. Several are worked on at once, and a failure of one is told at the end. */
export async function onEach(
  names: readonly string[],
  cli: Cli,
  work: (name: string, world: World) => Promise<One>,
): Promise<Result> {
  const { world, progressOf } = cli;
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) {
    const { json, text } = await work(only, world);
    return { json: [json], text };
  }
  // All stand in the list from the beginning, those that have to wait as well.
  const rows = new Map(names.map((name) => [name, progressOf(name)]));
  const done = await doEach(
    names,
    {
      turns: turnsFor(AT_ONCE),
      signal: world.signal,
      ended: ({ name, error }) => rows.get(name)?.end(error),
    },
    (name) => work(name, { ...world, progress: rows.get(name) ?? world.progress }),
  );
  return await toldOfMany(done, cli);
}

/** A row a machine. Each failure is told with what to type next, and the first of them is the command's. */
export async function toldOfMany(outcomes: readonly Outcome<One>[], { say, color }: Cli): Promise<Result> {
  const { errorDocument, shownError } = await import('../../terminal/print.ts');
  const failed = outcomes.flatMap(({ name, begun, error }) => (error ? [{ name, begun, error }] : []));
  for (const { name, begun, error } of failed) if (begun) say(`${name}: ${shownError(error, color)}`);
  // After a Ctrl-C the rest needs no words of its own.
  const left = failed.filter(({ begun }) => !begun).map(({ name }) => name);
  if (left.length > 0) say(`Not begun: ${left.join(', ')}; the same command with these names goes on`);
  return {
    json: outcomes.map(({ name, value, error }) => (error ? { name, ...errorDocument(error) } : value.json)),
    text: outcomes.flatMap(({ value }) => (value ? [value.text] : [])).join('\n'),
    ...(failed[0] ? { status: exitCodes[failed[0].error.code] } : {}),
  };
}
