/** Follows the events of machines' engines until the user stops it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SlipwayError } from '../errors.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { unreachableReason } from '../provision/engine-api.ts';
import { openEventStream, type EngineEvent, type EventQuery, type EventStream } from '../provision/engine-events.ts';
import { loadClientCertificates } from './credentials.ts';
import type { World } from './world.ts';

export type EngineEventListener = {
  readonly query: EventQuery;
  /** Gets one event after the other; the next one is read only after its promise resolves. */
  readonly onEvent: (machine: string, event: EngineEvent) => Promise<void>;
  /** Gets sentences about one machine for the user. */
  readonly onNotice: (line: string) => void;
};

/**
 * Why a stream of events ended. finished: the time of `--until` was reached. unreachable: the same, while the engine
 * did not answer. removed: the machine was removed. stopped: the user stopped the command.
 */
export type FollowEndReason = 'finished' | 'unreachable' | 'removed' | 'stopped';

const ANSWER_SECONDS = 10;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
/** A connection that lasted this long is opened again without a growing pause. */
const STABLE_CONNECTION_MS = 10_000;
/** Engines report their clocks in whole seconds. */
const CLOCK_TOLERANCE_SECONDS = 2;

/** A position in a machine's events: all events before the instant `at` were handled, and at that instant, `texts`. */
type EventPosition = { readonly since: string | undefined; readonly at: bigint; readonly texts: ReadonlySet<string> };

/**
 * Follows the events of one machine. Reports a lost connection once, and reconnects until it succeeds, right after the
 * last event that was handled: no event is reported twice, and none is missed that the engine still has.
 */
export async function followEvents(
  name: string,
  listener: EngineEventListener,
  world: World,
): Promise<FollowEndReason> {
  const { query, onNotice } = listener;
  const { signal } = world;
  let position: EventPosition = { since: query.since, at: 0n, texts: new Set() };
  let isLost = false;
  for (let pause = FIRST_RETRY_MS; !signal.aborted; pause = Math.min(pause * 2, MAX_RETRY_MS)) {
    const startedAt = performance.now();
    try {
      // Read again for each connection: the machine may have a new address or new certificates, or be removed.
      const machine = await world.store.find(name);
      if (machine?.phase !== 'ready') {
        onNotice(`Machine "${name}" was removed`);
        return 'removed';
      }
      const stream = await openMachineEvents(machine, { ...query, since: position.since }, world);
      if (isLost) onNotice(`Machine "${name}" answers again`);
      isLost = false;
      position = { ...position, since: position.since ?? streamStartOf(stream) };
      for await (const event of stream.events) {
        const next = advancePosition(position, event);
        if (next === undefined) continue;
        await listener.onEvent(name, event);
        position = next;
      }
      if (hasReachedEnd(query, stream, startedAt)) return 'finished';
      throw new Error('its engine closed the connection');
    } catch (error) {
      if (signal.aborted) return 'stopped';
      if (error instanceof SlipwayError && error.code === 'USAGE') throw error;
      if (query.until !== undefined && Number(query.until) <= world.now().getTime() / 1000) {
        onNotice(`The engine of machine "${name}" can't be reached: ${unreachableReason(error)}`);
        return 'unreachable';
      }
      if (!isLost)
        onNotice(`The engine of machine "${name}" can't be reached: ${unreachableReason(error)}. Trying again`);
      isLost = true;
    }
    if (performance.now() - startedAt > STABLE_CONNECTION_MS) pause = FIRST_RETRY_MS;
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
  return 'stopped';
}

async function openMachineEvents(
  machine: ReadyMachine,
  query: EventQuery,
  { store, signal }: World,
): Promise<EventStream> {
  const tls = await loadClientCertificates(machine, store).catch((error: unknown) => {
    throw new Error(`its certificates can't be read; to fix them: slipway provision ${machine.spec.name}`, {
      cause: error,
    });
  });
  return await openEventStream(machine.endpoint, tls, query, { signal, seconds: ANSWER_SECONDS });
}

/** Returns the start of the stream: from then on, no event may be missed, even if none has arrived yet. */
function streamStartOf({ openedAt }: EventStream): string | undefined {
  return openedAt === undefined ? undefined : String(openedAt);
}

/**
 * Returns the position after this event; undefined if it was handled already: after a reconnect, the engine repeats the
 * events of the last instant.
 */
function advancePosition({ at, texts }: EventPosition, { text, nanoseconds }: EngineEvent): EventPosition | undefined {
  if (nanoseconds === at && texts.has(text)) return undefined;
  if (nanoseconds <= at) return { since: formatInstant(at), at, texts: new Set([...texts, text]) };
  return { since: formatInstant(nanoseconds), at: nanoseconds, texts: new Set([text]) };
}

function formatInstant(nanoseconds: bigint): string {
  const digits = String(nanoseconds).padStart(10, '0');
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** Returns whether the stream ended because `--until` was reached, and not because the engine stopped. */
function hasReachedEnd({ until }: EventQuery, { openedAt }: EventStream, startedAt: number): boolean {
  if (until === undefined) return false;
  if (openedAt === undefined) return true;
  return openedAt + (performance.now() - startedAt) / 1000 + CLOCK_TOLERANCE_SECONDS >= Number(until);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/**
 * Parses a time as docker events does: seconds since 1970, a duration ago (`90m`, `1h30m`), or a date. Returns
 * undefined for anything else.
 */
export function parseEventTime(text: string, now: Date): string | undefined {
  if (/^\d+(\.\d{1,9})?$/.test(text)) return text;
  if (/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const ago = [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].map(
      ([, count, unit = '']) => Number(count) * (UNIT_SECONDS[unit] ?? 0),
    );
    return formatUnixSeconds(now.getTime() / 1000 - ago.reduce((sum, part) => sum + part, 0));
  }
  // A date alone means its midnight in local time; a date with a time is local too.
  const date = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text;
  if (!/^\d{4}-\d\d-\d\dT\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?$/.test(date)) return undefined;
  const time = Date.parse(date.replace(/T(\d\d)(?=$|Z|[+-])/, 'T$1:00'));
  return Number.isNaN(time) ? undefined : formatUnixSeconds(time / 1000);
}

function formatUnixSeconds(time: number): string {
  return time.toFixed(3);
}
