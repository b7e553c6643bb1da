import { SlipwayError } from '../errors.ts';
import { formatAssignments, sh } from '../ssh/shell.ts';
import type { SshSession } from '../ssh/connection.ts';
import { decodeDaemonJson, type TextEncodingName } from './text-encoding.ts';

/** How commands on a host become root: they already are, through sudo without a password, or through sudo with one. */
export type Become = 'root' | 'sudo' | 'password';

/** The state of a host. The script of `facts-script.ts` gathers it in one round trip. */
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
  /** The host's service manager, by the name in `serviceManagers`; undefined if the script recognizes none. */
  readonly serviceManager: string | undefined;
  /** The host's package manager; undefined if the script recognizes none. */
  readonly packageManager: string | undefined;
  /** The path of dockerd on the host. */
  readonly dockerd: string | undefined;
  /** The engine's packages, with client, plugins and containerd. `state` is the host's package manager's own word. */
  readonly packages: Readonly<Record<string, { readonly state: string; readonly version: string }>>;
  /** The texts of the host's lists of package repositories, by path. */
  readonly packageSources: Readonly<Record<string, string>>;
  /** The keys with which the package manager verifies repositories, by path; base64. */
  readonly packageKeys: Readonly<Record<string, string>>;
  /** What runs in the place of the engine's service; empty while the engine's service runs. */
  readonly otherEngines: readonly OtherEngine[];
  readonly engineService: {
    readonly isActive: boolean;
    /** Whether the engine starts at boot. */
    readonly isEnabled: boolean;
    /** The units that the engine needs and that an administrator has masked, so that nothing can start them. */
    readonly maskedUnits?: readonly MaskedUnit[];
    /** The service's definition in the service manager's format; '' if the service does not exist. */
    readonly definition: string;
    /** The texts of the files that set variables of the service, by path. */
    readonly environmentFiles?: Readonly<Record<string, string>>;
    /** The variables on the service's command line, as the running engine got them. */
    readonly variables?: Readonly<Record<string, string>>;
    /** The command line of the running engine; absent if none runs. */
    readonly argv?: readonly string[];
    /** Where the service manager listens for the engine, such as `/run/docker.sock`; empty if it does not. */
    readonly sockets?: readonly string[];
  };
  /** What the running engine says on its local socket; 'silent' if it does not answer there. */
  readonly localEngine?: LocalEngine | 'silent';
  /** Where another program than the engine answers Docker clients without TLS. */
  readonly openAddresses?: readonly { readonly address: string; readonly program: string }[];
  /** What listens on the port on which the engine is to listen; absent if nothing does, or the engine itself. */
  readonly portHolder?: PortHolder;
  /** The text of daemon.json, without the setting that is in it only while the engine restarts. */
  readonly daemonJson: string | undefined;
  /** The encoding of daemon.json; absent for UTF-8. A byte order mark is the first character of the text. */
  readonly daemonJsonEncoding?: TextEncodingName | 'invalid';
  readonly slipwayState: string | undefined;
  /** Whether a run was killed after it changed Slipway's files and before the engine loaded them. */
  readonly restartPending: boolean;
  /** Whether a run was killed after it changed the lifetime's timers and before it started all of them. */
  readonly lifetimePending: boolean;
  /** Slipway's files on the host. */
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly mode: string; readonly owner: string }>>;
  /** Free space in KiB, by mount point. */
  readonly freeKib: Readonly<Record<string, number>>;
  /** The host's clock in seconds since 1970, and how many seconds it is ahead of this computer's. */
  readonly clock: { readonly now: number; readonly aheadSeconds: number } | undefined;
};

/** Absent members are those that an engine did not report. */
export type LocalEngine = {
  readonly version?: string;
  readonly runningContainers?: number;
  readonly isLiveRestoreEnabled?: boolean;
  readonly isSwarmNode?: boolean;
};

/** An engine of another source, or another program that serves the local socket. */
export type OtherEngine = {
  /** `socket` serves the local socket, `engine` runs elsewhere, `snap` is installed. */
  readonly role: string;
  readonly pid: number | undefined;
  readonly user: string;
  /** The service manager's name for it; `user:NAME` if a user's own service manager runs it. */
  readonly unit: string | undefined;
  readonly program: string | undefined;
};

/** A unit by its name. A runtime mask ends with the next boot. */
export type MaskedUnit = { readonly unit: string; readonly isRuntime: boolean };

