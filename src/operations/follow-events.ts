/** What the engines of machines say that happens, for as long as it is listened to. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SlipwayError } from '../errors.ts';
import type { Ready } from '../machine/model.ts';
import { inWords } from '../provision/engine-api.ts';
import { openEvents, type EngineEvent, type EventQuery, type EventStream } from '../provision/engine-events.ts';
import { clientCertificates } from './credentials.ts';
import type { World } from './world.ts';

export type Listening = {
  readonly query: EventQuery;
  /** Gets one event after the other; the next one is not read before it has been taken. */
  readonly take: (machine: string, event: EngineEvent) => Promise<void>;
  /** What a person should know of one machine. */
  readonly say: (line: string) => void;
};

/** How a machine was left: its time was over; it was never heard by then; it was removed; or all was stopped. */
export type Left = 'over' | 'unheard' | 'removed' | 'stopped';

const ANSWER_SECONDS = 10;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
/** A connection that lasts is worth being asked for at once when it is lost. */
const LASTING = 10_000;
/** Clocks of engines are told to the second. */
const CLOCK_SECONDS = 2;

/** Where in a machine's events one is: all up to this instant were taken, and at the instant itself these. */
type Position = { readonly since: string | undefined; readonly at: bigint; readonly texts: ReadonlySet<string> };

/**
 * The events of one machine. A connection that is lost is told once and made anew, as often as it takes, and goes on behind the
 * last event that was taken: none is told twice, and none is missed that the engine still has.
 */
export async function listenTo(name: string, listening: Listening, world: World): Promise<Left> {
  const { query, say } = listening;
  const { signal } = world;
  let position: Position = { since: query.since, at: 0n, texts: new Set() };
  let lost = false;
  for (let pause = FIRST_PAUSE; !signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    const began = performance.now();
    try {
      // Read anew each time: it may have another address by now, other certificates, or be gone.
      const machine = await world.store.find(name);
      if (machine?.phase !== 'ready') {
        say(`${name}: it was removed`);
        return 'removed';
      }
      const stream = await open(machine, { ...query, since: position.since }, world);
      if (lost) say(`${name}: it answers again`);
      lost = false;
      position = { ...position, since: position.since ?? startOf(stream) };
      for await (const event of stream.events) {
        const next = behind(position, event);
        if (next === undefined) continue;
        await listening.take(name, event);
        position = next;
      }
      if (isOver(query, stream, began)) return 'over';
      throw new Error('its engine hung up');
    } catch (error) {
      if (signal.aborted) return 'stopped';
      if (error instanceof SlipwayError && error.code === 'USAGE') throw error;
      if (query.until !== undefined && Number(query.until) <= world.now().getTime() / 1000) {
        say(`${name}: its engine can’t be reached: ${inWords(error)}`);
        return 'unheard';
      }
      if (!lost) say(`${name}: its engine can’t be reached, and is tried again: ${inWords(error)}`);
      lost = true;
    }
    if (performance.now() - began > LASTING) pause = FIRST_PAUSE;
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
  return 'stopped';
}

async function open(machine: Ready, query: EventQuery, { store, signal }: World): Promise<EventStream> {
  const tls = await clientCertificates(machine, store).catch((error: unknown) => {
    throw new Error('its certificates can’t be read', { cause: error });
  });
  return await openEvents(machine.endpoint, tls, query, { signal, seconds: ANSWER_SECONDS });
}

/** From when on nothing is to be missed, though nothing has happened yet. */
function startOf({ opened }: EventStream): string | undefined {
  return opened === undefined ? undefined : String(opened);
}

/** The position behind this event; undefined where it was taken already. An engine begins with those of the instant itself. */
function behind({ at, texts }: Position, { text, nanoseconds }: EngineEvent): Position | undefined {
  if (nanoseconds === at && texts.has(text)) return undefined;
  if (nanoseconds <= at) return { since: instant(at), at, texts: new Set([...texts, text]) };
  return { since: instant(nanoseconds), at: nanoseconds, texts: new Set([text]) };
}

function instant(nanoseconds: bigint): string {
  const digits = String(nanoseconds).padStart(10, '0');
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** Whether the stream ended for its time, and not because the engine stopped before. */
function isOver({ until }: EventQuery, { opened }: EventStream, began: number): boolean {
  if (until === undefined) return false;
  if (opened === undefined) return true;
  return opened + (performance.now() - began) / 1000 + CLOCK_SECONDS >= Number(until);
}

const UNITS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** As docker events takes instants: seconds since 1970, a time ago (`90m`, `1h30m`), or a date; undefined for all else. */
export function instantOf(text: string, now: Date): string | undefined {
  if (/^\d+(\.\d{1,9})?$/.test(text)) return text;
  if (/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const ago = [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].map(
      ([, count, unit = '']) => Number(count) * (UNITS[unit] ?? 0),
    );
    return seconds(now.getTime() / 1000 - ago.reduce((sum, part) => sum + part, 0));
  }
  // A date alone is its midnight here, as a date and a time are here.
  const date = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text;
  if (!/^\d{4}-\d\d-\d\dT\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?$/.test(date)) return undefined;
  const time = Date.parse(date.replace(/T(\d\d)(?=$|Z|[+-])/, 'T$1:00'));
  return Number.isNaN(time) ? undefined : seconds(time / 1000);
}

function seconds(time: number): string {
  return time.toFixed(3);
}
