import { setTimeout as sleep } from 'node:timers/promises';
import type { DriverCall } from '../contract.ts';
import { canceledError } from '../../errors.ts';

export type RetryOptions = {
  /** Returns why another attempt may succeed, in words for the user; undefined if it would not. */
  readonly transientReason: (error: unknown) => string | undefined;
  /** No attempt starts later than this after the first. */
  readonly seconds: number;
  readonly call: Pick<DriverCall, 'note' | 'log' | 'signal'>;
};

/**
 * Repeats `work` while it fails for a transient reason that no SDK retries. The pauses grow from 0.5 s to 5 s; the user
 * sees one note, and the log one line for each failure. Rejects with the last error.
 */
export async function retry<T>(doing: string, work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { call } = options;
  const end = performance.now() + options.seconds * 1000;
  for (let pause = 500, isNoted = false; ; pause = Math.min(pause * 1.6, 5000)) {
    try {
      return await work();
    } catch (error) {
      const reason = call.signal.aborted ? undefined : options.transientReason(error);
      if (reason === undefined || performance.now() + pause > end) throw error;
      if (!isNoted) call.note(`${doing}: ${reason}; trying again for up to ${Math.round(options.seconds)} s`);
      isNoted = true;
      call.log(`${doing}: ${reason}`);
      await sleepUnlessCanceled(pause, call.signal);
    }
  }
}

/** Sleeps; rejects with CANCELED when the user interrupts the command. */
export async function sleepUnlessCanceled(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {
    throw canceledError();
  });
}
