import { createServer, type Server, type Socket } from 'node:net';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import type { PortCall } from '../computer/port-user.ts';
import { isLoopback, type Forward, type PortRefusal } from '../machine/forward.ts';
import { toPortRefusal } from '../machine/try-port.ts';

/** As many bytes as the system's own buffers hold: a slow client must not stop the others often. */
const BUFFER_BYTES = 256 * 1024;

/** Where this computer listens for a forward, and whether it must turn away peers from other computers. */
type Binding = { readonly host: string; readonly onlyLoopback: boolean };

/**
 * Decides where to listen. macOS lets every user open a port below 1024, but only on all addresses at once: peers from
 * other computers are turned away.
 */
export function bindingFor({ address, port }: Forward['listen'], platform: NodeJS.Platform): Binding {
  const mustWiden = platform === 'darwin' && port < 1024 && isLoopback(address);
  if (!mustWiden) return { host: address, onlyLoopback: false };
  return { host: address.includes(':') ? '::' : '0.0.0.0', onlyLoopback: true };
}

/** Opens a TCP port. `onConnection` gets each connection, paused. Returns why the port can't be opened. */
export async function openTcpPort(
  forward: Forward,
  call: PortCall,
  onConnection: (socket: Socket) => void,
): Promise<Server | PortRefusal> {
  const { host, onlyLoopback } = bindingFor(forward.listen, call.computer.platform);
  const server = createServer(
    { allowHalfOpen: true, pauseOnConnect: true, noDelay: true, highWaterMark: BUFFER_BYTES },
    (socket) => {
      socket.on('error', () => {});
      if (onlyLoopback && !isLoopback(socket.remoteAddress ?? '')) socket.resetAndDestroy();
      else onConnection(socket);
    },
  );
  const problem = await new Promise<unknown>((resolve) => {
    server.once('error', resolve);
    server.listen({ host, port: forward.listen.port, ipv6Only: true, exclusive: true }, () => resolve(undefined));
  });
  if (problem !== undefined) return await toPortRefusal(forward, problem, call);
  // Without free descriptors, no connection can be accepted until others have ended.
  return server.on('error', () => {});
}

/** Opens a UDP port. `onDatagram` gets each datagram. Returns why the port can't be opened. */
export async function openUdpPort(
  forward: Forward,
  call: PortCall,
  onDatagram: (payload: Buffer, peer: { readonly address: string; readonly port: number }) => void,
): Promise<DatagramSocket | PortRefusal> {
  const { host, onlyLoopback } = bindingFor(forward.listen, call.computer.platform);
  const type = host.includes(':') ? 'udp6' : 'udp4';
  const socket = createSocket({ type, ipv6Only: type === 'udp6' }, (payload, peer) => {
    if (!onlyLoopback || isLoopback(peer.address)) onDatagram(payload, peer);
  });
  const problem = await new Promise<unknown>((resolve) => {
    socket.once('error', resolve);
    socket.bind({ address: host, port: forward.listen.port, exclusive: true }, () => resolve(undefined));
  });
  if (problem !== undefined) {
    socket.close();
    return await toPortRefusal(forward, problem, call);
  }
  return socket.on('error', () => {});
}

/** Returns whether a port could not be opened. */
export function isPortRefusal(outcome: object): outcome is PortRefusal {
  return 'reason' in outcome;
}
