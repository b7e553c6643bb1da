import { z } from 'zod';
import { SlipwayError } from '../errors.ts';

declare module 'zod' {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface merges into a library's
  interface GlobalMeta {
    /** The wizard's question; without it the wizard does not ask. */
    ask?: string;
    /** The environment variable, where it is not the one derived from the flag. */
    env?: string;
    /** Further flags that mean the same, without dashes: `generic-engine-port`. */
    also?: readonly string[];
    /** The flag itself, without dashes, where it is not prefix + key. */
    flag?: string;
    /** One letter for a short flag. */
    short?: string;
    /** What the help shows for the value: `<address>`. */
    value?: string;
    /** Never stored, never in an argv, typed unseen. */
    secret?: boolean;
  }
}

/** What one declaration says, as plain data. Flags, environment, questions, help, docs and argv all read this. */
export type OptionSpec = {
  readonly key: string;
  /** Without dashes. */
  readonly flag: string;
  readonly aliases: readonly string[];
  readonly short: string | undefined;
  /** Options of one call's doing (--force) are not read from the environment: there they would outlive the call. */
  readonly env: string | undefined;
  readonly kind: 'string' | 'int' | 'boolean' | 'choice' | 'list';
  readonly choices: readonly string[];
  readonly default: unknown;
  readonly required: boolean;
  readonly secret: boolean;
  readonly description: string;
  readonly valueName: string;
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
  readonly secret?: boolean;
};

/** Reads a flat zod object of strings, integers, booleans, choices and lists of strings; throws on anything else. */
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
      default: property.default,
      required: required.has(key),
      secret: property.secret ?? false,
      description: property.description ?? '',
      valueName: property.value ?? (kind === 'int' ? 'number' : kind === 'choice' ? 'choice' : 'value'),
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
 * Text from a flag, a variable or a prompt -> the value that the schema takes. Wrong text stays text; the schema names
 * it.
 */
export function coerceOptionValue(info: OptionSpec, text: string): unknown {
  if (info.kind === 'int') return /^-?\d+$/.test(text.trim()) ? Number(text) : text;
  if (info.kind === 'boolean') {
    if (/^(1|true|yes|on)$/i.test(text)) return true;
    return /^(0|false|no|off|)$/i.test(text) ? false : text;
  }
  if (info.kind === 'list') return text === '' ? [] : text.split(',');
  return text;
}

export type OptionValues = Readonly<Record<string, unknown>>;

export function optionsFromEnv(
  infos: readonly OptionSpec[],
  env: Readonly<Record<string, string | undefined>>,
): OptionValues {
  const values: Record<string, unknown> = {};
  for (const info of infos) {
    const text = info.env === undefined ? undefined : env[info.env];
    if (text !== undefined && text !== '') values[info.key] = coerceOptionValue(info, text);
  }
  return values;
}

/** Returns the values of these options among the flags, by the keys of their schema. */
export function pickFlagValues(specs: readonly OptionSpec[], flags: OptionValues): OptionValues {
  return Object.fromEntries(
    specs.filter(({ flag }) => flags[flag] !== undefined).map(({ flag, key }) => [key, flags[flag]]),
  );
}

/** The one parse. All that is wrong is said at once, each by its flag, with the value that was given. */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  infos: readonly OptionSpec[],
  values: OptionValues,
): z.output<S> {
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  const missing = infos.filter((info) => info.required && values[info.key] === undefined);
  const wrong = result.error.issues
    .filter((issue) => !missing.some((info) => info.key === issue.path[0]))
    .map((issue) => formatIssue(issue, infos, values));
  const sentences = [...new Set(wrong)];
  if (missing.length > 0) {
    sentences.unshift(
      `${formatList(missing.map((info) => `--${info.flag}`))} ${missing.length === 1 ? 'is' : 'are'} missing`,
    );
  }
  const hint =
    missing.length > 0
      ? `Add ${missing.map((info) => `--${info.flag} <${info.valueName}>`).join(' ')}, or set ${formatList(missing.flatMap((info) => info.env ?? []))}`
      : topicHint(infos);
  throw new SlipwayError('USAGE', sentences.join('; '), hint === undefined ? {} : { hint });
}

