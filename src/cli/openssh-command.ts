import { runInForeground } from '../computer/child-process.ts';
import { writeFileAtomic } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { contextName } from '../profiles/docker-context.ts';
import { sshFlagsFor, formatKnownHosts, sshOptionsFor, type SshRoute } from '../profiles/ssh-options.ts';
import type { Store } from '../machine/store.ts';
import { requireHost } from './commands/require-machine.ts';

/** The route to a machine, with the keys that its record holds written where OpenSSH reads them. */
export async function prepareSshRoute(name: string, store: Store): Promise<SshRoute> {
  const { ssh: target } = await requireHost(name, store);
  if (!target) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `"${name}" has no SSH: Slipway knows it by its engine's URL only`, {
      hint: `docker --context ${contextName(name)} … works`,
    });
  }
  if (target.hostKey === undefined) {
    throw new SlipwayError('MACHINE_NOT_READY', `"${name}" was not visited yet, so no host key of it is pinned`, {
      hint: `Visit it, which pins its key: slipway provision ${name}`,
    });
  }
  const { knownHosts } = store.paths(name);
  await writeFileAtomic(knownHosts, formatKnownHosts(target), 0o600);
  return { target, knownHosts };
}

export function sshArgv(route: SshRoute, command: readonly string[]): readonly string[] {
  // ssh takes flags behind the address too, and what begins with a word that is none as the command.
  return [...sshFlagsFor(sshOptionsFor(route)), route.target.address, ...command];
}

/** One end of a copy, as the user named it. */
export type PathSpec =
  { readonly machine: string; readonly path: string } | { readonly machine?: never; readonly path: string };

/** As scp reads it: a colon before any slash ends a name. `C:\x` is a drive where no machine has that name. */
export function parsePathSpec(word: string, machines: readonly string[]): PathSpec {
  const [, machine, path] = /^([^:/]+):(.*)$/s.exec(word) ?? [];
  if (machine === undefined || path === undefined) return { path: word };
  return /^[a-z]:[\\/]/i.test(word) && !machines.includes(machine) ? { path: word } : { machine, path };
}

export type ScpCopy = {
  readonly from: PathSpec;
  readonly to: PathSpec;
  /** The machines of both sides, by name. */
  readonly routes: Readonly<Record<string, SshRoute>>;
  readonly flags: readonly string[];
  readonly windows: boolean;
};

/**
 * A copy in scp's words. The protocol is left to the user's scp, so that old ones work too: since 9.0 that is SFTP, in
 * which no shell reads the path on the host. Every openssh-server of Debian and Ubuntu brings the sftp-server for it.
 */
export function scpArgv({ from, to, routes, flags, windows }: ScpCopy, config: string): readonly string[] {
  const all = Object.values(routes);
  const [route] = all;
  // scp has one set of options for both its sides, hence a file in which each machine has its own.
  const options = route !== undefined && all.length === 1 ? sshFlagsFor(sshOptionsFor(route)) : ['-F', config];
  const operand = ({ machine, path }: PathSpec): string => {
    if (machine === undefined) return windows || !/^[^/]*:/.test(path) ? path : `./${path}`;
    const { address } = routes[machine]?.target ?? { address: machine };
    return all.length > 1 ? `${machine}:${path}` : `${address.includes(':') ? `[${address}]` : address}:${path}`;
  };
  const through = from.machine !== undefined && to.machine !== undefined ? ['-3'] : [];
  return [...options, ...through, ...flags, '--', operand(from), operand(to)];
}

export type SshfsMount = {
  readonly machine: string;
  readonly path: string;
  /** An ssh_config in which the machine goes by its name. */
  readonly config: string;
  readonly mountpoint: string;
};

/** Its options are words separated by commas and its commands words separated by spaces, so paths are kept out of both. */
export function sshfsArgv({ machine, path, config, mountpoint }: SshfsMount): readonly string[] {
  return ['-F', config, '-o', 'reconnect', `${machine}:${path}`, mountpoint];
}

/** Runs a program with this terminal and returns its exit status; 128 + n if signal n ended it. */
export async function runInTerminal(program: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  return runInForeground(program, argv, { signal }).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new SlipwayError('DRIVER_UNSUPPORTED', `There is no ${program} program on this computer`, {
      hint: 'Install the OpenSSH client',
      cause: error,
    });
  });
}
