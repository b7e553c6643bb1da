/*
 * A forward makes one port of a machine reachable on this computer. There are two ways: QEMU forwards ports of a local
 * VM itself, and SSH forwards those of any machine. Both are a `Forwarder`; the link decides which one to use.
 */

export type PortAddress = { readonly address: string; readonly port: number };

export type Forward = {
  readonly protocol: 'tcp' | 'udp';
  /** Where this computer listens: an IPv4 or IPv6 address, without brackets. */
  readonly listen: PortAddress;
  /**
   * What it connects to, as the machine sees it: `127.0.0.1` is the machine itself. `0.0.0.0` is a port that the
   * machine opens on all its addresses, so that a forwarder may connect to any of them.
   */
  readonly target: PortAddress;
};

/** Why a port of this computer could not be opened. */
export type PortRefusal =
  /** Another program uses it. `user` names the program where the system tells: `postgres (pid 812)`. */
  | { readonly reason: 'taken'; readonly user?: string }
  /** Only an administrator may open it. */
  | { readonly reason: 'privileged' }
  /** `detail`: the words of the system or of QEMU. */
  | { readonly reason: 'refused'; readonly detail: string };

export type Forwarder = {
  /** Lists all forwards that exist now, also those that an earlier process added. */
  readonly list: () => Promise<readonly Forward[]>;
  /** Adds a forward, and returns why that is not possible, or undefined. */
  readonly add: (forward: Forward) => Promise<PortRefusal | undefined>;
  /** Removes a forward and ends its connections. Succeeds if there is none. */
  readonly remove: (forward: Forward) => Promise<void>;
};

/** Returns whether an address is a loopback address; IPv6 sockets show those of IPv4 as `::ffff:127.0.0.1`. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./i.test(address);
}

/** Returns a key that is equal for equal forwards. */
export function forwardKey({ protocol, listen, target }: Forward): string {
  return [protocol, listen.address, listen.port, target.address, target.port].join(' ');
}