/** The options of a driver or of the engine begin with its name, which is also their help page's. */
function topicHint(infos: readonly OptionSpec[]): string | undefined {
  const topic = infos[0]?.flag.split('-', 1)[0] ?? '';
  const shared = infos.filter(({ flag }) => flag.startsWith(`${topic}-`)).length > 1;
  return shared ? `All options: slipway help ${topic}` : undefined;
}

function formatIssue(issue: z.core.$ZodIssue, infos: readonly OptionSpec[], values: OptionValues): string {
  const info = infos.find((candidate) => candidate.key === issue.path[0]);
  if (!info) return issue.message;
  const whole = values[info.key];
  const given = issue.path.length > 1 && Array.isArray(whole) ? whole[Number(issue.path[1])] : whole;
  return `--${info.flag} must be ${expectedValue(issue, info)}, got ${info.secret ? 'something else' : JSON.stringify(given)}`;
}

function expectedValue(issue: z.core.$ZodIssue, info: OptionSpec): string {
  if (issue.code === 'too_small') return issue.origin === 'string' ? 'a text' : `at least ${issue.minimum}`;
  if (issue.code === 'too_big') return `at most ${issue.maximum}`;
  if (issue.code === 'invalid_value') return `one of ${formatList(info.choices, 'or')}`;
  if (issue.code === 'invalid_type') {
    const words = {
      int: 'a whole number',
      boolean: 'true or false',
      string: 'a text',
      choice: 'a choice',
      list: 'a list',
    };
    return words[info.kind];
  }
  // Custom checks and patterns phrase their message as what the value must be: "a fingerprint like SHA256:…".
  return issue.message;
}

/** `a`, `a and b`, `a, b and c`. */
export function formatList(words: readonly string[], conjunction = 'and'): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${conjunction} ${words.at(-1)}`;
}

/** The way back: what one would type to get these values. Defaults and secrets are left out. */
export function toArgv(infos: readonly OptionSpec[], values: OptionValues): readonly string[] {
  return infos.flatMap((info) => {
    const value = values[info.key];
    if (value === undefined || info.secret || isSameValue(value, info.default)) return [];
    if (info.kind === 'boolean') return [value === true ? `--${info.flag}` : `--no-${info.flag}`];
    const each = Array.isArray(value) ? value.map(String) : [String(value)];
    return each.flatMap((text) => (/^-|^$/.test(text) ? [`--${info.flag}=${text}`] : [`--${info.flag}`, text]));
  });
}

/** Values as they are declared: whoever reads them sees no difference. */
export function isSameValue(left: unknown, right: unknown): boolean {
  return left === right || JSON.stringify(left) === JSON.stringify(right);
}

/** The Markdown table of the docs. */
export function toMarkdownTable(infos: readonly OptionSpec[]): string {
  const rows = infos.map((info) => {
    const also = info.aliases.length > 0 ? ` (also ${info.aliases.map((flag) => `\`--${flag}\``).join(', ')})` : '';
    const initial = info.required ? 'required' : defaultText(info);
    const choices =
      info.choices.length > 0
        ? `: ${formatList(
            info.choices.map((choice) => `\`${choice}\``),
            'or',
          )}`
        : '';
    // A secret has no flag: an argv is read by every process of the computer.
    const flag = info.secret
      ? ''
      : `\`${info.short === undefined ? '' : `-${info.short}, `}--${info.flag}\`${info.kind === 'list' ? ' …' : ''}`;
    return `| ${flag} | ${info.env === undefined ? '' : `\`${info.env}\``} | ${initial} | ${info.description}${choices}${also} |`;
  });
  return ['| Flag | Environment | Default | Meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

function defaultText(info: OptionSpec): string {
  const value = info.default;
  if (value === undefined || value === false || (Array.isArray(value) && value.length === 0)) return '';
  return `\`${String(value)}\``;
}
