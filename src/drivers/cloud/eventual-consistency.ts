import type { LastRequest } from '../../machine/model.ts';
import type { DriverCall } from '../contract.ts';
import { sleepUnlessCanceled } from './retry.ts';

export type ConsistencyWindow = {
  /** The provider's name, for the note to the user. */
  readonly provider: string;
  /**
   * How long after a request the provider may not show its result yet. A result that is still missing later was never
   * created.
   */
  readonly seconds: number;
  /**
   * Returns whether the resources that show already prove that no more will. Called only while there is time left to
   * wait.
   */
  readonly isComplete?: () => Promise<boolean>;
};

/**
 * Looks for the result of `request`, which an interrupted create sent, until `find` returns it or the window has
 * passed. Looks once if there is no request or its window has passed. Resolves to undefined if nothing shows.
 */
export async function waitUntilVisible<T>(
  request: LastRequest | undefined,
  find: () => Promise<T | undefined>,
  { provider, seconds, isComplete }: ConsistencyWindow,
  call: Pick<DriverCall, 'note' | 'signal'>,
): Promise<T | undefined> {
  const end = Math.min(Date.now(), request === undefined ? 0 : Date.parse(request.at)) + seconds * 1000;
  for (let isNoted = false; ; isNoted = true) {
    const found = await find();
    const left = request === undefined ? 0 : end - Date.now();
    if (found !== undefined || left <= 0 || (await isComplete?.())) return found;
    if (!isNoted)
      call.note(
        `${provider} may be late to show the requested ${request?.what}; looking for up to ${Math.ceil(left / 1000)} s`,
      );
    await sleepUnlessCanceled(1000, call.signal);
  }
}

/** Calls `check` every second, or every `milliseconds`, until it returns true. Returns false after `seconds`. */
export async function pollUntil(
  check: () => Promise<boolean>,
  { seconds, milliseconds = 1000 }: { readonly seconds: number; readonly milliseconds?: number },
  signal: AbortSignal,
): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    if (await check()) return true;
    if (performance.now() > end) return false;
    await sleepUnlessCanceled(milliseconds, signal);
  }
}
