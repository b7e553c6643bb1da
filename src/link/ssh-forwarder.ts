import type { PortCall } from '../computer/port-user.ts';
import { type Forward, type Forwarder, forwardKey, type PortRefusal } from '../machine/forward.ts';
import type { LinkConnection } from './link-connection.ts';
import { isPortRefusal } from './open-port.ts';
import { type OpenForward, openTcpForward } from './tcp-forward.ts';
import { openUdpForward } from './udp-forward.ts';
import { createUdpRelay, type UdpRelay } from './udp-relay.ts';

export type SshForwarderOptions = Pick<LinkConnection, 'session'> & PortCall;

/** Forwards ports of this computer over one SSH connection. The ports stay open while the connection is away. */
export function createSshForwarder(options: SshForwarderOptions): Forwarder & AsyncDisposable {
  const relay = createUdpRelay(options);
  const forwards = new Map<string, OpenForward>();
  // One change at a time, so that a port which is being closed is not taken for one that is open.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(change: () => Promise<T>): Promise<T> => {
    const result = last.then(change);
    last = result.catch(() => {});
    return result;
  };
  const add = async (forward: Forward): Promise<PortRefusal | undefined> => {
    if (forwards.has(forwardKey(forward))) return undefined;
    const opened = await openForward(forward, options, relay);
    if (isPortRefusal(opened)) return opened;
    forwards.set(forwardKey(forward), opened);
    return undefined;
  };
  const remove = async (key: string): Promise<void> => {
    await forwards.get(key)?.close();
    forwards.delete(key);
  };
  return {
    list: async () => [...forwards.values()].map(({ forward }) => forward),
    add: (forward) => inTurn(() => add(forward)),
    remove: (forward) => inTurn(() => remove(forwardKey(forward))),
    [Symbol.asyncDispose]: () =>
      inTurn(async () => {
        for (const key of forwards.keys()) await remove(key);
        relay.close();
      }),
  };
}

async function openForward(
  forward: Forward,
  options: SshForwarderOptions,
  relay: UdpRelay,
): Promise<OpenForward | PortRefusal> {
  if (forward.protocol === 'tcp') return await openTcpForward(forward, options);
  return await openUdpForward(forward, { ...options, relay });
}
