import type { z } from 'zod';
import { isMachineName } from '../machine/model.ts';
import { formatList } from '../machine/options.ts';
import { type FileProblem, unknownWordMessage, formatValue } from './file-problems.ts';
import { type FleetFileSchema, keysAt } from './file-schema.ts';
import type { ParsedYaml, YamlPath } from './yaml.ts';

/** A problem in one file by itself. `path` also tells which machines it affects. */
export type PathProblem = FileProblem & { readonly path: YamlPath };

/** Checks one file against the schema and returns every problem with its position. */
export function problemsIn(parsed: ParsedYaml, { file, secrets }: FleetFileSchema): readonly PathProblem[] {
  if (parsed.problems.length > 0) return parsed.problems.map((problem) => ({ ...problem, path: [] }));
  if (parsed.value === null || parsed.value === undefined)
    return [
      {
        at: parsed.positionOf([]),
        path: [],
        message: 'the file is empty; start with: machines: { dev: { driver: qemu } }',
      },
    ];
  const result = file.safeParse(parsed.value);
  const issues = result.success ? [] : result.error.issues;
  return [...issues.flatMap((issue) => problemsFor(issue, parsed, secrets)), ...invalidNamesIn(parsed)];
}

function problemsFor(
  issue: z.core.$ZodIssue,
  parsed: ParsedYaml,
  secrets: FleetFileSchema['secrets'],
): readonly PathProblem[] {
  const path = issue.path as YamlPath;
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => {
      const keyPath = [...path, key];
      return { path: keyPath, at: parsed.keyPositionOf(keyPath), message: unknownKeyMessage(key, path, secrets) };
    });
  const value = valueAt(parsed.value, path);
  const at = parsed.positionOf(path);
  if (issue.code === 'invalid_value' && typeof value === 'string')
    return [{ path, at, message: unknownChoiceMessage(value, path, issue.values.map(String)) }];
  // Variables may hold a password, and logs keep errors.
  const got = path.includes('env') ? '' : `, got ${formatValue(value)}${quotesHint(issue, value)}`;
  return [{ path, at, message: `${formatPath(path)} must be ${expectedText(issue)}${got}` }];
}

/** Describes a value that is none of the choices: `unknown driver "qemuu"`, `unknown value "gp" for …volumeType`. */
function unknownChoiceMessage(value: string, path: YamlPath, choices: readonly string[]): string {
  const key = path.findLast((step) => typeof step === 'string');
  if (key === 'driver') return unknownWordMessage('driver', value, choices);
  if (key === 'profiles') return unknownWordMessage('profile', value, choices);
  return unknownWordMessage('value', value, choices, ` for ${formatPath(path)}`);
}

function unknownKeyMessage(key: string, path: YamlPath, secrets: FleetFileSchema['secrets']): string {
  const secret = `${String(path.at(-1))}.${key}`;
  if (!secrets.has(secret))
    return unknownWordMessage('key', key, keysAt(path), path.length === 0 ? '' : ` in ${formatPath(path)}`);
  const variable = secrets.get(secret);
  return `${key} is secret and not allowed in the file${variable === undefined ? '' : `: set ${variable} instead`}`;
}

/** Formats a path as people write it: `machines.web.ec2.rootSize`, `engine.label[2]`. */
export function formatPath(path: YamlPath): string {
  if (path.length === 0) return 'the file';
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step + 1}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'a string',
  int: 'a whole number',
  number: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map',
};

function expectedText(issue: z.core.$ZodIssue): string {
  if (issue.code === 'too_small') return issue.origin === 'string' ? 'a string' : `at least ${issue.minimum}`;
  if (issue.code === 'too_big')
    return issue.origin === 'string' ? `a string of at most ${issue.maximum} characters` : `at most ${issue.maximum}`;
  if (issue.code === 'invalid_value') return `one of ${formatList(issue.values.map(String), 'or')}`;
  if (issue.code === 'invalid_type') return TYPE_NAMES[issue.expected] ?? issue.expected;
  // Custom checks and patterns phrase their message as what the value must be: "a fingerprint like SHA256:…".
  return issue.code === 'invalid_union' ? 'a name or a list of names' : issue.message;
}

/** Suggests quotes for text that YAML reads as a number: `28.10` would be the same as `28.1`. */
function quotesHint(issue: z.core.$ZodIssue, value: unknown): string {
  const isText = issue.code === 'invalid_type' && issue.expected === 'string';
  return isText && ['number', 'boolean'].includes(typeof value) ? ' (put it in quotes)' : '';
}

export function valueAt(value: unknown, path: YamlPath): unknown {
  return path.reduce<unknown>((inside, step) => (inside as Record<string | number, unknown> | null)?.[step], value);
}

/** Returns invalid machine names, also of machines that a count produces: `web-1000` is longer than `web`. */
function invalidNamesIn(parsed: ParsedYaml): readonly PathProblem[] {
  const machines = valueAt(parsed.value, ['machines']);
  if (typeof machines !== 'object' || machines === null || Array.isArray(machines)) return [];
  return Object.entries(machines as Record<string, { readonly count?: unknown } | null>)
    .filter(([name, entry]) => !isMachineName(typeof entry?.count === 'number' ? `${name}-${entry.count}` : name))
    .map(([name]) => ({
      path: ['machines', name],
      at: parsed.keyPositionOf(['machines', name]),
      message: `${formatValue(name)} can't be a machine name: use at most 63 letters, digits, dots and hyphens, starting with a letter or digit`,
    }));
}
