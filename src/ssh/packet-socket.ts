import { connect, type Socket } from 'node:net';

/**
 * Connects a socket for the SSH library, which writes each packet in up to three parts. Without Nagle's algorithm, each
 * part would be a segment of its own, and wake the host; with it, a short packet would wait 40 ms for a delayed ACK. So
 * this socket sends what is written within a turn of the event loop together, and at once.
 */
export function connectPacketSocket(host: string, port: number): Socket {
  const socket = connect({ host, port }).setNoDelay(true);
  const write = socket.write.bind(socket) as (...call: unknown[]) => boolean;
  let isCorked = false;
  socket.write = (...call: unknown[]): boolean => {
    if (!isCorked) {
      isCorked = true;
      socket.cork();
      process.nextTick(() => {
        isCorked = false;
        socket.uncork();
      });
    }
    return write(...call);
  };
  // Each channel adds listeners; without this, Node warns the user of a leak after ten.
  return socket.setMaxListeners(0);
}
