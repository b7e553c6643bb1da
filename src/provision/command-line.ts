/** Decides what becomes of the flags on the engine's command line, so that dockerd also accepts daemon.json. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { SlipwayError } from '../errors.ts';
import {
  canMoveToDaemonJson,
  DAEMON_JSON,
  daemonKeyOf,
  daemonSettingsFromFlags,
  type DaemonSettings,
} from './daemon-json.ts';
import { findDockerdFlags, formatFlag, isListeningFlag, separateShorthands, type FilePlace } from './dockerd-flags.ts';
import type { Facts } from './facts.ts';
import type { CommandFlag, EngineCommand } from './init/service-manager.ts';

/** The flags that leave the command line, and what they mean in daemon.json. */
export type MovedFlags = {
  readonly isMoved: (flag: CommandFlag) => boolean;
  /** The values of `-H`. */
  readonly sockets: readonly string[];
  /** The settings of the other flags, except those about TLS, which Slipway's own settings replace. */
  readonly settings: DaemonSettings;
};

/**
 * Decides which flags move to daemon.json: those about sockets and TLS, and those whose setting is also in daemon.json,
 * since dockerd refuses a setting that occurs twice. `wanted` are Slipway's settings, `foreign` the user's. Throws
 * DAEMON_JSON, with file and line, for a command line that can't go together with daemon.json.
 */
export function moveFlags(
  command: EngineCommand,
  { wanted, foreign }: { readonly wanted: DaemonSettings; readonly foreign: DaemonSettings },
  { engineService }: Pick<Facts, 'engineService'>,
  where: string,
): MovedFlags {
  requireKnownFlags(command, engineService, where);
  requireDefaultConfigFile(command, where);
  const isTwice = ({ name }: CommandFlag): boolean => daemonKeyOf(name) in wanted || daemonKeyOf(name) in foreign;
  const others = command.flags.filter((flag) => !isListeningFlag(flag.name) && isTwice(flag));
  for (const flag of others) requireMovable(flag, { wanted, foreign }, where);
  const sockets = command.flags.flatMap(({ name, value }) => (name === 'host' && value !== undefined ? [value] : []));
  return {
    isMoved: (flag) => isListeningFlag(flag.name) || others.includes(flag),
    sockets,
    settings: daemonSettingsFromFlags(others.map(formatFlag)),
  };
}

/** Formats a place for a message. */
export function formatPlace({ path, line }: FilePlace): string {
  return `${path}, line ${line}`;
}

/** Says that dockerd would refuse to start with this flag, which was added since Slipway configured the engine. */
export function describeConflictingFlag({ name, value, place }: CommandFlag, where: string): string {
  const flag = name === 'host' ? `-H ${value}` : `--${formatFlag({ name, value })}`;
  return `The engine on ${where} will not start again: ${flag} in ${formatPlace(place)} conflicts with daemon.json`;
}

const AGAIN = 'Then run the same command again. Slipway changed nothing';

/** Refuses a setting with two values: neither of them is known to be the right one. */
function requireMovable(
  flag: CommandFlag,
  { wanted, foreign }: { readonly wanted: DaemonSettings; readonly foreign: DaemonSettings },
  where: string,
): void {
  const key = daemonKeyOf(flag.name);
  if (canMoveToDaemonJson(flag.name)) {
    if (key in wanted) return;
    const value = daemonSettingsFromFlags([formatFlag(flag)])[key];
    if (typeof value === 'object' || isDeepStrictEqual(value, foreign[key])) return;
  }
  const sources = key in foreign ? DAEMON_JSON : 'the options of this machine';
  throw new SlipwayError(
    'DAEMON_JSON',
    `dockerd on ${where} would refuse to start: --${flag.name} in ${formatPlace(flag.place)} sets what ${sources} ${key in foreign ? 'sets' : 'set'}, too ("${key}")`,
    { hint: `Remove one of them on the host. ${AGAIN}` },
  );
}

/** Refuses an engine that reads another file than the one that Slipway writes. */
function requireDefaultConfigFile({ flags }: EngineCommand, where: string): void {
  const flag = flags.find(({ name, value }) => name === 'config-file' && value !== DAEMON_JSON);
  if (!flag) return;
  throw new SlipwayError(
    'DAEMON_JSON',
    `dockerd on ${where} reads ${flag.value ?? 'another file'} instead of /etc/docker/daemon.json (--config-file in ${formatPlace(flag.place)})`,
    { hint: `Move its settings to ${DAEMON_JSON}, and remove the flag. ${AGAIN}` },
  );
}

/** Refuses a program, such as a script, that starts dockerd with flags that Slipway can't change. */
function requireKnownFlags(command: EngineCommand, { argv = [] }: Facts['engineService'], where: string): void {
  if (command.isDockerd) return;
  const hidden = runningFlags(argv).find(({ name }) => isListeningFlag(name) || name === 'config-file');
  if (!hidden) return;
  const flag = hidden.name === 'host' ? `-H ${hidden.value}` : `--${formatFlag(hidden)}`;
  throw new SlipwayError(
    'DAEMON_JSON',
    `dockerd on ${where} is started with ${flag} by another program, which Slipway can't change: ${command.text} (${formatPlace(command.place)})`,
    {
      hint: `Start dockerd itself there, or move the flag to ${DAEMON_JSON} ("${daemonKeyOf(hidden.name)}") and restart the engine. ${AGAIN}`,
    },
  );
}

/** Returns the flags of a running engine. */
export function runningFlags(argv: readonly string[]): ReturnType<typeof findDockerdFlags> {
  const program = argv.findIndex((word) => /(?:^|\/)dockerd?$/.test(word));
  return program < 0 ? [] : findDockerdFlags(argv.slice(program + 1).flatMap(separateShorthands));
}
