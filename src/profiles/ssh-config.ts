import { join } from 'node:path';
import { readIfThere, type FileChange, type Inclusion } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { hostNames } from '../ssh/openssh-files.ts';
import type { ClientPlaces, Profile } from './profile.ts';
import { keepalive, knownHostsOf, oneWord, percents, sshConfig, type Options } from './ssh-options.ts';

/** How long a socket's path may be on every system, less its end, and what ssh hangs on that while it makes one. */
const LONGEST_FOLDER = 103 - '/'.length - 40 - '.'.length - 16;

/** A Host of the user's own ssh: ssh NAME, and with it git, rsync, editors and DOCKER_HOST=ssh://NAME. */
export const sshConfigProfile: Profile = {
  name: 'ssh-config',
  summary: 'a host of your own ssh: ssh NAME',
  async conflict(name, id, places) {
    const { config, conf } = filesOf(name, places);
    const present = await readIfThere(conf);
    if (present?.startsWith(mark(name, id)) === true) return undefined;
    const theirs = present === undefined && hostNames((await readIfThere(config)) ?? '').includes(name);
    if (present === undefined && !theirs) return undefined;
    return new SlipwayError(
      'CONTEXT_TAKEN',
      theirs
        ? `Your ${config} has a Host "${name}" already, and Slipway’s would stand above it`
        : `There is a ${conf} already, and Slipway did not write it for this machine`,
      {
        hint: `Choose another machine name, leave the profile ssh-config out, or remove ${theirs ? 'that Host' : 'that file'}`,
      },
    );
  },
  add({ machine: { spec, host }, places }) {
    if (!host.ssh) return [];
    const { conf, knownHosts } = filesOf(spec.name, places);
    const route = { target: host.ssh, knownHosts };
    const text = sshConfig({ [spec.name]: route }, [...keepalive, ...sharing(places)]);
    return [
      { do: 'write', path: knownHosts, content: knownHostsOf(host.ssh), mode: 0o600 },
      { do: 'write', path: conf, content: `${mark(spec.name, spec.id)}${text}`, mode: 0o600 },
      { do: 'include', ...inclusion(places) },
    ];
  },
  drop(name, places) {
    const { conf, knownHosts } = filesOf(name, places);
    return [
      ...[conf, knownHosts].map((path): FileChange => ({ do: 'delete', path })),
      { do: 'exclude', ...inclusion(places) },
      // Sockets of connections that are still open may lie in it.
      { do: 'prune', path: inclusion(places).folder },
    ];
  },
};

function mark(name: string, id: string): string {
  return `# Written by Slipway for its machine ${name} (${id}), and written anew with it.\n`;
}

type Files = { readonly config: string; readonly conf: string; readonly knownHosts: string };

function filesOf(name: string, { ssh }: ClientPlaces): Files {
  const folder = join(ssh, 'slipway');
  return {
    config: join(ssh, 'config'),
    conf: join(folder, `${name}.conf`),
    knownHosts: join(folder, `${name}.known_hosts`),
  };
}

function inclusion({ ssh }: ClientPlaces): Inclusion {
  const [folder, ending] = [join(ssh, 'slipway'), '.conf'];
  // Whole: ssh looks for a relative one in the home that the system knows, which is not always HOME.
  return { path: join(ssh, 'config'), line: `Include ${oneWord(join(folder, `*${ending}`))}`, folder, ending };
}

/** One connection for all that is done within a minute. */
function sharing({ ssh }: ClientPlaces): Options {
  const folder = join(ssh, 'slipway');
  // The OpenSSH of Windows, where paths begin with a drive, shares none.
  if (!folder.startsWith('/') || folder.length > LONGEST_FOLDER) return [];
  return [
    ['ControlMaster', 'auto'],
    ['ControlPath', oneWord(`${percents(folder)}/%C`)],
    ['ControlPersist', '60'],
  ];
}
