import type { OptionSpec } from '../machine/options.ts';
import { DockerMachineError } from './docker-machine-error.ts';

/** A flag of the old command line. `names` has the one that values are kept by first. */
export type Flag = {
  readonly names: readonly string[];
  readonly kind: 'switch' | 'text' | 'number' | 'list';
  readonly usage: string;
  readonly env?: string | undefined;
  readonly defaultValue?: string | number | undefined;
};

export type FlagValues = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export type ParsedDockerMachineFlags = {
  readonly words: readonly string[];
  /** By the flag's first name: what was typed or set in the environment, then what it is initially. */
  readonly values: FlagValues;
  /** Those that were typed. */
  readonly typed: FlagValues;
};

type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/** In Go's manner: `-flag` is `--flag`, a value may follow `=`, names stand before or behind flags, and `--` ends the flags. */
export function parseFlags(
  flags: readonly Flag[],
  argv: readonly string[],
  env: EnvironmentVariables,
): ParsedDockerMachineFlags {
  const words: string[] = [];
  const typed: Record<string, string | number | boolean | readonly string[]> = {};
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      words.push(...rest);
      break;
    }
    const [, name, inline] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) {
      words.push(word);
      continue;
    }
    const flag = flags.find(({ names }) => names.includes(name));
    if (!flag) throw new DockerMachineError(`flag provided but not defined: -${name}`);
    const value = inline ?? (flag.kind === 'switch' ? 'true' : rest.shift());
    if (value === undefined) throw new DockerMachineError(`flag needs an argument: -${name}`);
    const key = flag.names[0] ?? name;
    typed[key] = parseFlagValue(flag, name, value, typed[key]);
  }
  const initial = Object.fromEntries(flags.flatMap((flag) => defaultEntriesOf(flag, env)));
  return { words, typed, values: { ...initial, ...typed } };
}

function parseFlagValue(
  flag: Flag,
  name: string,
  text: string,
  before: unknown,
): string | number | boolean | readonly string[] {
  const wrong = (wanted: string): DockerMachineError =>
    new DockerMachineError(`invalid value ${JSON.stringify(text)} for flag -${name}: it must be ${wanted}`);
  if (flag.kind === 'list') return [...((before as readonly string[] | undefined) ?? []), text];
  if (flag.kind === 'text') return text;
  if (flag.kind === 'number') {
    if (/^-?\d+$/.test(text)) return Number(text);
    throw wrong('a whole number');
  }
  const truth = parseGoBool(text);
  if (truth === undefined) throw wrong('true or false');
  return truth;
}

function defaultEntriesOf(
  flag: Flag,
  env: EnvironmentVariables,
): readonly (readonly [string, string | number | boolean | readonly string[]])[] {
  const key = flag.names[0] ?? '';
  const set = flag.env === undefined ? undefined : env[flag.env];
  if (set !== undefined && set !== '') return [[key, parseFlagValue(flag, key, set, undefined)]];
  if (flag.defaultValue !== undefined) return [[key, flag.defaultValue]];
  if (flag.kind === 'switch') return [[key, false]];
  return flag.kind === 'list' ? [[key, []]] : [];
}

/** What Go's strconv.ParseBool takes; undefined for the rest. */
export function parseGoBool(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

/** An option of ours under all the names that it has. Its environment and what it is initially are its own schema's business. */
export function toFlag(info: OptionSpec): Flag {
  const kinds = { boolean: 'switch', int: 'number', list: 'list', string: 'text', choice: 'text' } as const;
  // The name that the old tool knew it by, where there is one, is what its help shows.
  const [old, ...others] = [...info.aliases.toReversed(), info.flag];
  return { names: [old ?? info.flag, ...others], kind: kinds[info.kind], usage: info.description };
}

/** The lines below `Options:`. */
export function formatFlagLines(flags: readonly Flag[]): readonly string[] {
  const rows = flags.map((flag) => [formatFlagNames(flag), formatFlagUsage(flag)] as const);
  const width = Math.max(...rows.map(([left]) => left.length)) + 3;
  return rows.map(([left, right]) => `   ${left.padEnd(width)}${right}`);
}

function formatFlagNames({ names, kind, defaultValue }: Flag): string {
  const shown = names.map((name) => (name.length === 1 ? `-${name}` : `--${name}`)).join(', ');
  const value =
    defaultValue === undefined
      ? kind === 'list'
        ? '[--option --option]'
        : kind === 'text'
          ? '""'
          : ''
      : JSON.stringify(String(defaultValue));
  return value === '' ? shown : `${shown} ${value}`;
}

function formatFlagUsage({ usage, env }: Flag): string {
  return env === undefined ? usage : `${usage} [$${env}]`;
}
