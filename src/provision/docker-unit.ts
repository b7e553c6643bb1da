import type { Facts } from './facts.ts';

/** dockerd's command line in its unit, without the places where it listens, and those places. */
export type EngineCommand = { readonly line: string; readonly sockets: readonly string[] };

/**
 * For an engine that is yet to be installed: right for Debian's, Ubuntu's and Docker's own packages alike. systemd looks the
 * name up in its own search path, and leaves out a variable that nobody set.
 */
const DEFAULT_COMMAND: EngineCommand = {
  line: 'dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS',
  sockets: ['fd://'],
};
const OUR_DROP_IN = '/etc/systemd/system/docker.service.d/50-slipway.conf';
/** Where the old docker-machine puts its command line of dockerd, in place of the unit's. */
export const DOCKER_MACHINE_DROP_IN = '/etc/systemd/system/docker.service.d/10-machine.conf';

/** What the old tool's drop-in says. Both are empty where there is none. */
export type DockerMachineDropIn = {
  /** Flags of dockerd that are neither of where it listens nor of its TLS, each with its value: `label=a=b`. */
  readonly flags: readonly string[];
  /** `NAME=value` */
  readonly environment: readonly string[];
};

const TLS_FLAGS: ReadonlySet<string> = new Set(['tls', 'tlsverify', 'tlscacert', 'tlscert', 'tlskey']);
/** Those of them that stand alone. */
const TLS_SWITCHES: ReadonlySet<string> = new Set(['tls', 'tlsverify']);

export function parseDockerMachineDropIn({ unit }: Pick<Facts, 'unit'>): DockerMachineDropIn {
  const { old } = splitUnitFiles(unit.text);
  const [, ...words] = splitWords(parseExecStarts(old).at(-1) ?? '');
  const environment = old
    .split('\n')
    .filter((line) => line.startsWith('Environment='))
    .flatMap((line) => splitWords(line.slice('Environment='.length)));
  return { flags: parseDaemonFlags(words), environment };
}

function parseDaemonFlags(words: readonly string[]): readonly string[] {
  const flags: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const [, name = '', inline] = /^--?([^=]+)(?:=(.*))?$/s.exec(words[index] ?? '') ?? [];
    // `docker daemon`, as old engines were called.
    if (name === '') continue;
    const next = words[index + 1];
    const takesNext = inline === undefined && !TLS_SWITCHES.has(name) && next !== undefined && !next.startsWith('-');
    if (takesNext) index += 1;
    if (name === 'H' || name === 'host' || TLS_FLAGS.has(name)) continue;
    const value = takesNext ? next : inline;
    flags.push(value === undefined ? name : `${name}=${value}`);
  }
  return flags;
}

/** As systemd reads a line: quotes hold a word together, a backslash takes the next character as it is. */
function splitWords(line: string): readonly string[] {
  return [...line.matchAll(/(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.|[^\s"'\\])+/g)].map(([word]) =>
    word.replaceAll(
      /"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\\(.)/g,
      (_all, double?: string, single?: string, escaped?: string) =>
        (double ?? single ?? escaped ?? '').replaceAll(/\\(.)/g, '$1'),
    ),
  );
}

/** What of the old tool's drop-in stays: variables that the machine's own settings do not name. */
export function formatEnvironmentDropIn(environment: readonly string[]): string {
  const quoted = environment.map((pair) => `"${pair.replaceAll(/["\\]/g, String.raw`\$&`)}"`);
  return `[Service]\nEnvironment=${quoted.join(' ')}\n`;
}

/** From the unit that is there, unless the engine came after our drop-in and runs with it. */
export function engineCommandOf({ unit }: Pick<Facts, 'unit'>): EngineCommand {
  const { ours, others } = splitUnitFiles(unit.text);
  const present = parseExecStarts(others).at(-1);
  if (present === undefined || parseExecStarts(ours).includes(DEFAULT_COMMAND.line)) return DEFAULT_COMMAND;
  return splitSockets(present);
}

/** `systemctl cat` prints each file behind a comment with its path; our own drop-in must not feed itself, and the old tool's gives way to it. */
function splitUnitFiles(unit: string): { readonly ours: string; readonly old: string; readonly others: string } {
  const files = unit.replaceAll('\\\n', ' ').split(/^(?=# \/)/m);
  const named = (...paths: readonly string[]) =>
    files.filter((file) => paths.some((path) => file.startsWith(`# ${path}`)));
  const [ours, old] = [named(OUR_DROP_IN), named(DOCKER_MACHINE_DROP_IN)];
  const others = files.filter((file) => !ours.includes(file) && !old.includes(file));
  return { ours: ours.join(''), old: old.join(''), others: others.join('') };
}

function parseExecStarts(unit: string): readonly string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith('ExecStart='))
    .map((line) => line.slice('ExecStart='.length).trim())
    .filter((line) => line !== '');
}

function splitSockets(command: string): EngineCommand {
  const sockets: string[] = [];
  const kept: string[] = [];
  const words = command.split(/\s+/);
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const inline = /^(?:-H=?|--host=)(.+)$/.exec(word)?.[1];
    if (word === '-H' || word === '--host') sockets.push(words[(index += 1)] ?? '');
    else if (inline !== undefined) sockets.push(inline);
    else kept.push(word);
  }
  return { line: kept.join(' '), sockets };
}

export function formatDropIn(template: string, { line }: EngineCommand, environmentFile: string | undefined): string {
  return `${template.trimEnd()}\nExecStart=${line}\n${environmentFile === undefined ? '' : `EnvironmentFile=${environmentFile}\n`}`;
}
