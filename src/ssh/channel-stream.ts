import { Duplex } from 'node:stream';
import type { ClientChannel } from 'ssh2';

/** Enough for many packets in one turn of the event loop, which a busy computer starts late. */
const BUFFER_BYTES = 512 * 1024;

/**
 * Turns a channel of the SSH library into a stream that behaves as Node's sockets do. The library's own stream never
 * calls back a write that the host did not wait for, ends cleanly when the connection is lost, and keeps up to 2 MB.
 */
export function toDuplex(channel: ClientChannel): Duplex {
  const stream = new Duplex({
    highWaterMark: BUFFER_BYTES,
    read: () => void channel.resume(),
    write: (chunk: Buffer, _encoding, callback) => void channel.write(chunk, callback),
    final(callback) {
      channel.end();
      callback();
    },
    destroy(error, callback) {
      channel.close();
      // Of what still arrives, nothing is kept.
      channel.resume();
      callback(error);
    },
  });
  channel.on('data', (chunk: Buffer) => {
    if (!stream.destroyed && !stream.push(chunk)) channel.pause();
  });
  channel.on('end', () => {
    if (!stream.destroyed) stream.push(null);
  });
  // The host wants nothing more either: what was sent to it and not read is lost, as with a socket.
  channel.on('close', () => {
    if (stream.readableEnded) stream.destroy();
    else stream.once('end', () => stream.destroy());
  });
  // EPIPE, if the host closed the channel first.
  channel.on('error', () => {});
  return stream;
}
