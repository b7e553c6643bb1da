import { writeFileAtomic } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import type { SshHop } from '../machine/model.ts';
import type { Store } from '../machine/store.ts';
import { requireHost } from '../machine/require-machine.ts';
import { contextName } from '../profiles/docker-context.ts';
import { hostKeyRefusedError } from '../ssh/connection-errors.ts';
import { sshFlagsFor, formatKnownHosts, sshOptionsFor, type SshRoute } from '../ssh/openssh-options.ts';
import { findKnownKeys } from '../ssh/user-known-hosts.ts';

/**
 * Returns the route to a machine, and writes the host key that its record pins to the file that OpenSSH reads. Throws
 * DRIVER_UNSUPPORTED if the machine has no SSH, MACHINE_NOT_READY if no host key is pinned yet, and HOST_KEY if the
 * user's known_hosts has revoked it: OpenSSH reads only the file that is written here.
 */
export async function prepareSshRoute(
  name: string,
  { store, userHome }: { readonly store: Store; readonly userHome: string },
): Promise<SshRoute> {
  const { ssh: target } = await requireHost(name, store);
  if (!target) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `Machine "${name}" has no SSH: only the URL of its engine is known`, {
      hint: `Use the engine: docker --context ${contextName(name)} ps`,
    });
  }
  if (target.hostKey === undefined) {
    throw new SlipwayError('MACHINE_NOT_READY', `No SSH host key is pinned for machine "${name}" yet`, {
      hint: `To connect and pin it: slipway provision ${name}`,
    });
  }
  for (const hop of [target, target.jump]) if (hop) await requireKeyNotRevoked(hop, userHome);
  const { knownHosts } = store.paths(name);
  await writeFileAtomic(knownHosts, formatKnownHosts(target), 0o600);
  return { target, knownHosts };
}

async function requireKeyNotRevoked(hop: SshHop, userHome: string): Promise<void> {
  const { revoked } = await findKnownKeys(hop, userHome);
  if (hop.hostKey === undefined || !revoked.includes(hop.hostKey)) return;
  throw hostKeyRefusedError(hop, hop.hostKey, { verdict: 'refused', wanted: [] });
}

/** Returns the arguments of `ssh` that run a command on the machine, or open a shell if the command is empty. */
export function sshArgv(route: SshRoute, command: readonly string[]): readonly string[] {
  // ssh also accepts flags after the address. The command begins with the first word that is not a flag.
  return [...sshFlagsFor(sshOptionsFor(route)), route.target.address, ...command];
}

/** The source or target of a copy: a path on a machine, or a local path. */
export type PathSpec =
  { readonly machine: string; readonly path: string } | { readonly machine?: never; readonly path: string };

/**
 * Parses the source or target of a copy as scp does: a colon before any slash ends a machine's name. `C:\x` is local
 * unless a machine is named C.
 */
export function parsePathSpec(word: string, machines: readonly string[]): PathSpec {
  const [, machine, path] = /^([^:/]+):(.*)$/s.exec(word) ?? [];
  if (machine === undefined || path === undefined) return { path: word };
  return /^[a-z]:[\\/]/i.test(word) && !machines.includes(machine) ? { path: word } : { machine, path };
}

export type ScpTransfer = {
  readonly from: PathSpec;
  readonly to: PathSpec;
  /** The routes to the machines that are source or target, by name. */
  readonly routes: Readonly<Record<string, SshRoute>>;
  readonly flags: readonly string[];
  readonly windows: boolean;
};

/**
 * Returns the arguments of `scp`. The user's scp chooses the protocol, so that old versions work too: since 9.0 it is
 * SFTP, in which no shell reads the path on the host. Every openssh-server of Debian and Ubuntu includes the
 * sftp-server for it.
 */
export function scpArgv({ from, to, routes, flags, windows }: ScpTransfer, config: string): readonly string[] {
  const machineRoutes = Object.values(routes);
  const [route] = machineRoutes;
  const hasOneMachine = route !== undefined && machineRoutes.length === 1;
  // scp applies its options to both machines, so for two machines a file sets each one's own options.
  const options = hasOneMachine ? sshFlagsFor(sshOptionsFor(route)) : ['-F', config];
  const operand = ({ machine, path }: PathSpec): string => {
    if (machine === undefined) return windows || !/^[^/]*:/.test(path) ? path : `./${path}`;
    const { address } = routes[machine]?.target ?? { address: machine };
    if (machineRoutes.length > 1) return `${machine}:${path}`;
    return `${address.includes(':') ? `[${address}]` : address}:${path}`;
  };
  const viaThisComputer = from.machine !== undefined && to.machine !== undefined ? ['-3'] : [];
  return [...options, ...viaThisComputer, ...flags, '--', operand(from), operand(to)];
}

export type SshfsMount = {
  readonly machine: string;
  readonly path: string;
  /** An ssh_config file whose host has the machine's name. */
  readonly config: string;
  readonly mountpoint: string;
};

/**
 * Returns the arguments of `sshfs`. It splits options at commas and commands at spaces, so no path is part of either.
 */
export function sshfsArgv({ machine, path, config, mountpoint }: SshfsMount): readonly string[] {
  return ['-F', config, '-o', 'reconnect', `${machine}:${path}`, mountpoint];
}
