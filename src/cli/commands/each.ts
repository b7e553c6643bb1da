import type { World } from '../../lifecycle/world.ts';
import type { Cli } from '../command.ts';

type One = { readonly json: unknown; readonly text: string };

/** The same work on each of these machines. A name that is wrong stops it before anything is done. */
export async function inTurn(
  names: readonly string[],
  cli: Cli,
  work: (name: string, world: World) => Promise<One>,
): Promise<{ readonly json: readonly unknown[]; readonly text: string }> {
  for (const name of names) await cli.world.store.read(name);
  const done = await oneByOne(names, cli, work);
  return { json: done.map(({ json }) => json), text: done.map(({ text }) => text).join('\n') };
}

/** Each with a progress of its own where there are several: all stand in one list from the beginning. */
export async function oneByOne<T>(
  names: readonly string[],
  { world, progressOf }: Cli,
  work: (name: string, world: World) => Promise<T>,
): Promise<readonly T[]> {
  const [only, ...more] = names;
  if (only !== undefined && more.length === 0) return [await work(only, world)];
  const machines = names.map((name) => ({ name, progress: progressOf(name) }));
  const done: T[] = [];
  for (const { name, progress } of machines) {
    try {
      done.push(await work(name, { ...world, progress }));
      progress.end();
    } catch (error) {
      progress.end(error);
      throw error;
    }
  }
  return done;
}
