import type { LastRequest } from '../../machine/model.ts';
import type { DriverCall } from '../contract.ts';
import { sleepUnlessCanceled } from './retry.ts';

export type ConsistencyWindow = {
  /** The provider's name, for the note to the user. */
  readonly provider: string;
  /** So long after a request the provider may not show its result yet; later, a missing result was never created. */
  readonly seconds: number;
  /** Returns whether what already shows proves that nothing more will; asked only while there is time left to wait. */
  readonly isComplete?: () => Promise<boolean>;
};

/**
 * Looks for the result of `request`, which an interrupted create sent, until `look` returns it or the window has
 * passed. Looks once where there is no request or its window has passed. Resolves to undefined where nothing shows.
 */
export async function waitUntilVisible<T>(
  request: LastRequest | undefined,
  look: () => Promise<T | undefined>,
  { provider, seconds, isComplete }: ConsistencyWindow,
  call: Pick<DriverCall, 'note' | 'signal'>,
): Promise<T | undefined> {
  const end = Math.min(Date.now(), request === undefined ? 0 : Date.parse(request.at)) + seconds * 1000;
  for (let isNoted = false; ; isNoted = true) {
    const found = await look();
    const left = request === undefined ? 0 : end - Date.now();
    if (found !== undefined || left <= 0 || (await isComplete?.())) return found;
    if (!isNoted)
      call.note(
        `${provider} was asked for its ${request?.what} a moment ago and may show it late; looking for it for up to ${Math.ceil(left / 1000)} s`,
      );
    await sleepUnlessCanceled(1000, call.signal);
  }
}

/**
 * Calls `check` each second, or each `milliseconds`, until it resolves to true; resolves to false after so many
 * seconds.
 */
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
