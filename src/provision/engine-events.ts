import type { IncomingMessage } from 'node:http';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';
import { SlipwayError } from '../errors.ts';
import { createEngineRequest, pingEngine, type EngineCallOptions } from './engine-api.ts';

/** The events to request from an engine. Times are seconds since 1970 with up to nine decimals. */
export type EventQuery = {
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly filters: Readonly<Record<string, readonly string[]>>;
};

/** An event: the JSON object that the engine sent, on one line. */
export type EngineEvent = { readonly text: string; readonly nanoseconds: bigint };

export type EventStream = {
  /** The time of the response in seconds since 1970, by the engine's own clock; undefined if it does not send one. */
  readonly openedAt: number | undefined;
  readonly events: AsyncIterable<EngineEvent>;
};

/** The interval of pings. An engine can be silent for days, and firewalls and proxies drop idle connections. */
const HEARTBEAT_SECONDS = 20;
const MAX_EVENT_LENGTH = 1024 * 1024;

/**
 * Sends one `GET /events`, which the engine must answer within `seconds`. The stream ends at the query's `until`, or
 * when the engine stops; it fails if the engine stops answering pings. Reads events only as fast as the caller consumes
 * them.
 */
export async function openEventStream(
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  query: EventQuery,
  call: EngineCallOptions,
  heartbeat = HEARTBEAT_SECONDS,
): Promise<EventStream> {
  const response = await requestEvents(eventsPathFor(query), endpoint, tls, call);
  const opened = Date.parse(response.headers.date ?? '') / 1000;
  const check = (): Promise<void> => pingEngine(endpoint, tls, { signal: call.signal, seconds: call.seconds });
  return { openedAt: Number.isNaN(opened) ? undefined : opened, events: readEvents(response, check, heartbeat) };
}

function eventsPathFor({ since, until, filters }: EventQuery): string {
  const parameters = new URLSearchParams({
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    ...(Object.keys(filters).length === 0 ? {} : { filters: JSON.stringify(filters) }),
  });
  return parameters.size === 0 ? '/events' : `/events?${parameters.toString()}`;
}

function requestEvents(
  path: string,
  endpoint: Endpoint,
  tls: ClientCertificates | undefined,
  { signal, seconds }: EngineCallOptions,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let isAnswered = false;
    const call = createEngineRequest(endpoint, tls, { path, signal }, (response) => {
      isAnswered = true;
      clearTimeout(timer);
      if (response.statusCode === 200) resolve(response);
      else readRefusalError(response).then(reject, reject);
    });
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${seconds} s`)), seconds * 1000);
    call.on('socket', (socket) => socket.setKeepAlive(true, HEARTBEAT_SECONDS * 1000));
    call.on('error', reject);
    call.on('close', () => {
      clearTimeout(timer);
      // Node reports no error for an answer that upgrades to another protocol. A refusal is read after this event.
      if (!isAnswered) reject(new Error('it closed the connection without an answer'));
    });
    call.end();
  });
}

/**
 * Reads the error from a response. Returns USAGE for a query that the engine does not understand, which the user has to
 * fix; other errors may be temporary.
 */
async function readRefusalError(response: IncomingMessage): Promise<Error> {
  let body = '';
  response.setEncoding('utf8');
  for await (const chunk of response) if (body.length < 1000) body += String(chunk);
  const message = parseMessage(body) ?? body.trim().slice(0, 200);
  if (response.statusCode !== 400) return new Error(`it answered ${response.statusCode} ${message}`);
  return new SlipwayError('USAGE', 'The engine does not understand the query for events', {
    detail: [message],
    hint: 'To see the options of a query: slipway help events',
  });
}

async function* readEvents(
  response: IncomingMessage,
  check: () => Promise<void>,
  heartbeat: number,
): AsyncGenerator<EngineEvent, void, undefined> {
  let isSilent = false;
  const pingTimer = setInterval(() => {
    if (isSilent)
      check().catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))));
    isSilent = true;
  }, heartbeat * 1000);
  try {
    let rest = '';
    response.setEncoding('utf8');
    for await (const chunk of response) {
      isSilent = false;
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_EVENT_LENGTH) throw notAnEventError();
      for (const line of lines) if (line.trim() !== '') yield parseEvent(line.trim());
    }
  } finally {
    clearInterval(pingTimer);
    response.destroy();
  }
}

/**
 * Reads the nanoseconds from the text, since they exceed the precision of a number. Within a JSON string, the quotes
 * around the key would be escaped, so the pattern never matches there.
 */
function parseEvent(text: string): EngineEvent {
  const nanoseconds = [...text.matchAll(/"timeNano":(\d{1,19})[,}]/g)].at(-1)?.[1];
  if (!isJsonObject(text)) throw notAnEventError();
  return { text, nanoseconds: BigInt(nanoseconds ?? 0) };
}

function notAnEventError(): Error {
  return new Error('it sent something other than an event');
}

function parseMessage(body: string): string | undefined {
  const { message } = isJsonObject(body) ? (JSON.parse(body) as { readonly message?: unknown }) : {};
  return typeof message === 'string' ? message.trim() : undefined;
}

function isJsonObject(text: string): boolean {
  try {
    return text.startsWith('{') && typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}
