import { SlipwayError } from '../errors.ts';
import { formatAssignments, sh } from '../ssh/shell.ts';
import type { SshSession } from '../ssh/connection.ts';

/** How commands on this host become root. */
export type Become = 'root' | 'sudo' | 'password';

/** What a host is and has, gathered in one round trip by the script of `facts-script.ts`. */
export type Facts = {
  readonly become: Become;
  /** Differs from one boot to the next. */
  readonly bootId: string;
  readonly os: {
    readonly id: string;
    readonly idLike: readonly string[];
    readonly codename: string;
    readonly version: string;
    readonly name: string;
  };
  readonly arch: string;
  /** The host's first process, as the part of its service manager in the script calls it; undefined where no part knows it. */
  readonly serviceManager: string | undefined;
  /** Likewise, by the part of a distribution. */
  readonly packageManager: string | undefined;
  /** Path of the dockerd on the host. */
  readonly dockerd: string | undefined;
  /** The engine's packages, its client, plugins and containerd among them. The state is a word of the host's package manager. */
  readonly packages: Readonly<Record<string, { readonly state: string; readonly version: string }>>;
  readonly engineService: {
    readonly isActive: boolean;
    /** True where the engine starts with the host. */
    readonly isEnabled: boolean;
    /** The text that defines the service, in the format of the service manager; '' where there is no such service. */
    readonly definition: string;
  };
  /** Without what is in it only while the engine restarts. */
  readonly daemonJson: string | undefined;
  readonly slipwayState: string | undefined;
  /** Our files changed and the engine has not read them yet: a run was killed in between. */
  readonly restartPending: boolean;
  /** The timers of its life were being changed, and were not all started: likewise. */
  readonly lifetimePending: boolean;
  /** Of the files that are ours: what is in them and who may read them. */
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly mode: string; readonly owner: string }>>;
  /** Free KiB by mount point. */
  readonly freeKib: Readonly<Record<string, number>>;
  /** Seconds since 1970 as the host has them, and how many of them it is ahead of this computer. */
  readonly clock: { readonly now: number; readonly aheadSeconds: number } | undefined;
};

export async function gatherFacts(
  session: SshSession,
  template: string,
  host: { readonly user: string; readonly address: string; readonly sudoPassword: string | undefined },
  now: () => Date = () => new Date(),
): Promise<Facts> {
  const secret = host.sudoPassword === undefined ? '' : formatAssignments({ SUDO_PASSWORD: host.sudoPassword });
  const { code, stdout, stderr } = await session.exec(sh`sh -s`, { label: 'facts.sh', stdin: secret + template });
  const here = now();
  const answers = parseAnswers(stdout);
  const become = answers.first('become');
  if (become === 'missing') {
    throw new SlipwayError('SUDO', `${host.user} on ${host.address} is not root, and the host has no sudo`, {
      hint: `Log in as root (--generic-ssh-user root), or install sudo there and let ${host.user} use it`,
    });
  }
  if (become === 'none') {
    throw new SlipwayError(
      'SUDO',
      host.sudoPassword === undefined
        ? `${host.user} on ${host.address} may not become root without a password`
        : `${host.user} on ${host.address} may not become root with the sudo password given`,
      {
        hint: `Set SLIPWAY_SUDO_PASSWORD, or let ${host.user} use sudo there, or log in as root (--generic-ssh-user root)`,
      },
    );
  }
  if (code !== 0 || (become !== 'root' && become !== 'sudo' && become !== 'password')) {
    throw new SlipwayError(
      'REMOTE_COMMAND',
      `${host.address} could not be looked at: a shell there ended with exit status ${code}`,
      {
        hint: `Check that ${host.user} gets a shell: ssh ${host.user}@${host.address} true`,
        detail: lastLines(stderr),
      },
    );
  }
  return parseFacts(become, answers, here);
}

export type ScriptAnswers = {
  readonly first: (key: string) => string;
  readonly all: (key: string) => readonly string[];
};

export function parseAnswers(stdout: string): ScriptAnswers {
  const pairs = stdout.split('\n').map((line) => {
    const space = line.indexOf(' ');
    return space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
  });
  const all = (wanted: string): readonly string[] =>
    pairs.filter(([key]) => key === wanted).map(([, value]) => value ?? '');
  return { all, first: (key) => all(key)[0] ?? '' };
}

function parseClock(text: string, here: Date): Facts['clock'] {
  if (!/^\d{1,12}$/.test(text)) return undefined;
  return { now: Number(text), aheadSeconds: Number(text) - Math.floor(here.getTime() / 1000) };
}

/** Of a run that was cut off; templates/configure.sh tells of it, and takes it back at its next run. */
export const TEMPORARY_LIVE_RESTORE_FILE = '/etc/docker/slipway/live-restore-lent';

function withoutTemporaryLiveRestore(daemonJson: string): string {
  return daemonJson.replace(/\{"live-restore": (true|false),?/, '{');
}

function parseFacts(become: Become, { first, all }: ScriptAnswers, here: Date): Facts {
  const text = (key: string): string | undefined =>
    all(key).length > 0 ? Buffer.from(first(key), 'base64').toString('utf8') : undefined;
  // As sha256sum writes it: two spaces before the name.
  const sums = new Map(all('sum').map((line) => [line.slice(66), line.slice(0, 64)]));
  const files = Object.fromEntries(
    all('file').map((line) => {
      const [mode = '', owner = '', ...words] = line.split(' ');
      const path = words.join(' ');
      return [path, { sha256: sums.get(path) ?? '', mode, owner }];
    }),
  );
  const daemonJson = text('daemon_json');
  return {
    become,
    bootId: first('boot'),
    os: {
      id: first('os_id'),
      idLike: first('os_like').split(' ').filter(Boolean),
      codename: first('os_codename'),
      version: first('os_version'),
      name: first('os_name') || first('os_id'),
    },
    arch: first('arch'),
    serviceManager: first('service_manager') || undefined,
    packageManager: first('package_manager') || undefined,
    dockerd: first('dockerd') || undefined,
    packages: Object.fromEntries(
      all('package').map((line) => {
        const [name = '', state = '', version = ''] = line.split(' ');
        return [name, { state, version }];
      }),
    ),
    engineService: {
      isActive: first('engine_active') === 'yes',
      isEnabled: first('engine_enabled') === 'yes',
      definition: text('engine_definition') ?? '',
    },
    daemonJson:
      daemonJson !== undefined && TEMPORARY_LIVE_RESTORE_FILE in files
        ? withoutTemporaryLiveRestore(daemonJson)
        : daemonJson,
    slipwayState: text('slipway_state'),
    restartPending: first('restart_pending') === 'yes',
    lifetimePending: first('life_pending') === 'yes',
    files,
    freeKib: Object.fromEntries(
      all('free').map((line) => {
        const [free = '', ...mount] = line.split(' ');
        return [mount.join(' '), Number(free)];
      }),
    ),
    clock: parseClock(first('now'), here),
  };
}

/** The end of somebody's output, for an error's detail. */
export function lastLines(text: string, count = 8): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-count);
}
