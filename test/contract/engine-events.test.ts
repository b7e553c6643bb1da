import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { followEvents, type FollowEndReason } from '../../src/operations/follow-events.ts';
import { openEventStream } from '../../src/provision/engine-events.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { worldIn } from '../fakes/test-world.ts';

type EventsHandler = (request: URL, response: ServerResponse, count: number) => void;

/** Starts an engine that answers /events with `respond`, and answers /_ping until it is unresponsive. */
async function startEngine(respond: EventsHandler, port = 0) {
  const state = { unresponsive: false, requests: [] as URL[] };
  const server = createServer((request: IncomingMessage, response) => {
    const url = new URL(request.url ?? '', 'http://engine');
    if (url.pathname === '/_ping') return state.unresponsive ? undefined : response.end('OK');
    state.requests.push(url);
    response.flushHeaders();
    return respond(url, response, state.requests.length);
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  const { port: boundPort } = server.address() as AddressInfo;
  return {
    state,
    server,
    port: boundPort,
    endpoint: { url: `tcp://127.0.0.1:${boundPort}`, tls: false },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const eventLine = (nanoseconds: bigint, name: string): string =>
  `{"Type":"container","Action":"start","Actor":{"ID":"${name}","Attributes":{"timeNano":"7","q":"\\"timeNano\\":8,"}},"time":${nanoseconds / 1_000_000_000n},"timeNano":${nanoseconds}}\n`;
const BASE_TIME = 1_700_000_000_123_456_789n;
const noFilters = { filters: {} };
const callOptions = { signal: new AbortController().signal, seconds: 5 };

/** Follows the events of a machine at this address until `count` events arrived or the engine ended the stream. */
async function listenUntil(url: string, count: number, query: { until?: string; since?: string } = {}) {
  await using folder = await createTemporaryFolder();
  const stop = new AbortController();
  const world = worldIn(folder.path, {
    connect: async () => {
      throw new Error('no SSH connection is expected');
    },
    signal: stop.signal,
  });
  const options = { url };
  await world.store.write(
    readyMachine('web', { spec: specNamed('web', { driver: 'none', options }), endpoint: { url, tls: false } }),
  );
  const names: string[] = [];
  const notices: string[] = [];
  const onEvent = async (machine: string, { text }: { readonly text: string }): Promise<void> => {
    names.push(`${machine}: ${(JSON.parse(text) as { Actor: { ID: string } }).Actor.ID}`);
    if (names.length === count) stop.abort();
  };
  const reason: FollowEndReason = await followEvents(
    'web',
    { query: { ...noFilters, ...query }, onEvent, onNotice: (line) => notices.push(line) },
    world,
  );
  return { names, notices, reason };
}

describe('openEventStream', () => {
  test('sends the query and ends with the engine', async () => {
    await using docker = await startEngine((_url, response) => {
      // Two events in one chunk, and one event in two chunks.
      response.write(
        eventLine(BASE_TIME, 'a') + eventLine(BASE_TIME + 1n, 'b') + eventLine(BASE_TIME + 2n, 'c').slice(0, 20),
      );
      setTimeout(() => response.end(eventLine(BASE_TIME + 2n, 'c').slice(20)), 50);
    });
    const query = { since: '1.5', until: '2', filters: { type: ['container'], label: ['a=b', 'c'] } };
    const { events, openedAt } = await openEventStream(docker.endpoint, undefined, query, callOptions);
    const found: bigint[] = [];
    for await (const { nanoseconds } of events) found.push(nanoseconds);
    expect(found).toEqual([BASE_TIME, BASE_TIME + 1n, BASE_TIME + 2n]);
    expect(Object.fromEntries(docker.state.requests[0]?.searchParams ?? [])).toEqual({
      since: '1.5',
      until: '2',
      filters: '{"type":["container"],"label":["a=b","c"]}',
    });
    expect(Math.abs((openedAt ?? 0) - Date.now() / 1000)).toBeLessThan(60);
  });

  test('keeps a silent stream open while the engine answers, and fails when it does not', async () => {
    await using docker = await startEngine(() => {});
    const { events } = await openEventStream(
      docker.endpoint,
      undefined,
      noFilters,
      { ...callOptions, seconds: 0.3 },
      0.1,
    );
    const end = (async () => {
      for await (const _event of events);
    })().then(
      () => 'ended',
      (error: unknown) => String(error),
    );
    expect(await Promise.race([end, sleep(700, 'lasts')])).toBe('lasts');
    docker.state.unresponsive = true;
    expect(await end).toContain('no answer within 0.3 s');
  });

  test('reads no faster than the caller consumes events', async () => {
    const line = eventLine(BASE_TIME, 'x'.repeat(10_000));
    let written = 0;
    await using docker = await startEngine((_url, response) => {
      const writeMore = (): void => {
        while (response.write(line)) written += line.length;
        response.once('drain', writeMore);
      };
      writeMore();
    });
    const { events } = await openEventStream(docker.endpoint, undefined, noFilters, callOptions);
    const iterator = events[Symbol.asyncIterator]();
    await iterator.next();
    let before = -1;
    // Waits until all buffers in between are full.
    while (before !== written) {
      before = written;
      await sleep(200);
    }
    expect(written).toBeLessThan(16 * 1024 * 1024);
    for (let count = 0; count < 5000; count += 1) await iterator.next();
    expect(written).toBeGreaterThan(before);
    await iterator.return?.();
  });

  test('blames the user for a refused query, and not for silence or invalid output', async () => {
    await using strict = await startEngine(() => {});
    strict.server.removeAllListeners('request');
    strict.server.on('request', (_request, response) =>
      response.writeHead(400).end('{"message":"invalid filter \\u0027foo\\u0027"}'),
    );
    expect(await catchRejection(openEventStream(strict.endpoint, undefined, noFilters, callOptions))).toMatchObject({
      code: 'USAGE',
      detail: ["invalid filter 'foo'"],
    });
    await using odd = await startEngine((_url, response) => response.end('<html>\n'));
    const { events } = await openEventStream(odd.endpoint, undefined, noFilters, callOptions);
    await expect(events[Symbol.asyncIterator]().next()).rejects.toThrow('it sent something other than an event');
  });
});

describe("following a machine's events", () => {
  test('continues after the last event when the connection is lost, without duplicates or gaps', async () => {
    const history = [
      eventLine(BASE_TIME, 'a'),
      eventLine(BASE_TIME, 'b'),
      eventLine(BASE_TIME, 'c'),
      eventLine(BASE_TIME + 1n, 'd'),
    ];
    await using docker = await startEngine((_url, response, count) => {
      if (count === 1) {
        response.write(history[0] ?? '');
        response.write(history[1] ?? '');
        setTimeout(() => response.destroy(), 50);
        return;
      }
      // Like an engine: `since` includes events of that instant.
      for (const line of history) response.write(line);
    });
    const { names, notices, reason } = await listenUntil(docker.endpoint.url, 4);
    expect(names).toEqual(['web: a', 'web: b', 'web: c', 'web: d']);
    expect(docker.state.requests.map((url) => url.searchParams.get('since'))).toEqual([null, '1700000000.123456789']);
    expect(notices).toEqual([
      expect.stringMatching(/^The engine of machine "web" can't be reached: .*\. Trying again$/),
      'Machine "web" answers again',
    ]);
    expect(reason).toBe('stopped');
  });

  test('requests events since its start when it has received none', async () => {
    await using docker = await startEngine((_url, response, count) => {
      if (count === 1) setTimeout(() => response.destroy(), 50);
      else response.write(eventLine(BASE_TIME, 'a'));
    });
    await listenUntil(docker.endpoint.url, 1);
    const [first, second] = docker.state.requests.map((url) => url.searchParams.get('since'));
    expect(first).toBeNull();
    expect(Math.abs(Number(second) - Date.now() / 1000)).toBeLessThan(60);
  });

  test('reports once that no engine answers, and receives events once one does', async () => {
    const probe = await startEngine(() => {});
    const { port, endpoint } = probe;
    await probe[Symbol.asyncDispose]();
    const work = listenUntil(endpoint.url, 1);
    await sleep(2500);
    await using _docker = await startEngine((_url, response) => response.write(eventLine(BASE_TIME, 'late')), port);
    const { names, notices } = await work;
    expect(names).toEqual(['web: late']);
    expect(notices).toEqual([
      'The engine of machine "web" can\'t be reached: nothing listens there. Trying again',
      'Machine "web" answers again',
    ]);
  });

  test('does not retry a query that the engine does not understand', async () => {
    await using docker = await startEngine(() => {});
    docker.server.removeAllListeners('request');
    docker.server.on('request', (_request, response) => response.writeHead(400).end('{"message":"no"}'));
    expect(await catchRejection(listenUntil(docker.endpoint.url, 1))).toMatchObject({ code: 'USAGE', detail: ['no'] });
  });

  test('ends at the end of its period, and not when the engine stops before', async () => {
    await using docker = await startEngine((_url, response) => response.end(eventLine(BASE_TIME, 'a')));
    const past = String(Date.now() / 1000 - 60);
    expect(await listenUntil(docker.endpoint.url, 9, { until: past })).toEqual({
      names: ['web: a'],
      notices: [],
      reason: 'finished',
    });
    const future = String(Date.now() / 1000 + 3600);
    const stopped = listenUntil(docker.endpoint.url, 1, { until: future });
    expect((await stopped).reason).toBe('stopped');
    await using restarted = await startEngine((_url, response, count) =>
      count === 1 ? response.end() : response.write(eventLine(BASE_TIME, 'b')),
    );
    expect((await listenUntil(restarted.endpoint.url, 1, { until: future })).names).toEqual(['web: b']);
    await docker[Symbol.asyncDispose]();
    const unheard = await listenUntil(docker.endpoint.url, 1, { until: past });
    expect(unheard).toEqual({
      names: [],
      notices: ['The engine of machine "web" can\'t be reached: nothing listens there'],
      reason: 'unreachable',
    });
  });
});
