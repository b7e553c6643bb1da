import { join } from 'node:path';
import { findIncludeConflict, readUserFileIfExists, type FileChange, type IncludeLine } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { parseHostNames, readSshConfig } from '../ssh/openssh-files.ts';
import type { ClientPaths, Profile } from './profile.ts';
import {
  keepaliveOptions,
  formatKnownHosts,
  quoteWord,
  escapePercents,
  formatSshConfig,
  type SshOptions,
} from '../ssh/openssh-options.ts';

/**
 * The path of a socket is limited to 103 bytes on some systems. ssh appends `/` and 40 digits to the folder, and a
 * suffix of 17 characters while it creates the socket.
 */
const MAX_FOLDER_LENGTH = 103 - '/'.length - 40 - '.'.length - 16;

/** Adds a host to the user's ssh_config: for `ssh NAME`, git, rsync, editors and DOCKER_HOST=ssh://NAME. */
export const sshConfigProfile: Profile = {
  name: 'ssh-config',
  summary: 'a host in your ssh configuration: ssh NAME',
  async findConflict(name, id, paths) {
    const { config, conf } = sshConfigFilesOf(name, paths);
    const present = await readUserFileIfExists(conf);
    if (present?.startsWith(ownershipHeader(name, id)) === true) return undefined;
    const isUserHost = present === undefined && parseHostNames(await readSshConfig(config)).includes(name);
    if (present === undefined && !isUserHost) return await findIncludeConflict(includeDirective(paths));
    return new SlipwayError(
      'CONTEXT_TAKEN',
      isUserHost
        ? `Host "${name}" already exists in your ${config}, and Slipway's would take precedence over it`
        : `${conf} already exists, and Slipway did not write it for this machine`,
      {
        hint: `Choose another machine name, leave out the profile ssh-config, or remove ${isUserHost ? 'that Host' : 'that file'}`,
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
      // The folder stays as long as it contains sockets of open connections.
      { do: 'prune', path: includeDirective(paths).folder },
    ];
  },
};

/**
 * Returns the first line of Slipway's files. Slipway overwrites only files that begin with it, and users have such
 * files, so this text must not change.
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
  return {
    path: join(ssh, 'config'),
    // The path is absolute: ssh resolves a relative one in the home folder from the user database, which may not be
    // HOME.
    line: `Include ${quoteWord(`${toPattern(folder)}/*${suffix}`)}`,
    alternatives: [`~/.ssh/slipway/*${suffix}`, `slipway/*${suffix}`, join(folder, `*${suffix}`)].flatMap((pattern) => [
      `Include ${pattern}`,
      `Include "${pattern}"`,
    ]),
    folder,
    suffix,
  };
}

/**
 * Returns a pattern for an Include line that matches this path. In place of a character that some version of ssh
 * expands or can't read in quotes, it has `?`, which matches any character.
 */
function toPattern(path: string): string {
  // On Windows, a backslash separates folders, and ssh reads slashes too.
  return (path.startsWith('/') ? path : path.replaceAll('\\', '/')).replaceAll(/[%$"'*?[\]{}\\#]/g, '?');
}

/** Returns the options that make commands within a minute of each other share a connection. */
function connectionSharingOptions({ ssh }: ClientPaths): SshOptions {
  const folder = join(ssh, 'slipway');
  // OpenSSH on Windows does not support connection sharing. Paths there begin with a drive letter.
  if (!folder.startsWith('/') || Buffer.byteLength(folder) > MAX_FOLDER_LENGTH) return [];
  return [
    ['ControlMaster', 'auto'],
    ['ControlPath', quoteWord(`${escapePercents(folder)}/%C`)],
    ['ControlPersist', '60'],
  ];
}
