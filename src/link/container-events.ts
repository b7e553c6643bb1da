import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';
import { openEventStream } from '../provision/engine-events.ts';

/**
 * An engine as a client connects to it now: a start may give it another address, and `provision` other certificates.
 */
export type EngineClient = { readonly endpoint: Endpoint; readonly tls: ClientCertificates | undefined };

/** The events after which other ports may be published. */
const CONTAINER_EVENTS = { type: ['container'], event: ['start', 'die', 'rename'] };
const ANSWER_SECONDS = 10;
const FIRST_RETRY_MS = 200;
const MAX_RETRY_MS = 10_000;
/** A connection that lasted this long is opened again without a growing pause. */
const STABLE_CONNECTION_MS = 10_000;

/**
 * Calls `onChange` after each event of a container, and whenever the connection to the engine is opened or lost: events
 * may have been missed in between. Ends when the signal aborts.
 */
export async function followContainers(
  getClient: () => Promise<EngineClient>,
  onChange: () => void,
  signal: AbortSignal,
): Promise<void> {
  for (let pause = FIRST_RETRY_MS; !signal.aborted; pause = Math.min(pause * 2, MAX_RETRY_MS)) {
    const startedAt = performance.now();
    try {
      const { endpoint, tls } = await getClient();
      const stream = await openEventStream(
        endpoint,
        tls,
        { filters: CONTAINER_EVENTS },
        { signal, seconds: ANSWER_SECONDS },
      );
      onChange();
      for await (const _event of stream.events) onChange();
    } catch {
      // The round that follows finds out what is wrong with the engine, and says so.
    }
    if (signal.aborted) return;
    onChange();
    if (performance.now() - startedAt > STABLE_CONNECTION_MS) pause = FIRST_RETRY_MS;
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
}
