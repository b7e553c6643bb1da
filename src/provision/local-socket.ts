import type { DaemonSettings } from './daemon-json.ts';
import type { Facts } from './facts.ts';

/** Where programs on the host reach its engine; `/var/run` is `/run`. */
const LOCAL_SOCKET = /^(?:unix:\/\/)?\/(?:var\/)?run\/docker\.sock$/;

export type LocalSocket = {
  /** Whether the engine is to listen on its local socket. A user can choose that it does not. */
  readonly isExpected: boolean;
  /** Whether programs on the host can't reach the engine there, although they should. */
  readonly isLost: boolean;
};

/** Judges the engine's local socket, for an engine with these settings. */
export function localSocketOf(
  { hosts }: DaemonSettings,
  { engineService: { isActive, sockets }, localEngine }: Pick<Facts, 'engineService' | 'localEngine'>,
): LocalSocket {
  // Without the facts of a service that does not exist yet, its package's defaults apply.
  const isManaged = sockets === undefined || sockets.some((path) => LOCAL_SOCKET.test(path));
  const isExpected =
    Array.isArray(hosts) &&
    hosts.some((host) => host === 'unix://' || LOCAL_SOCKET.test(String(host)) || (host === 'fd://' && isManaged));
  return { isExpected, isLost: isExpected && isActive && localEngine === 'silent' };
}

/** Returns the variable that tells the script of a step not to wait for the local socket. */
export function localSocketVariable({ isExpected }: LocalSocket): Readonly<Record<string, string>> {
  return isExpected ? {} : { LOCAL_SOCKET: 'none' };
}
