import { knownHostsLine } from './host-key.ts';
import type { SshTarget } from '../machine/model.ts';
import { quote, quoteWindowsWord } from './shell.ts';

/** How the user's own OpenSSH programs connect to a machine. */
export type SshRoute = {
  readonly target: SshTarget;
  /** A file with only the pinned keys. */
  readonly knownHosts: string;
  /** More arguments for the `ssh` that connects to the jump host. */
  readonly jumpArguments?: readonly string[];
};

/** Returns the pinned keys of a machine and of its jump host as a known_hosts file. */
export function formatKnownHosts(target: SshTarget): string {
  return knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : '');
}

/** Options that close a connection after 45 seconds of silence. */
export const keepaliveOptions: SshOptions = [
  ['ServerAliveInterval', '15'],
  ['ServerAliveCountMax', '3'],
];

export type SshOptions = readonly (readonly [name: string, value: string])[];

/**
 * Returns options in the syntax of ssh_config, for files and for `-o`. With them, ssh accepts only the pinned host
 * keys, and never asks to confirm one.
 */
export function sshOptionsFor({ target, knownHosts, jumpArguments = [] }: SshRoute): SshOptions {
  const { jump } = target;
  const strict: SshOptions = [
    ['UserKnownHostsFile', quoteLiteral(knownHosts)],
    ['GlobalKnownHostsFile', 'none'],
    ['StrictHostKeyChecking', 'yes'],
    ['LogLevel', 'ERROR'],
    ...(target.keyFile === undefined
      ? [] // Without IdentitiesOnly, an agent with many keys uses up the server's attempts before ssh tries this key.
      : [['IdentityFile', quoteLiteral(target.keyFile)] as const, ['IdentitiesOnly', 'yes'] as const]),
  ];
  const hop = ({ port, user }: { readonly port: number; readonly user: string }): SshOptions => [
    ['Port', String(port)],
    ['User', quoteLiteral(user)],
  ];
  // With ProxyJump, ssh would look for the jump host's key in the user's files. This command reads it from
  // `knownHosts`.
  const proxy: SshOptions = jump
    ? [
        [
          'ProxyCommand',
          formatProxyCommand(
            [...jumpArguments, ...sshFlagsFor([...strict, ...hop(jump)]), '-W', '[%h]:%p', jump.address],
            isWindowsPath(knownHosts),
          ),
        ],
      ]
    : [];
  return [...strict, ...proxy, ...hop(target)];
}

export function sshFlagsFor(options: SshOptions): readonly string[] {
  return options.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** Returns an ssh_config with a Host for each machine name. */
export function formatSshConfig(routes: Readonly<Record<string, SshRoute>>, more: SshOptions = []): string {
  return Object.entries(routes)
    .map(([name, route]) =>
      [
        `Host ${name}`,
        ...[['HostName', escapePercents(route.target.address)] as const, ...sshOptionsFor(route), ...more].map(
          ([option, value]) => `  ${option} ${value}`,
        ),
        '',
      ].join('\n'),
    )
    .join('');
}

/** Quotes one word for ssh_config, with % as a literal character. */
export function quoteLiteral(text: string): string {
  return quoteWord(escapePercents(text));
}

/**
 * Quotes one word for ssh_config, in which % begins one of ssh's tokens. A path of Windows gets slashes, which all its
 * programs accept: newer versions of ssh, and the shell of Git's ssh, read a backslash as an escape.
 */
export function quoteWord(word: string): string {
  const text = isWindowsPath(word) ? word.replaceAll('\\', '/') : word;
  return /^[\w@%+=:,./\\~*-]+$/.test(text) ? text : `"${text.replaceAll('"', String.raw`\"`)}"`;
}

/** Returns whether this is an absolute path of Windows, with a drive letter or a server. */
function isWindowsPath(path: string): boolean {
  return /^(?:[a-z]:[\\/]|\\\\)/i.test(path);
}

export function escapePercents(text: string): string {
  return text.replaceAll('%', '%%');
}

/**
 * Returns a ProxyCommand, which ssh passes to the user's shell after expanding % tokens. Windows' own ssh starts the
 * program without a shell, so that the words need the quotes of Windows, which a POSIX shell (Git's ssh uses one) reads
 * alike as long as there is no backslash in a path.
 */
function formatProxyCommand(argv: readonly string[], isWindows: boolean): string {
  const quoteText = isWindows ? quoteWindowsWord : quote;
  const words = argv.map((word) => {
    const escaped = word === '[%h]:%p' ? word : escapePercents(word);
    return /^[\w@+=:,./-]+$/.test(escaped) ? escaped : quoteText(escaped);
  });
  return [isWindows ? 'ssh.exe' : 'ssh', ...words].join(' ');
}
