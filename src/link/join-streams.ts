import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Passes on bytes both ways, and how each way ends: by itself, with the other, or by a failure. */
export function joinStreams(client: Socket, host: Duplex): void {
  client.pipe(host).pipe(client);
  // The client reset the connection, or it was ended here. Otherwise, the stream ends once it has sent all.
  client.once('close', (hadError) => {
    if (hadError || !client.readableEnded) host.destroy();
  });
  host.once('error', () => resetSocket(client));
  // The host closed the connection: the client gets what is left, and learns that nobody reads any more.
  host.once('close', () => client.destroySoon());
}

/** Ends a connection so that its peer takes nothing for complete. Sockets without a port can't tell. */
export function resetSocket(socket: Socket): void {
  if (socket.localPort === undefined) socket.destroy();
  else socket.resetAndDestroy();
}
