import { sleepUnlessCanceled } from '../cloud/retry.ts';
import type { LastRequest } from '../../machine/model.ts';
import type { DriverCall } from '../contract.ts';

/** A request that was on its way when its create was killed is known to Google by then. */
const CONSISTENCY_WINDOW_SECONDS = 20;

/** What was asked for a moment ago, by a create that is no more, as soon as Compute Engine shows it; undefined where it never does. */
export async function waitUntilVisible<T>(
  asked: LastRequest | undefined,
  look: () => Promise<T | undefined>,
  call: DriverCall,
): Promise<T | undefined> {
  const until = asked === undefined ? 0 : Date.parse(asked.at) + CONSISTENCY_WINDOW_SECONDS * 1000;
  for (let told = false; ; told = true) {
    const found = await look();
    if (found !== undefined || Date.now() >= until) return found;
    if (!told)
      call.note(
        `Compute Engine was asked for its ${asked?.what} a moment ago; looking for it for up to ${CONSISTENCY_WINDOW_SECONDS} s`,
      );
    await sleepUnlessCanceled(1000, call.signal);
  }
}