/** The service manager has process ID 1; then `unit` is the socket on which it listens for another program. */
export type PortHolder = {
  readonly port: number;
  readonly pid: number;
  readonly unit: string | undefined;
  readonly program: string | undefined;
};

type FactsHost = {
  readonly user: string;
  readonly address: string;
  readonly sudoPassword: string | undefined;
  /** The flag with which a machine gets another user to log in as; absent if its driver has none. */
  readonly userFlag?: { readonly flag: string; readonly needsNewMachine: boolean };
};

/** Runs the script of `readFactsScript` on a host. Throws SUDO if the user can't become root there. */
export async function gatherFacts(
  session: SshSession,
  template: string,
  host: FactsHost,
  now: () => Date = () => new Date(),
): Promise<Facts> {
  const secret = host.sudoPassword === undefined ? '' : formatAssignments({ SUDO_PASSWORD: host.sudoPassword });
  const { code, stdout, stderr } = await session.exec(sh`sh -s`, { label: 'facts.sh', stdin: secret + template });
  const receivedAt = now();
  const { greeting, answer } = splitGreeting(stdout);
  const answers = parseAnswers(answer);
  const become = answers.first('become');
  if (become === 'missing' || become === 'none') throw becomeRootError(become, host);
  const isComplete = code === 0 && answers.first('complete') === 'yes';
  if (!isComplete || (become !== 'root' && become !== 'sudo' && become !== 'password'))
    throw incompleteFactsError(host, code, `${greeting}\n${stderr}`);
  requireAnswers(answers, host.address);
  return parseFacts(become, answers, receivedAt);
}

/** Throws if the host's service manager did not answer. It may have an engine that nobody can see now. */
export function requireAnswers({ all, first }: ScriptAnswers, address: string): void {
  if (all('unanswered').length === 0) return;
  const [manager = '', ...words] = first('unanswered').split(' ');
  throw new SlipwayError('REMOTE_COMMAND', `${manager} on ${address} does not answer, so its services are not known`, {
    hint: 'Check its services on the host, or restart it. Then run the same command again',
    detail: lastLines(words.join(' ')),
  });
}

/** Separates what the host prints at each login from the script's answer, which begins with its last `become` line. */
function splitGreeting(stdout: string): { readonly greeting: string; readonly answer: string } {
  const start = `\n${stdout}`.lastIndexOf('\nbecome ');
  return start < 0
    ? { greeting: stdout, answer: '' }
    : { greeting: stdout.slice(0, start), answer: stdout.slice(start) };
}

/** Returns the error for a host that did not run the script to its end, with the host's own words. */
function incompleteFactsError(host: FactsHost, code: number, words: string): SlipwayError {
  const { user, address } = host;
  const why = code === 0 ? 'its answer is incomplete' : `its shell ended with exit status ${code}`;
  // The images of clouds answer root with: Please login as the user "admin" rather than the user "root".
  const otherUser = /log ?in as the user "([\w.-]+)"/i.exec(words)?.[1];
  const loginHint = otherUser === undefined ? undefined : otherUserHint(host, otherUser);
  return new SlipwayError('REMOTE_COMMAND', `The facts of ${address} could not be gathered: ${why}`, {
    hint:
      loginHint === undefined
        ? `Check that ${user} gets a shell: ssh ${user}@${address} true`
        : `To use the user that the host names, ${loginHint}`,
    detail: lastLines(words),
  });
}

function becomeRootError(become: 'missing' | 'none', host: FactsHost): SlipwayError {
  const { user, address, sudoPassword } = host;
  const loginHint = otherUserHint(host, 'root');
  const orLogin = loginHint === undefined ? '' : `, or ${loginHint}`;
  if (become === 'missing') {
    return new SlipwayError('SUDO', `${user} on ${address} is not root, and sudo is not installed there`, {
      hint: `Install sudo there and allow ${user} to use it${orLogin}`,
    });
  }
  return new SlipwayError(
    'SUDO',
    sudoPassword === undefined
      ? `${user} on ${address} can't become root without a password`
      : `${user} on ${address} can't become root with the specified sudo password`,
    { hint: `Set SLIPWAY_SUDO_PASSWORD, allow ${user} to use sudo there${orLogin}` },
  );
}

