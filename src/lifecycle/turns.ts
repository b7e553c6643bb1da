import { SlipwayError } from '../errors.ts';

/** Does this as soon as it is its turn. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

/** So many things at the same time, in the order in which they were asked for, whoever asks. */
export function turnsFor(atOnce: number): Turns {
  let free = atOnce;
  let bug: { readonly error: unknown } | undefined;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      // It ends the program, so nothing is begun any more.
      if (bug) throw bug.error;
      return await work();
    } catch (error) {
      if (!(error instanceof SlipwayError)) bug ??= { error };
      throw error;
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free += 1;
    }
  };
}
