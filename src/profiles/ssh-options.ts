import { knownHostsLine } from '../ssh/host-key.ts';
import type { SshTarget } from '../machine/model.ts';

/** How the user's own OpenSSH programs get to a machine; `knownHosts` is a file with the pinned keys and no others. */
export type SshRoute = { readonly target: SshTarget; readonly knownHosts: string };

/** The pinned keys of a machine and of the host before it, as a known_hosts file. */
export function formatKnownHosts(target: SshTarget): string {
  return knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : '');
}

/** A connection that is silent for 45 seconds is gone, and is not waited for. */
export const keepaliveOptions: SshOptions = [
  ['ServerAliveInterval', '15'],
  ['ServerAliveCountMax', '3'],
];

export type SshOptions = readonly (readonly [name: string, value: string])[];

/** In the syntax of ssh_config, which both its files and `-o` take. No host key is read but ours, and nothing is asked. */
export function sshOptionsFor({ target, knownHosts }: SshRoute): SshOptions {
  const { jump } = target;
  const strict: SshOptions = [
    ['UserKnownHostsFile', quoteLiteral(knownHosts)],
    ['GlobalKnownHostsFile', 'none'],
    ['StrictHostKeyChecking', 'yes'],
    ['LogLevel', 'ERROR'],
    ...(target.keyFile === undefined
      ? [] // An agent with many keys would use the server's patience up before this one is tried.
      : [['IdentityFile', quoteLiteral(target.keyFile)] as const, ['IdentitiesOnly', 'yes'] as const]),
  ];
  const hop = ({ port, user }: { readonly port: number; readonly user: string }): SshOptions => [
    ['Port', String(port)],
    ['User', quoteLiteral(user)],
  ];
  // ProxyJump would read the jump host's key from the user's files; a command of our own reads ours.
  const proxy: SshOptions = jump
    ? [
        [
          'ProxyCommand',
          `ssh ${[...sshFlagsFor([...strict, ...hop(jump)]), '-W', '[%h]:%p', jump.address].map(quoteShellWord).join(' ')}`,
        ],
      ]
    : [];
  return [...strict, ...proxy, ...hop(target)];
}

export function sshFlagsFor(options: SshOptions): readonly string[] {
  return options.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** An ssh_config in which machines go by their names. */
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

/** A value of ssh_config that is one word, and in which % means itself. */
export function quoteLiteral(text: string): string {
  return quoteWord(escapePercents(text));
}

/** The same of a text in which % begins a token of ssh's own. */
export function quoteWord(word: string): string {
  return /^[\w@%+=:,./\\~*-]+$/.test(word) ? word : `"${word.replaceAll('"', String.raw`\"`)}"`;
}

export function escapePercents(text: string): string {
  return text.replaceAll('%', '%%');
}

/** ssh gives a ProxyCommand to the user's shell, after its own % expansion. */
function quoteShellWord(word: string): string {
  const escaped = word === '[%h]:%p' ? word : escapePercents(word);
  return /^[\w@+=:,./-]+$/.test(escaped) ? escaped : `'${escaped.replaceAll("'", String.raw`'\''`)}'`;
}