/** Returns how to log in as another user, as a part of a sentence; undefined if the machine's driver can't do that. */
function otherUserHint({ userFlag }: FactsHost, user: string): string | undefined {
  if (userFlag === undefined) return undefined;
  return userFlag.needsNewMachine
    ? `remove the machine and create it again with ${userFlag.flag} ${user}`
    : `log in as ${user}: ${userFlag.flag} ${user}`;
}

/** The output of a script that prints one `key value` per line. A key can occur more than once. */
export type ScriptAnswers = {
  /** Returns the first value of a key; '' if the key does not occur. */
  readonly first: (key: string) => string;
  readonly all: (key: string) => readonly string[];
};

export function parseAnswers(stdout: string): ScriptAnswers {
  const pairs = stdout.split('\n').map((line): readonly [string, string] => {
    const space = line.indexOf(' ');
    return space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
  });
  const all = (key: string): readonly string[] => pairs.filter(([name]) => name === key).map(([, value]) => value);
  return { all, first: (key) => all(key)[0] ?? '' };
}

function parseFacts(become: Become, answers: ScriptAnswers, receivedAt: Date): Facts {
  const { first, all } = answers;
  const files = parseFiles(answers);
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
    packages: Object.fromEntries(all('package').map(parsePackage)),
    packageSources: parseContents(all('package_source'), 'utf8'),
    packageKeys: parseContents(all('package_key'), 'base64'),
    otherEngines: all('other_engine').map(parseOtherEngine),
    engineService: parseEngineService(answers),
    ...parseLocalEngine(answers),
    ...(all('open_address').length > 0 ? { openAddresses: all('open_address').map(parseOpenAddress) } : {}),
    ...(all('port_holder').length > 0 ? { portHolder: parsePortHolder(first('port_holder')) } : {}),
    ...parseDaemonJsonFacts(answers, files),
    slipwayState: decodeBase64(answers, 'slipway_state')?.toString('utf8'),
    restartPending: first('restart_pending') === 'yes',
    lifetimePending: first('life_pending') === 'yes',
    files,
    freeKib: Object.fromEntries(all('free').map(parseFreeSpace)),
    clock: parseClock(first('now'), receivedAt),
  };
}

/** Returns the first value of a key that the script encodes; undefined if the key does not occur. */
function decodeBase64({ first, all }: ScriptAnswers, key: string): Buffer | undefined {
  return all(key).length > 0 ? Buffer.from(first(key), 'base64') : undefined;
}

