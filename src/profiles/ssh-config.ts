import { join } from 'node:path';
import { readFileIfExists, type FileChange, type IncludeLine } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { parseHostNames } from '../ssh/openssh-files.ts';
import type { ClientPaths, Profile } from './profile.ts';
import {
  keepaliveOptions,
  formatKnownHosts,
  quoteWord,
  escapePercents,
  formatSshConfig,
  type SshOptions,
} from './ssh-options.ts';

/**
 * A socket's path has at most 103 characters on every system. ssh adds `/`, 40 digits, and a suffix while it creates
 * the socket.
 */
const MAX_FOLDER_LENGTH = 103 - '/'.length - 40 - '.'.length - 16;

/** Writes a Host for the user's own ssh: `ssh NAME`, and with it git, rsync, editors and DOCKER_HOST=ssh://NAME. */
export const sshConfigProfile: Profile = {
  name: 'ssh-config',
  summary: 'a host of your own ssh: ssh NAME',
  async findConflict(name, id, paths) {
    const { config, conf } = sshConfigFilesOf(name, paths);
    const present = await readFileIfExists(conf);
    if (present?.startsWith(ownershipHeader(name, id)) === true) return undefined;
    const isUsers = present === undefined && parseHostNames((await readFileIfExists(config)) ?? '').includes(name);
    if (present === undefined && !isUsers) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      isUsers
        ? `Host "${name}" already exists in your ${config}, and Slipway's would take precedence over it`
        : `${conf} already exists, and Slipway did not write it for this machine`,
      {
        hint: `Choose another machine name, leave out the profile ssh-config, or remove ${isUsers ? 'that Host' : 'that file'}`,
      },
    );
  },
  changesToAdd({ machine: { spec, host }, clientPaths }) {
    if (!host.ssh) return [];
    const { conf, knownHosts } = sshConfigFilesOf(spec.name, clientPaths);
    const route = { target: host.ssh, knownHosts };
    const text = formatSshConfig({ [spec.name]: route }, [
      ...keepaliveOptions,
      ...connectionSharingOptions(clientPaths),
    ]);
    return [
      { do: 'write', path: knownHosts, content: formatKnownHosts(host.ssh), mode: 0o600 },
      { do: 'write', path: conf, content: `${ownershipHeader(spec.name, spec.id)}${text}`, mode: 0o600 },
      { do: 'include', ...includeDirective(clientPaths) },
    ];
  },
  changesToRemove(name, paths) {
    const { conf, knownHosts } = sshConfigFilesOf(name, paths);
    return [
      ...[conf, knownHosts].map((path): FileChange => ({ do: 'delete', path })),
      { do: 'exclude', ...includeDirective(paths) },
      // The folder stays while it holds sockets of open connections.
      { do: 'prune', path: includeDirective(paths).folder },
    ];
  },
};

/**
 * Recognizes Slipway's files on users' computers: a file that begins with another line is not overwritten, so this line
 * stays.
 */
function ownershipHeader(name: string, id: string): string {
  return `# Written by Slipway for its machine ${name} (${id}), and written anew with it.\n`;
}

type SshConfigFiles = { readonly config: string; readonly conf: string; readonly knownHosts: string };

function sshConfigFilesOf(name: string, { ssh }: ClientPaths): SshConfigFiles {
  const folder = join(ssh, 'slipway');
  return {
    config: join(ssh, 'config'),
    conf: join(folder, `${name}.conf`),
    knownHosts: join(folder, `${name}.known_hosts`),
  };
}

function includeDirective({ ssh }: ClientPaths): IncludeLine {
  const [folder, suffix] = [join(ssh, 'slipway'), '.conf'];
  // An absolute path: ssh looks for a relative one in the home that the system knows, which is not always HOME.
  return { path: join(ssh, 'config'), line: `Include ${quoteWord(join(folder, `*${suffix}`))}`, folder, suffix };
}

/** Returns the options that let all commands within a minute share one connection. */
function connectionSharingOptions({ ssh }: ClientPaths): SshOptions {
  const folder = join(ssh, 'slipway');
  // OpenSSH on Windows, where paths begin with a drive, does not share connections.
  if (!folder.startsWith('/') || folder.length > MAX_FOLDER_LENGTH) return [];
  return [
    ['ControlMaster', 'auto'],
    ['ControlPath', quoteWord(`${escapePercents(folder)}/%C`)],
    ['ControlPersist', '60'],
  ];
}
