import { SlipwayError } from '../errors.ts';

/** Does this as soon as it is its turn. */
export type ConcurrencyLimit = <T>(work: () => Promise<T>) => Promise<T>;

/** SSH connections and work of that kind at the same time. */
export const MAX_CONNECTIONS = 8;

/** How the work on one of many machines ended; `begun` tells whether anything was done for it. */
export type MachineOutcome<T> = { readonly name: string; readonly started: boolean } & (
  { readonly value: T; readonly error?: never } | { readonly error: SlipwayError; readonly value?: never }
);

/** Nothing more is done for this one. Not called for one that was not begun. */
export type MachineDoneCallback = (one: { readonly name: string; readonly error?: SlipwayError }) => void;

/**
 * The same work on each of these, in its turn, and how each ended, in their order. A failure that the user can act on is this
 * one's own, a bug is everyone's; after a Ctrl-C no other is begun.
 */
export async function runForMachines<T>(
  names: readonly string[],
  {
    turns,
    signal,
    ended,
  }: { readonly turns: ConcurrencyLimit; readonly signal?: AbortSignal; readonly ended: MachineDoneCallback },
  work: (name: string) => Promise<T>,
): Promise<readonly MachineOutcome<T>[]> {
  const one = async (name: string): Promise<MachineOutcome<T>> => {
    if (signal?.aborted) return notStartedOutcome(name);
    try {
      const value = await work(name);
      ended({ name });
      return { name, value, started: true };
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      ended({ name, error });
      return { name, error, started: true };
    }
  };
  return await Promise.all(names.map(async (name) => turns(async () => one(name))));
}

export function notStartedOutcome(name: string): MachineOutcome<never> {
  return { name, error: new SlipwayError('CANCELED', `"${name}" was not begun`), started: false };
}

/** So many things at the same time, in the order in which they were asked for, whoever asks. */
export function concurrencyLimit(atOnce: number): ConcurrencyLimit {
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
