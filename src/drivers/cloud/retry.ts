import { setTimeout as sleep } from 'node:timers/promises';
import type { DriverCall } from '../contract.ts';
import { canceledError } from '../../errors.ts';

export type RetryOptions = {
  /** Why it is worth another try, in words for the user; undefined when it is not. */
  readonly transientReason: (error: unknown) => string | undefined;
  /** No try begins later than this after the first. */
  readonly seconds: number;
  readonly call: Pick<DriverCall, 'note' | 'log' | 'signal'>;
};

/** For what passes by itself, and no SDK tries again: with growing pauses, told, and not for ever. */
export async function retry<T>(what: string, work: () => Promise<T>, how: RetryOptions): Promise<T> {
  const end = performance.now() + how.seconds * 1000;
  for (let pause = 500, told = false; ; pause = Math.min(pause * 1.6, 5000)) {
    try {
      return await work();
    } catch (error) {
      const why = how.call.signal.aborted ? undefined : how.transientReason(error);
      if (why === undefined || performance.now() + pause > end) throw error;
      if (!told) how.call.note(`${what}: ${why}; trying again for up to ${Math.round(how.seconds)} s`);
      told = true;
      how.call.log(`${what}: ${why}`);
      await sleepUnlessCanceled(pause, how.call.signal);
    }
  }
}

/** Sleeps; ends as CANCELED when the user stops. */
export async function sleepUnlessCanceled(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {
    throw canceledError();
  });
}