/** Returns the facts about the engine's service among a script's answers. */
export function parseEngineService(answers: ScriptAnswers): Facts['engineService'] {
  const { first, all } = answers;
  const argv = decodeBase64(answers, 'engine_argv')?.toString('utf8').split('\0').slice(0, -1);
  const environmentFiles = all('environment_file').map((line): [string, string] => {
    const space = line.lastIndexOf(' ');
    return [line.slice(0, space), Buffer.from(line.slice(space + 1), 'base64').toString('utf8')];
  });
  const variables = all('engine_variable').map((line): [string, string] => {
    const pair = Buffer.from(line, 'base64').toString('utf8');
    return [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
  });
  return {
    isActive: first('engine_active') === 'yes',
    isEnabled: first('engine_enabled') === 'yes',
    definition: decodeBase64(answers, 'engine_definition')?.toString('utf8') ?? '',
    ...(all('masked_unit').length > 0 ? { maskedUnits: all('masked_unit').map(parseMaskedUnit) } : {}),
    ...(environmentFiles.length > 0 ? { environmentFiles: Object.fromEntries(environmentFiles) } : {}),
    ...(variables.length > 0 ? { variables: Object.fromEntries(variables) } : {}),
    ...(argv && argv.length > 0 ? { argv } : {}),
    ...(all('engine_socket').length > 0 ? { sockets: all('engine_socket') } : {}),
  };
}

/** The words after the key are `Name:value`. Something else may answer in the engine's place. */
function parseLocalEngine({ first, all }: ScriptAnswers): Pick<Facts, 'localEngine'> {
  if (all('local_engine').length === 0) return {};
  if (first('local_engine') === 'silent') return { localEngine: 'silent' };
  const words = first('local_engine').split(' ').filter(Boolean);
  const info = new Map(words.map((word) => [word.slice(0, word.indexOf(':')), word.slice(word.indexOf(':') + 1)]));
  const [version, swarm] = [info.get('ServerVersion'), info.get('LocalNodeState')];
  const [running, liveRestore] = [info.get('ContainersRunning'), info.get('LiveRestoreEnabled')];
  const localEngine: LocalEngine = {
    ...(version === undefined ? {} : { version }),
    ...(running === undefined
      ? {}
      : { runningContainers: Number(running) + Number(info.get('ContainersPaused') ?? 0) }),
    ...(liveRestore === undefined ? {} : { isLiveRestoreEnabled: liveRestore === 'true' }),
    ...(swarm === undefined ? {} : { isSwarmNode: swarm !== 'inactive' }),
  };
  return { localEngine };
}

function parseOpenAddress(line: string): { readonly address: string; readonly program: string } {
  const [address = '', ...program] = line.split(' ');
  return { address, program: program.join(' ') };
}

function parseMaskedUnit(line: string): MaskedUnit {
  const [unit = '', state] = line.split(' ');
  return { unit, isRuntime: state === 'masked-runtime' };
}

function parsePortHolder(line: string): PortHolder {
  const [port, pid, ...words] = line.split(' ');
  const [unit, program] = [words[0], words.slice(1).join(' ')].map((word) => (word === '-' ? undefined : word));
  return { port: Number(port), pid: Number(pid), unit, program };
}

function parseDaemonJsonFacts(
  answers: ScriptAnswers,
  files: Facts['files'],
): Pick<Facts, 'daemonJson' | 'daemonJsonEncoding'> {
  const bytes = decodeBase64(answers, 'daemon_json');
  if (bytes === undefined) return { daemonJson: undefined };
  const { text, encoding } = decodeDaemonJson(bytes);
  return {
    daemonJson: withoutTemporaryLiveRestore(text, files),
    ...(encoding === undefined ? {} : { daemonJsonEncoding: encoding }),
  };
}

function parseFiles({ all }: ScriptAnswers): Facts['files'] {
  // The format of sha256sum: two spaces before the name.
  const sums = new Map(all('sum').map((line) => [line.slice(66), line.slice(0, 64)]));
  return Object.fromEntries(
    all('file').map((line) => {
      const [mode = '', owner = '', ...words] = line.split(' ');
      const path = words.join(' ');
      return [path, { sha256: sums.get(path) ?? '', mode, owner }];
    }),
  );
}

function parsePackage(line: string): [name: string, Facts['packages'][string]] {
  const [name = '', state = '', version = ''] = line.split(' ');
  return [name, { state, version }];
}

/** Parses lines `PATH BASE64`. */
function parseContents(lines: readonly string[], encoding: 'utf8' | 'base64'): Readonly<Record<string, string>> {
  return Object.fromEntries(
    lines.map((line) => {
      const [path = '', text = ''] = line.split(' ');
      return [path, Buffer.from(text, 'base64').toString(encoding)];
    }),
  );
}

function parseOtherEngine(line: string): OtherEngine {
  const [role = '', pid = '', user = '', ...words] = line.split(' ');
  const [unit, program] = [words[0], words.slice(1).join(' ')].map((word) => (word === '-' ? undefined : word));
  return { role, pid: /^\d+$/.test(pid) ? Number(pid) : undefined, user, unit, program };
}

function parseFreeSpace(line: string): [mount: string, kib: number] {
  const [free = '', ...mount] = line.split(' ');
  return [mount.join(' '), Number(free)];
}

function parseClock(seconds: string, receivedAt: Date): Facts['clock'] {
  if (!/^\d{1,12}$/.test(seconds)) return undefined;
  return { now: Number(seconds), aheadSeconds: Number(seconds) - Math.floor(receivedAt.getTime() / 1000) };
}

/**
 * This file exists while daemon.json contains the temporary setting of templates/configure.sh. An interrupted run can
 * leave both; the next run of that script removes them.
 */
export const TEMPORARY_LIVE_RESTORE_FILE = '/etc/docker/slipway/live-restore-lent';

function withoutTemporaryLiveRestore(daemonJson: string, files: Facts['files']): string {
  if (!(TEMPORARY_LIVE_RESTORE_FILE in files)) return daemonJson;
  return daemonJson.replace(/\{"live-restore": (true|false),?/, '{');
}

/** Returns the last non-empty lines of an output, for an error's detail. */
export function lastLines(text: string, count = 8): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '')
    .slice(-count);
}
