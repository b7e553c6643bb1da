import { once } from 'node:events';
import type { PortCall } from '../computer/port-user.ts';
import type { Forward, PortRefusal } from '../machine/forward.ts';
import { isPortRefusal, openUdpPort } from './open-port.ts';
import type { OpenForward } from './tcp-forward.ts';
import type { UdpFlow, UdpRelay } from './udp-relay.ts';

/** One client of a UDP port. */
type UdpClient = { readonly flow: UdpFlow; lastSeen: number };

export type UdpForwardOptions = PortCall & {
  readonly relay: UdpRelay;
  /** How long a client's flow stays open without a datagram in either direction. */
  readonly idleMs?: number;
  /** How many clients a port has at once; a new one replaces the one that has been silent for longest. */
  readonly mostClients?: number;
};

/** Opens a UDP port and forwards its datagrams, each client's from a port of its own, so that answers find it. */
export async function openUdpForward(
  forward: Forward,
  { relay, idleMs = 60_000, mostClients = 256, ...call }: UdpForwardOptions,
): Promise<OpenForward | PortRefusal> {
  const clients = new Map<string, UdpClient>();
  const closeClient = (key: string): void => {
    clients.get(key)?.flow.close();
    clients.delete(key);
  };
  const socket = await openUdpPort(forward, call, (payload, { address, port }) => {
    const key = `${address} ${port}`;
    const client = clients.get(key) ?? addClient(key, address, port);
    client.lastSeen = performance.now();
    client.flow.send(payload);
  });
  if (isPortRefusal(socket)) return socket;
  const addClient = (key: string, address: string, port: number): UdpClient => {
    if (clients.size >= mostClients) closeClient(findMostSilent(clients));
    const flow = relay.open(forward.target, (payload) => {
      client.lastSeen = performance.now();
      socket.send(payload, port, address);
    });
    const client: UdpClient = { flow, lastSeen: performance.now() };
    clients.set(key, client);
    return client;
  };
  const timer = setInterval(() => {
    for (const [key, { lastSeen }] of clients) if (performance.now() - lastSeen > idleMs) closeClient(key);
  }, idleMs / 4).unref();
  const close = async (): Promise<void> => {
    clearInterval(timer);
    for (const key of clients.keys()) closeClient(key);
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  };
  const detail = await relay.findProblem();
  if (detail === undefined) return { forward, close };
  await close();
  return { reason: 'refused', detail };
}

function findMostSilent(clients: ReadonlyMap<string, UdpClient>): string {
  const [first] = [...clients].toSorted(([, left], [, right]) => left.lastSeen - right.lastSeen);
  return first?.[0] ?? '';
}
