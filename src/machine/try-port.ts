import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { findPortUser, type PortCall } from '../computer/port-user.ts';
import { reasonOf, systemCode } from '../errors.ts';
import type { Forward, PortRefusal } from './forward.ts';

type ListenPort = Pick<Forward, 'protocol' | 'listen'>;

/** Opens a port of this computer for a moment. Returns why that is not possible, or undefined. */
export async function tryPort(port: ListenPort, call: PortCall): Promise<PortRefusal | undefined> {
  try {
    await (port.protocol === 'tcp' ? openTcpPort(port.listen) : openUdpPort(port.listen));
    return undefined;
  } catch (error) {
    return await toPortRefusal(port, error, call);
  }
}

/** Explains the error with which a port could not be opened. */
export async function toPortRefusal(
  { protocol, listen }: ListenPort,
  error: unknown,
  call: PortCall,
): Promise<PortRefusal> {
  const code = systemCode(error);
  if (code === 'EADDRINUSE') {
    const user = await findPortUser({ protocol, port: listen.port }, call);
    return { reason: 'taken', ...(user === undefined ? {} : { user }) };
  }
  // Windows answers like this for ports that Hyper-V has reserved, which an administrator can't open either.
  if (code === 'EACCES' && listen.port < 1024) return { reason: 'privileged' };
  return { reason: 'refused', detail: reasonOf(error) };
}

function openTcpPort({ address, port }: Forward['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function openUdpPort({ address, port }: Forward['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', reject);
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve()));
  });
}
