import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { hideLogins } from '../url-login.ts';

declare module 'zod' {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface merges into a library's
  interface GlobalMeta {
    /** The wizard's question. If absent, the wizard does not ask. */
    ask?: string;
    /** The environment variable, if it is not derived from the flag. */
    env?: string;
    /** Aliases of the flag, without dashes: `generic-engine-port`. */
    also?: readonly string[];
    /** The flag, without dashes, if it is not prefix + key. */
    flag?: string;
    /** The letter of the short flag. */
    short?: string;
    /** The name of the value in the help: `address` is shown as `<address>`. */
    value?: string;
    /** A value for examples in hints. */
    example?: string;
    /** What the driver decides if the option is left open, as help shows it: the parsed value is then undefined. */
    default?: unknown;
    /** The value is never stored, has no flag, and is not shown while the user types it. */
    secret?: boolean;
  }
}

/**
 * One option's declaration as plain data. Flags, environment, questions, help, docs and argv are all derived from it.
 */
export type OptionSpec = {
  readonly key: string;
  /** Without dashes. */
  readonly flag: string;
  readonly aliases: readonly string[];
  readonly short: string | undefined;
  /**
   * Undefined for options that concern a single call, such as --force: a variable would apply them to later calls too.
   */
  readonly env: string | undefined;
  readonly kind: 'string' | 'int' | 'boolean' | 'choice' | 'list';
  readonly choices: readonly string[];
  /** Whether the items of a list are assignments, whose values may contain commas. */
  readonly assignments: boolean;
  readonly default: unknown;
  readonly required: boolean;
  readonly secret: boolean;
  readonly description: string;
  readonly valueName: string;
  /** A value for examples in hints; present for options without which a machine can't be created. */
  readonly example: string | undefined;
  readonly question: string | undefined;
};

type JsonProperty = {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: { readonly type?: string; readonly enum?: readonly string[] };
  readonly default?: unknown;
  readonly description?: string;
  readonly ask?: string;
  readonly env?: string;
  readonly also?: readonly string[];
  readonly flag?: string;
  readonly short?: string;
  readonly value?: string;
  readonly example?: string;
  readonly secret?: boolean;
};

/** Returns the options of a flat zod object of strings, integers, booleans, choices and lists of strings. */
export function describeOptions(schema: z.ZodObject, prefix = ''): readonly OptionSpec[] {
  const json = z.toJSONSchema(schema, { io: 'input' });
  const required = new Set(json.required ?? []);
  return Object.entries((json.properties ?? {}) as Record<string, JsonProperty>).map(([key, property]) => {
    const flag = property.flag ?? [prefix, toKebabCase(key)].filter(Boolean).join('-');
    const kind = optionKindOf(property, key);
    return {
      key,
      flag,
      aliases: property.also ?? [],
      short: property.short,
      env: property.env ?? (prefix === '' ? undefined : `SLIPWAY_${flag.replaceAll('-', '_').toUpperCase()}`),
      kind,
      choices: property.enum ?? property.items?.enum ?? [],
      assignments: /^(\w+)=value$/.test(property.value ?? ''),
      default: property.default,
      required: required.has(key),
      secret: property.secret ?? false,
      description: property.description ?? '',
      valueName: property.value ?? (kind === 'int' ? 'number' : kind === 'choice' ? 'choice' : 'value'),
      example: property.example,
      question: property.ask,
    };
  });
}

function toKebabCase(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function optionKindOf(property: JsonProperty, key: string): OptionSpec['kind'] {
  if (property.enum) return 'choice';
  if (property.type === 'string' || property.type === 'boolean') return property.type;
  if (property.type === 'integer') return 'int';
  if (property.type === 'array' && property.items?.type === 'string') return 'list';
  throw new Error(`option "${key}" must be a flat string, integer, boolean, choice or list of strings`);
}

/**
 * Converts text from a flag, a variable or a prompt to the type that the schema expects. Leaves text that can't be
 * converted as it is: the schema's error then quotes it.
 */
export function coerceOptionValue(spec: OptionSpec, text: string): unknown {
  if (spec.kind === 'int') return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
  if (spec.kind === 'boolean') {
    if (/^(1|true|yes|on)$/i.test(text)) return true;
    return /^(0|false|no|off|)$/i.test(text) ? false : text;
  }
  if (spec.kind === 'list') return splitList(text, spec.assignments);
  return text;
}

/**
 * Splits a list in a variable or an answer at its newlines or, without any, at its commas. In a list of assignments, a
 * comma belongs to the value unless another assignment follows: `NO_PROXY=a,b,HTTP_PROXY=…` has two items.
 */
function splitList(text: string, assignments: boolean): readonly string[] {
  const separator = text.includes('\n') ? /\r?\n/ : assignments ? /,(?=[\w./-]+=)/ : ',';
  return text.split(separator).filter((item) => item !== '');
}

export type OptionValues = Readonly<Record<string, unknown>>;

export function optionsFromEnv(
  specs: readonly OptionSpec[],
  env: Readonly<Record<string, string | undefined>>,
): OptionValues {
  const values: Record<string, unknown> = {};
  for (const spec of specs) {
    const text = spec.env === undefined ? undefined : env[spec.env];
    if (text !== undefined && text !== '') values[spec.key] = coerceOptionValue(spec, text);
  }
  return values;
}

/** Returns the values of these options among the flags, by the keys of their schema. */
export function pickFlagValues(specs: readonly OptionSpec[], flags: OptionValues): OptionValues {
  return Object.fromEntries(
    specs.filter(({ flag }) => flags[flag] !== undefined).map(({ flag, key }) => [key, flags[flag]]),
  );
}

/** Validates values. Throws one USAGE error that lists all invalid values, each with its flag. */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  specs: readonly OptionSpec[],
  values: OptionValues,
): z.output<S> {
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  const missing = specs.filter((spec) => spec.required && values[spec.key] === undefined);
  const wrong = result.error.issues
    .filter((issue) => !missing.some((spec) => spec.key === issue.path[0]))
    .map((issue) => formatIssue(issue, specs, values));
  const sentences = [...new Set(wrong)];
  if (missing.length > 0) {
    sentences.unshift(
      `${formatList(missing.map((spec) => `--${spec.flag}`))} ${missing.length === 1 ? 'is' : 'are'} missing`,
    );
  }
  const hint =
    missing.length > 0
      ? `Add ${missing.map((spec) => `--${spec.flag} <${spec.valueName}>`).join(' ')}, or set ${formatList(missing.flatMap((spec) => spec.env ?? []))}`
      : topicHint(specs);
  throw new SlipwayError('USAGE', sentences.join('; '), hint === undefined ? {} : { hint });
}

