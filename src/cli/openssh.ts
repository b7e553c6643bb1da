import { spawn } from 'node:child_process';
import { writeWhole } from '../changes.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import { knownHostsLine } from '../host-key.ts';
import type { SshTarget } from '../machine.ts';
import { contextName } from '../provision/profiles/docker-context.ts';
import type { Store } from '../store.ts';
import { hostOf } from './commands/ready.ts';

/** How the user's own OpenSSH programs get to a machine; `knownHosts` is a file with the pinned keys and no others. */
export type Route = { readonly target: SshTarget; readonly knownHosts: string };

/** The route to a machine, with the keys that its record holds written where OpenSSH reads them. */
export async function routeTo(name: string, store: Store): Promise<Route> {
  const { ssh: target } = await hostOf(name, store);
  if (!target) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `"${name}" has no SSH: Slipway knows it by its engine’s URL only`, {
      hint: `docker --context ${contextName(name)} … works`,
    });
  }
  const { knownHosts } = store.paths(name);
  await writeWhole(knownHosts, knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : ''), 0o600);
  return { target, knownHosts };
}

type Options = readonly (readonly [name: string, value: string])[];

/** In the syntax of ssh_config, which both its files and `-o` take. No host key is read but ours, and nothing is asked. */
function optionsOf({ target, knownHosts }: Route): Options {
  const { jump } = target;
  const strict: Options = [
    ['UserKnownHostsFile', quoted(knownHosts)],
    ['GlobalKnownHostsFile', 'none'],
    ['StrictHostKeyChecking', 'yes'],
    ['LogLevel', 'ERROR'],
    ...(target.keyFile === undefined
      ? [] // An agent with many keys would use the server's patience up before this one is tried.
      : [['IdentityFile', quoted(target.keyFile)] as const, ['IdentitiesOnly', 'yes'] as const]),
  ];
  const hop = ({ port, user }: { readonly port: number; readonly user: string }): Options => [
    ['Port', String(port)],
    ['User', quoted(user)],
  ];
  // ProxyJump would read the jump host's key from the user's files; a command of our own reads ours.
  const proxy: Options = jump
    ? [
        [
          'ProxyCommand',
          `ssh ${[...flagsOf([...strict, ...hop(jump)]), '-W', '[%h]:%p', jump.address].map(shellWord).join(' ')}`,
        ],
      ]
    : [];
  return [...strict, ...proxy, ...hop(target)];
}

function flagsOf(options: Options): readonly string[] {
  return options.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

export function sshArgv(route: Route, command: readonly string[]): readonly string[] {
  // Everything before a word that is no flag belongs to ssh itself.
  const flags = command[0]?.startsWith('-') === true ? command : [];
  const remote = flags.length > 0 ? [] : command;
  return [...flagsOf(optionsOf(route)), ...flags, route.target.address, ...remote];
}

/** One end of a copy, as the user named it. */
export type Side =
  { readonly machine: string; readonly path: string } | { readonly machine?: never; readonly path: string };

/** As scp reads it: a colon before any slash ends a name. `C:\x` is a drive where no machine has that name. */
export function sideOf(word: string, machines: readonly string[]): Side {
  const [, machine, path] = /^([^:/]+):(.*)$/s.exec(word) ?? [];
  if (machine === undefined || path === undefined) return { path: word };
  return /^[a-z]:[\\/]/i.test(word) && !machines.includes(machine) ? { path: word } : { machine, path };
}

export type Copy = {
  readonly from: Side;
  readonly to: Side;
  /** The machines of both sides, by name. */
  readonly routes: Readonly<Record<string, Route>>;
  readonly flags: readonly string[];
  readonly windows: boolean;
};

/**
 * A copy in scp's words. The protocol is left to the user's scp, so that old ones work too: since 9.0 that is SFTP, in
 * which no shell reads the path on the host. Every openssh-server of Debian and Ubuntu brings the sftp-server for it.
 */
export function scpArgv({ from, to, routes, flags, windows }: Copy, config: string): readonly string[] {
  const all = Object.values(routes);
  const [route] = all;
  // scp has one set of options for both its sides, hence a file in which each machine has its own.
  const options = route !== undefined && all.length === 1 ? flagsOf(optionsOf(route)) : ['-F', config];
  const operand = ({ machine, path }: Side): string => {
    if (machine === undefined) return windows || !/^[^/]*:/.test(path) ? path : `./${path}`;
    const { address } = routes[machine]?.target ?? { address: machine };
    return all.length > 1 ? `${machine}:${path}` : `${address.includes(':') ? `[${address}]` : address}:${path}`;
  };
  const through = from.machine !== undefined && to.machine !== undefined ? ['-3'] : [];
  return [...options, ...through, ...flags, '--', operand(from), operand(to)];
}

/** An ssh_config in which machines go by their names. */
export function sshConfig(routes: Readonly<Record<string, Route>>): string {
  return Object.entries(routes)
    .map(([name, route]) =>
      [
        `Host ${name}`,
        ...[['HostName', percents(route.target.address)] as const, ...optionsOf(route)].map(
          ([option, value]) => `  ${option} ${value}`,
        ),
        '',
      ].join('\n'),
    )
    .join('');
}

/** A value of ssh_config that is one word, and in which % means itself. */
function quoted(text: string): string {
  const word = percents(text);
  return /^[\w@%+=:,./\\~-]+$/.test(word) ? word : `"${word.replaceAll('"', String.raw`\"`)}"`;
}

function percents(text: string): string {
  return text.replaceAll('%', '%%');
}

/** ssh gives a ProxyCommand to the user's shell, after its own % expansion. */
function shellWord(word: string): string {
  const escaped = word === '[%h]:%p' ? word : percents(word);
  return /^[\w@+=:,./-]+$/.test(escaped) ? escaped : `'${escaped.replaceAll("'", String.raw`'\''`)}'`;
}

/** Runs a program on this terminal; 128 + n for a death by signal, as shells have it. */
export function attached(program: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, { stdio: 'inherit' });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    child.once('error', (error) => {
      if (systemCode(error) !== 'ENOENT') return reject(error);
      reject(
        new SlipwayError('DRIVER_UNSUPPORTED', `There is no ${program} program on this computer`, {
          hint: 'Install the OpenSSH client',
          cause: error,
        }),
      );
    });
    child.once('close', (code, name) => resolve(code ?? (name === 'SIGINT' ? 130 : 143)));
  });
}
