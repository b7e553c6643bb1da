import type { OptionSpec } from '../machine/options.ts';
import { DockerMachineError } from './docker-machine-error.ts';

/** A flag of the drop-in. Values are stored by the first of its names. */
export type Flag = {
  readonly names: readonly string[];
  readonly kind: 'switch' | 'text' | 'number' | 'list';
  readonly usage: string;
  readonly env?: string | undefined;
  readonly defaultValue?: string | number | undefined;
};

export type FlagValues = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export type ParsedDockerMachineFlags = {
  /** The arguments that are not flags. */
  readonly words: readonly string[];
  /** By the flag's first name: the value that the user typed, or else that of the environment, or else the default. */
  readonly values: FlagValues;
  /** The flags that the user typed. */
  readonly typed: FlagValues;
};

type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

/**
 * Parses flags as Go does: `-flag` is `--flag`, a value may follow `=`, arguments may precede flags, and `--` ends the
 * flags.
 */
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
  previous: unknown,
): string | number | boolean | readonly string[] {
  const invalidValueError = (expected: string): DockerMachineError =>
    new DockerMachineError(`invalid value ${JSON.stringify(text)} for flag -${name}: it must be ${expected}`);
  if (flag.kind === 'list') return [...((previous as readonly string[] | undefined) ?? []), text];
  if (flag.kind === 'text') return text;
  if (flag.kind === 'number') {
    if (/^-?\d+$/.test(text)) return Number(text);
    throw invalidValueError('a whole number');
  }
  const flagValue = parseGoBool(text);
  if (flagValue === undefined) throw invalidValueError('true or false');
  return flagValue;
}

function defaultEntriesOf(
  flag: Flag,
  env: EnvironmentVariables,
): readonly (readonly [string, string | number | boolean | readonly string[]])[] {
  const key = flag.names[0] ?? '';
  const text = flag.env === undefined ? undefined : env[flag.env];
  if (text !== undefined && text !== '') return [[key, parseFlagValue(flag, key, text, undefined)]];
  if (flag.defaultValue !== undefined) return [[key, flag.defaultValue]];
  if (flag.kind === 'switch') return [[key, false]];
  return flag.kind === 'list' ? [[key, []]] : [];
}

/** Parses the words that Go's strconv.ParseBool accepts; returns undefined for others. */
export function parseGoBool(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

/**
 * Returns a flag for an option of Slipway, with all its names. The option's schema declares its variable and its
 * default.
 */
export function toFlag(spec: OptionSpec): Flag {
  const kinds = { boolean: 'switch', int: 'number', list: 'list', string: 'text', choice: 'text' } as const;
  // The help shows the first name: Docker Machine's, if it had the option.
  const [first, ...others] = [...spec.aliases.toReversed(), spec.flag];
  return { names: [first ?? spec.flag, ...others], kind: kinds[spec.kind], usage: spec.description };
}

/** Formats the lines below `Options:`. */
export function formatFlagLines(flags: readonly Flag[]): readonly string[] {
  const rows = flags.map((flag) => [formatFlagNames(flag), formatFlagUsage(flag)] as const);
  const width = Math.max(...rows.map(([left]) => left.length)) + 3;
  return rows.map(([left, right]) => `   ${left.padEnd(width)}${right}`);
}

function formatFlagNames({ names, kind, defaultValue }: Flag): string {
  const flagNames = names.map((name) => (name.length === 1 ? `-${name}` : `--${name}`)).join(', ');
  const placeholders = { list: '[--option --option]', text: '""', number: '', switch: '' } as const;
  const value = defaultValue === undefined ? placeholders[kind] : JSON.stringify(String(defaultValue));
  return value === '' ? flagNames : `${flagNames} ${value}`;
}

function formatFlagUsage({ usage, env }: Flag): string {
  return env === undefined ? usage : `${usage} [$${env}]`;
}
