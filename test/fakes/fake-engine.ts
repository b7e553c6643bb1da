import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An engine without TLS that lists containers, and sends an event whenever the list changes. */
export type FakeEngine = AsyncDisposable & {
  readonly url: string;
  /** Replaces the containers; each with its published ports. */
  setContainers(containers: Readonly<Record<string, readonly object[]>>): void;
  /** Counts the requests for the list. */
  readonly countLists: () => number;
  /** Ends all streams of events, as an engine that stops. */
  dropStreams(): void;
};

export async function startFakeEngine(): Promise<FakeEngine> {
  let containers: readonly object[] = [];
  let lists = 0;
  const streams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/events')) {
      streams.add(response);
      response.on('close', () => streams.delete(response));
      response.flushHeaders();
      return;
    }
    lists += 1;
    response.end(JSON.stringify(containers));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    setContainers(byName) {
      containers = Object.entries(byName).map(([name, ports], index) => ({
        Id: name,
        Names: [`/${name}`],
        Created: index,
        Ports: ports,
      }));
      for (const stream of streams)
        stream.write(`${JSON.stringify({ Type: 'container', Action: 'start', timeNano: 1 })}\n`);
    },
    countLists: () => lists,
    dropStreams() {
      for (const stream of streams) stream.destroy();
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
