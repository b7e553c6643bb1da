import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/** The first line that sshd sends. */
export const SSHD_GREETING = 'SSH-2.0-OpenSSH_9.6\r\n';

/** Starts a server that sends these bytes and closes the connection: at once, or after the client's first bytes. */
export async function startClosingServer(
  greeting: string,
  closesAfterData: boolean,
): Promise<AsyncDisposable & { port: number }> {
  const server = createServer((socket) => {
    socket.on('error', () => {}).write(greeting);
    if (closesAfterData) socket.once('data', () => setTimeout(() => socket.end(), 100));
    else socket.end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}
