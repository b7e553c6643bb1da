import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ClientCertificates, Endpoint } from '../machine/model.ts';

const CONNECT_MS = 10_000;
/** Finds a connection that the network has lost while it only waits, as `docker logs --follow` does. */
const KEEPALIVE_MS = 15_000;

/** Connects to an engine. Each side of the connection ends by itself, which `docker attach` and BuildKit need. */
export function connectEngine({ url }: Endpoint, tls: ClientCertificates | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = openSocket(url, tls);
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), CONNECT_MS);
    socket.once('error', reject).once('close', () => {
      clearTimeout(timer);
      reject(new Error('it closed the connection'));
    });
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      clearTimeout(timer);
      socket.removeListener('error', reject).on('error', () => {});
      socket.setNoDelay(true).setKeepAlive(true, KEEPALIVE_MS);
      resolve(socket);
    });
  });
}

function openSocket(url: string, tls: ClientCertificates | undefined): Socket {
  if (url.startsWith('unix:')) return connect({ path: url.replace(/^unix:(\/\/)?/, ''), allowHalfOpen: true });
  const { hostname, port } = new URL(url.replace(/^tcp:/, 'http:'));
  const where = {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (tls ? 2376 : 2375)),
    allowHalfOpen: true,
  };
  return tls === undefined ? connect(where) : connectTls({ ...where, ...tls });
}
