import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { once } from 'node:events';
import type { PortCall } from '../computer/port-user.ts';
import { SlipwayError } from '../errors.ts';
import type { Forward, PortAddress, PortRefusal } from '../machine/forward.ts';
import { joinStreams, resetSocket } from './join-streams.ts';
import type { LinkConnection } from './link-connection.ts';
import { isPortRefusal, openTcpPort } from './open-port.ts';

/** A port of this computer that is open now. */
export type OpenForward = {
  readonly forward: Forward;
  /** Closes the port and ends its connections. */
  readonly close: () => Promise<void>;
};

/** Opens a TCP port and forwards its connections over SSH. Clients wait while the SSH connection is away. */
export async function openTcpForward(
  forward: Forward,
  { session, ...call }: Pick<LinkConnection, 'session'> & PortCall,
): Promise<OpenForward | PortRefusal> {
  const sockets = new Set<Socket>();
  const server = await openTcpPort(forward, call, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    void forwardSocket(socket, () => connectToTarget(forward.target, session));
  });
  if (isPortRefusal(server)) return server;
  return {
    forward,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) resetSocket(socket);
      await closed;
    },
  };
}

/** Connects to a port of the host; once more if the SSH connection turns out to be lost. */
async function connectToTarget(target: PortAddress, session: LinkConnection['session']): Promise<Duplex> {
  try {
    return await (await session()).connectTcp(target);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code !== 'SSH_LOST') throw error;
    return await (await session()).connectTcp(target);
  }
}

/** Joins a client with what `connect` returns. If that fails, the client sees a reset, as from a closed port. */
async function forwardSocket(socket: Socket, connect: () => Promise<Duplex>): Promise<void> {
  try {
    const stream = await connect();
    if (socket.destroyed) stream.destroy();
    else joinStreams(socket, stream);
  } catch {
    resetSocket(socket);
  }
}