/** Options of a driver or the engine begin with its name, which is also the name of their help topic. */
function topicHint(specs: readonly OptionSpec[]): string | undefined {
  const topic = specs[0]?.flag.split('-', 1)[0] ?? '';
  const isTopic = specs.filter(({ flag }) => flag.startsWith(`${topic}-`)).length > 1;
  return isTopic ? `All options: slipway help ${topic}` : undefined;
}

function formatIssue(issue: z.core.$ZodIssue, specs: readonly OptionSpec[], values: OptionValues): string {
  const spec = specs.find((candidate) => candidate.key === issue.path[0]);
  if (!spec) return issue.message;
  const value = values[spec.key];
  const invalid = issue.path.length > 1 && Array.isArray(value) ? value[Number(issue.path[1])] : value;
  return `--${spec.flag} must be ${expectedValue(issue, spec)}, got ${spec.secret ? 'something else' : hideLogins(JSON.stringify(invalid) ?? 'nothing')}`;
}

function expectedValue(issue: z.core.$ZodIssue, spec: OptionSpec): string {
  if (issue.code === 'too_small') return issue.origin === 'string' ? 'non-empty text' : `at least ${issue.minimum}`;
  if (issue.code === 'too_big') return `at most ${issue.maximum}`;
  if (issue.code === 'invalid_value') return `one of ${formatList(spec.choices, 'or')}`;
  if (issue.code === 'invalid_type') {
    const words = {
      int: 'a whole number',
      boolean: 'true or false',
      string: 'text',
      choice: 'a choice',
      list: 'a list',
    };
    return words[spec.kind];
  }
  // The messages of custom checks and patterns complete this sentence: "a fingerprint like SHA256:…".
  return issue.message;
}

/** Joins words as in a sentence: `a`, `a and b`, `a, b and c`. */
export function formatList(words: readonly string[], conjunction = 'and'): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${conjunction} ${words.at(-1)}`;
}

/** Returns the flags that produce these values, without defaults and secrets: the inverse of parsing. */
export function toArgv(specs: readonly OptionSpec[], values: OptionValues): readonly string[] {
  return specs.flatMap((spec) => {
    const value = values[spec.key];
    if (value === undefined || spec.secret || isSameValue(value, spec.default)) return [];
    if (spec.kind === 'boolean') return [value === true ? `--${spec.flag}` : `--no-${spec.flag}`];
    const texts = Array.isArray(value) ? value.map(String) : [String(value)];
    return texts.flatMap((text) => (/^-|^$/.test(text) ? [`--${spec.flag}=${text}`] : [`--${spec.flag}`, text]));
  });
}

/** Returns whether two option values are equal. Lists are compared by their items. */
export function isSameValue(left: unknown, right: unknown): boolean {
  return left === right || JSON.stringify(left) === JSON.stringify(right);
}

/** Returns the Markdown table for the docs. */
export function toMarkdownTable(specs: readonly OptionSpec[]): string {
  const rows = specs.map((spec) => {
    const aliases = spec.aliases.length > 0 ? ` (also ${spec.aliases.map((flag) => `\`--${flag}\``).join(', ')})` : '';
    const defaultValue = spec.required ? 'required' : defaultText(spec);
    const choices =
      spec.choices.length > 0
        ? `: ${formatList(
            spec.choices.map((choice) => `\`${choice}\``),
            'or',
          )}`
        : '';
    // A secret has no flag, since every process on the computer can read an argv.
    const flag = spec.secret
      ? ''
      : `\`${spec.short === undefined ? '' : `-${spec.short}, `}--${spec.flag}\`${spec.kind === 'list' ? ' …' : ''}`;
    return `| ${flag} | ${spec.env === undefined ? '' : `\`${spec.env}\``} | ${defaultValue} | ${spec.description}${choices}${aliases} |`;
  });
  return ['| Flag | Environment | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function defaultText(spec: OptionSpec): string {
  const value = spec.default;
  if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return '';
  return `\`${String(value)}\``;
}
