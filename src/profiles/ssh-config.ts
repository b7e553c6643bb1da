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

/** How long a socket's path may be on every system, less its end, and what ssh hangs on that while it makes one. */
const MAX_FOLDER_LENGTH = 103 - '/'.length - 40 - '.'.length - 16;

/** A Host of the user's own ssh: ssh NAME, and with it git, rsync, editors and DOCKER_HOST=ssh://NAME. */
export const sshConfigProfile: Profile = {
  name: 'ssh-config',
  summary: 'a host of your own ssh: ssh NAME',
  async findConflict(name, id, places) {
    const { config, conf } = sshConfigFilesOf(name, places);
    const present = await readFileIfExists(conf);
    if (present?.startsWith(ownershipHeader(name, id)) === true) return undefined;
    const theirs = present === undefined && parseHostNames((await readFileIfExists(config)) ?? '').includes(name);
    if (present === undefined && !theirs) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      theirs
        ? `Your ${config} has a Host "${name}" already, and Slipway's would stand above it`
        : `There is a ${conf} already, and Slipway did not write it for this machine`,
      {
        hint: `Choose another machine name, leave the profile ssh-config out, or remove ${theirs ? 'that Host' : 'that file'}`,
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
  changesToRemove(name, places) {
    const { conf, knownHosts } = sshConfigFilesOf(name, places);
    return [
      ...[conf, knownHosts].map((path): FileChange => ({ do: 'delete', path })),
      { do: 'exclude', ...includeDirective(places) },
      // Sockets of connections that are still open may lie in it.
      { do: 'prune', path: includeDirective(places).folder },
    ];
  },
};

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
  // Whole: ssh looks for a relative one in the home that the system knows, which is not always HOME.
  return { path: join(ssh, 'config'), line: `Include ${quoteWord(join(folder, `*${suffix}`))}`, folder, suffix };
}

/** One connection for all that is done within a minute. */
function connectionSharingOptions({ ssh }: ClientPaths): SshOptions {
  const folder = join(ssh, 'slipway');
  // The OpenSSH of Windows, where paths begin with a drive, shares none.
  if (!folder.startsWith('/') || folder.length > MAX_FOLDER_LENGTH) return [];
  return [
    ['ControlMaster', 'auto'],
    ['ControlPath', quoteWord(`${escapePercents(folder)}/%C`)],
    ['ControlPersist', '60'],
  ];
}
