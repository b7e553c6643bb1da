import { knownHostsLine } from '../ssh/host-key.ts';
import type { SshTarget } from '../machine/model.ts';

/** How the user's own OpenSSH programs get to a machine; `knownHosts` is a file with the pinned keys and no others. */
export type Route = { readonly target: SshTarget; readonly knownHosts: string };

/** The pinned keys of a machine and of the host before it, as a known_hosts file. */
export function knownHostsOf(target: SshTarget): string {
  return knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : '');
}

/** A connection that is silent for 45 seconds is gone, and is not waited for. */
export const keepalive: Options = [
  ['ServerAliveInterval', '15'],
  ['ServerAliveCountMax', '3'],
];

export type Options = readonly (readonly [name: string, value: string])[];

/** In the syntax of ssh_config, which both its files and `-o` take. No host key is read but ours, and nothing is asked. */
export function optionsOf({ target, knownHosts }: Route): Options {
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

export function flagsOf(options: Options): readonly string[] {
  return options.flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** An ssh_config in which machines go by their names. */
export function sshConfig(routes: Readonly<Record<string, Route>>, more: Options = []): string {
  return Object.entries(routes)
    .map(([name, route]) =>
      [
        `Host ${name}`,
        ...[['HostName', percents(route.target.address)] as const, ...optionsOf(route), ...more].map(
          ([option, value]) => `  ${option} ${value}`,
        ),
        '',
      ].join('\n'),
    )
    .join('');
}

/** A value of ssh_config that is one word, and in which % means itself. */
export function quoted(text: string): string {
  return oneWord(percents(text));
}

/** The same of a text in which % begins a token of ssh's own. */
export function oneWord(word: string): string {
  return /^[\w@%+=:,./\\~*-]+$/.test(word) ? word : `"${word.replaceAll('"', String.raw`\"`)}"`;
}

export function percents(text: string): string {
  return text.replaceAll('%', '%%');
}

/** ssh gives a ProxyCommand to the user's shell, after its own % expansion. */
function shellWord(word: string): string {
  const escaped = word === '[%h]:%p' ? word : percents(word);
  return /^[\w@+=:,./-]+$/.test(escaped) ? escaped : `'${escaped.replaceAll("'", String.raw`'\''`)}'`;
}
