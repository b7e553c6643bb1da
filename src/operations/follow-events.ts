/** What the engines of machines say that happens, for as long as it is listened to. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SlipwayError } from '../errors.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { unreachableReason } from '../provision/engine-api.ts';
import { openEventStream, type EngineEvent, type EventQuery, type EventStream } from '../provision/engine-events.ts';
import { loadClientCertificates } from './credentials.ts';
import type { World } from './world.ts';

export type EngineEventListener = {
  readonly query: EventQuery;
  /** Gets one event after the other; the next one is not read before it has been taken. */
  readonly onEvent: (machine: string, event: EngineEvent) => Promise<void>;
  /** What a person should know of one machine. */
  readonly onNotice: (line: string) => void;
};

/** How a machine was left: its time was over; it was never heard by then; it was removed; or all was stopped. */
export type FollowEndReason = 'over' | 'unheard' | 'removed' | 'stopped';

const ANSWER_SECONDS = 10;
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;
/** A connection that lasts is worth being asked for at once when it is lost. */
const STABLE_CONNECTION_MS = 10_000;
/** Clocks of engines are told to the second. */
const CLOCK_TOLERANCE_SECONDS = 2;

/** Where in a machine's events one is: all up to this instant were taken, and at the instant itself these. */
type EventPosition = { readonly since: string | undefined; readonly at: bigint; readonly texts: ReadonlySet<string> };

/**
 * The events of one machine. A connection that is lost is told once and made anew, as often as it takes, and goes on behind the
 * last event that was taken: none is told twice, and none is missed that the engine still has.
 */
export async function followEvents(
  name: string,
  listening: EngineEventListener,
  world: World,
): Promise<FollowEndReason> {
  const { query, onNotice } = listening;
  const { signal } = world;
  let position: EventPosition = { since: query.since, at: 0n, texts: new Set() };
  let lost = false;
  for (let pause = FIRST_RETRY_MS; !signal.aborted; pause = Math.min(pause * 2, MAX_RETRY_MS)) {
    const began = performance.now();
    try {
      // Read anew each time: it may have another address by now, other certificates, or be gone.
      const machine = await world.store.find(name);
      if (machine?.phase !== 'ready') {
        onNotice(`${name}: it was removed`);
        return 'removed';
      }
      const stream = await openMachineEvents(machine, { ...query, since: position.since }, world);
      if (lost) onNotice(`${name}: it answers again`);
      lost = false;
      position = { ...position, since: position.since ?? streamStartOf(stream) };
      for await (const event of stream.events) {
        const next = advancePosition(position, event);
        if (next === undefined) continue;
        await listening.onEvent(name, event);
        position = next;
      }
      if (hasReachedEnd(query, stream, began)) return 'over';
      throw new Error('its engine hung up');
    } catch (error) {
      if (signal.aborted) return 'stopped';
      if (error instanceof SlipwayError && error.code === 'USAGE') throw error;
      if (query.until !== undefined && Number(query.until) <= world.now().getTime() / 1000) {
        onNotice(`${name}: its engine can't be reached: ${unreachableReason(error)}`);
        return 'unheard';
      }
      if (!lost) onNotice(`${name}: its engine can't be reached, and is tried again: ${unreachableReason(error)}`);
      lost = true;
    }
    if (performance.now() - began > STABLE_CONNECTION_MS) pause = FIRST_RETRY_MS;
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
    throw new Error("its certificates can't be read", { cause: error });
  });
  return await openEventStream(machine.endpoint, tls, query, { signal, seconds: ANSWER_SECONDS });
}

/** From when on nothing is to be missed, though nothing has happened yet. */
function streamStartOf({ openedAt }: EventStream): string | undefined {
  return openedAt === undefined ? undefined : String(openedAt);
}

/** The position behind this event; undefined where it was taken already. An engine begins with those of the instant itself. */
function advancePosition({ at, texts }: EventPosition, { text, nanoseconds }: EngineEvent): EventPosition | undefined {
  if (nanoseconds === at && texts.has(text)) return undefined;
  if (nanoseconds <= at) return { since: formatInstant(at), at, texts: new Set([...texts, text]) };
  return { since: formatInstant(nanoseconds), at: nanoseconds, texts: new Set([text]) };
}

function formatInstant(nanoseconds: bigint): string {
  const digits = String(nanoseconds).padStart(10, '0');
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** Whether the stream ended for its time, and not because the engine stopped before. */
function hasReachedEnd({ until }: EventQuery, { openedAt }: EventStream, began: number): boolean {
  if (until === undefined) return false;
  if (openedAt === undefined) return true;
  return openedAt + (performance.now() - began) / 1000 + CLOCK_TOLERANCE_SECONDS >= Number(until);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** As docker events takes instants: seconds since 1970, a time ago (`90m`, `1h30m`), or a date; undefined for all else. */
export function parseEventTime(text: string, now: Date): string | undefined {
  if (/^\d+(\.\d{1,9})?$/.test(text)) return text;
  if (/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const ago = [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].map(
      ([, count, unit = '']) => Number(count) * (UNIT_SECONDS[unit] ?? 0),
    );
    return formatUnixSeconds(now.getTime() / 1000 - ago.reduce((sum, part) => sum + part, 0));
  }
  // A date alone is its midnight here, as a date and a time are here.
  const date = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text;
  if (!/^\d{4}-\d\d-\d\dT\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?$/.test(date)) return undefined;
  const time = Date.parse(date.replace(/T(\d\d)(?=$|Z|[+-])/, 'T$1:00'));
  return Number.isNaN(time) ? undefined : formatUnixSeconds(time / 1000);
}

function formatUnixSeconds(time: number): string {
  return time.toFixed(3);
}
