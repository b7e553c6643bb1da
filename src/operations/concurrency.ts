import { SlipwayError } from '../errors.ts';

/** Runs `work` as soon as the number of running tasks is below the limit. */
export type ConcurrencyLimit = <T>(work: () => Promise<T>) => Promise<T>;

/** How many SSH connections, or tasks of similar cost, run at the same time. */
export const MAX_CONNECTIONS = 8;

/** How the work on one of many machines ended. `started` says whether anything was done for the machine. */
export type MachineOutcome<T> = { readonly name: string; readonly started: boolean } & (
  { readonly value: T; readonly error?: never } | { readonly error: SlipwayError; readonly value?: never }
);

/** Called when nothing more is done for a machine. Not called for a machine whose work was never started. */
export type MachineDoneCallback = (machine: { readonly name: string; readonly error?: SlipwayError }) => void;

/**
 * Runs `work` for each machine, within the limit, and returns how each ended, in the order of the names. An error that
 * the user can act on affects its machine only; a bug stops all of them. After an interruption, no further work starts.
 */
export async function runForMachines<T>(
  names: readonly string[],
  {
    limit,
    signal,
    onDone,
  }: { readonly limit: ConcurrencyLimit; readonly signal?: AbortSignal; readonly onDone: MachineDoneCallback },
  work: (name: string) => Promise<T>,
): Promise<readonly MachineOutcome<T>[]> {
  const runFor = async (name: string): Promise<MachineOutcome<T>> => {
    if (signal?.aborted) return notStartedOutcome(name);
    try {
      const value = await work(name);
      onDone({ name });
      return { name, value, started: true };
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      onDone({ name, error });
      return { name, error, started: true };
    }
  };
  return await Promise.all(names.map(async (name) => limit(async () => runFor(name))));
}

export function notStartedOutcome(name: string): MachineOutcome<never> {
  return { name, error: new SlipwayError('CANCELED', `Not started: ${name}`), started: false };
}

/** Returns a limit that runs at most `maximum` tasks at the same time, in the order of the calls. */
export function concurrencyLimit(maximum: number): ConcurrencyLimit {
  let free = maximum;
  let bug: { readonly error: unknown } | undefined;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      // A bug ends the program, so no further work starts.
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
