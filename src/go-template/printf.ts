import { MAX_OUTPUT_LENGTH, TemplateError, tooMuchOutputError } from './template-error.ts';
import { formatFloat, formatHexFloat } from './numbers.ts';
import { goBackquote, goQuote, toWellFormed } from './quoting.ts';
import { isList, isMap, isNil, sortedKeys, typeName, type GoValue } from './go-values.ts';

/** The flags, the width and the precision between `%` and the verb. */
type FormatFlags = {
  readonly minus: boolean;
  readonly plus: boolean;
  readonly sharp: boolean;
  readonly space: boolean;
  readonly zero: boolean;
  readonly width: number | undefined;
  readonly precision: number | undefined;
};

const NO_FLAGS: FormatFlags = {
  minus: false,
  plus: false,
  sharp: false,
  space: false,
  zero: false,
  width: undefined,
  precision: undefined,
};

const VERBS = ['v', 'T', 't', 's', 'q', 'd', 'x', 'X', 'o', 'b', 'c', 'e', 'E', 'f', 'F', 'g', 'G'];
const MAX_WIDTH = 1000;

/** Formats a value as `{{ }}` and `%v` print it. */
export function formatValue(value: GoValue): string {
  return formatWithVerb(value, 'v', NO_FLAGS);
}

/** `print`: joins the values, with a space between two values if neither is a string. */
export function sprint(values: readonly GoValue[]): string {
  return values
    .map((value, index) => {
      const needsSpace = index > 0 && typeof value !== 'string' && typeof values[index - 1] !== 'string';
      return `${needsSpace ? ' ' : ''}${formatValue(value)}`;
    })
    .join('');
}

/** `%`, flags, width, precision, and the verb, which is '' at the end of the format. */
const PLACEHOLDER = /%([-+# 0]*)(\d*)(?:(\.)(\d*))?([\s\S]?)/gu;

/** `printf`. As in Go, a wrong type, a missing value or an extra value is not an error: the output mentions it. */
export function sprintf(format: string, values: readonly GoValue[]): string {
  let text = '';
  let position = 0;
  let used = 0;
  const add = (more: string): void => {
    text += more;
    if (text.length > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
  };
  for (const match of format.matchAll(PLACEHOLDER)) {
    const [placeholder, , , , , verb = ''] = match;
    add(format.slice(position, match.index));
    position = match.index + placeholder.length;
    if (verb === '') add('%!(NOVERB)');
    else if (verb === '%') add('%');
    else {
      add(formatPlaceholder(match, values.slice(used, used + 1)));
      used += 1;
    }
  }
  add(format.slice(position));
  return text + formatExtra(values.slice(used));
}

/** Formats one placeholder with its value. The list is empty if there are too few values. */
function formatPlaceholder(match: RegExpExecArray, value: readonly GoValue[]): string {
  const [, signs = '', width = '', point, precision = '', verb = ''] = match;
  const flags = parseFlags(signs, width, point === undefined ? undefined : precision);
  requireKnownVerb(verb, flags);
  return value.length > 0 ? formatWithVerb(value[0], verb, flags) : `%!${verb}(MISSING)`;
}

function formatExtra(values: readonly GoValue[]): string {
  if (values.length === 0) return '';
  const shown = values.map((value) => (isNil(value) ? '<nil>' : `${typeName(value)}=${formatValue(value)}`));
  return `%!(EXTRA ${shown.join(', ')})`;
}

function parseFlags(signs: string, width: string, precision: string | undefined): FormatFlags {
  const minus = signs.includes('-');
  const flags = {
    minus,
    plus: signs.includes('+'),
    sharp: signs.includes('#'),
    space: signs.includes(' '),
    zero: signs.includes('0') && !minus,
    width: width === '' ? undefined : Number(width),
    precision: precision === undefined ? undefined : Number(precision),
  };
  if (Math.max(flags.width ?? 0, flags.precision ?? 0) > MAX_WIDTH)
    throw new TemplateError(`printf supports a width and precision of at most ${MAX_WIDTH}`);
  return flags;
}

function requireKnownVerb(letter: string, { sharp }: FormatFlags): void {
  if (!VERBS.includes(letter)) {
    const known = VERBS.map((verb) => `%${verb}`);
    throw new TemplateError(`printf does not support %${letter}`, { known });
  }
  if (sharp && !'xXqod'.includes(letter)) throw new TemplateError(`printf does not support %#${letter}`);
}

function formatWithVerb(value: GoValue, verb: string, flags: FormatFlags): string {
  if (verb === 'T') return padText(typeName(value), flags);
  if (isNil(value)) return verb === 'v' ? padText('<nil>', flags) : `%!${verb}(<nil>)`;
  if (isList(value)) return `[${value.map((item) => formatElement(item, verb, flags)).join(' ')}]`;
  if (isMap(value)) {
    const pairs = sortedKeys(value).map(
      (key) => `${formatWithVerb(key, verb, flags)}:${formatElement(value[key], verb, flags)}`,
    );
    return `map[${pairs.join(' ')}]`;
  }
  const text = formatScalar(value, verb, flags);
  return text ?? `%!${verb}(${typeName(value)}=${formatWithVerb(value, 'v', flags)})`;
}

function formatElement(value: GoValue, verb: string, flags: FormatFlags): string {
  return isNil(value) ? '<nil>' : formatWithVerb(value, verb, flags);
}

/** Returns undefined if the verb does not fit the type. */
function formatScalar(value: string | boolean | bigint | number, verb: string, flags: FormatFlags): string | undefined {
  if (typeof value === 'string') return formatString(value, verb, flags);
  if (typeof value === 'boolean') return 'vt'.includes(verb) ? padText(String(value), flags) : undefined;
  return typeof value === 'bigint' ? formatInteger(value, verb, flags) : formatFloatWithVerb(value, verb, flags);
}

function formatString(text: string, verb: string, flags: FormatFlags): string | undefined {
  if (verb === 'x' || verb === 'X') return padText(formatHexString(text, verb, flags), flags);
  const { precision, sharp, plus } = flags;
  const shown = precision === undefined ? text : [...text].slice(0, precision).join('');
  if (verb === 'v' || verb === 's') return padText(shown, flags);
  if (verb !== 'q') return undefined;
  return padText((sharp ? goBackquote(shown) : undefined) ?? goQuote(shown, '"', plus), flags);
}

function formatHexString(text: string, verb: string, { precision, sharp, space }: FormatFlags): string {
  const bytes = [...Buffer.from(text)].slice(0, precision).map((byte) => byte.toString(16).padStart(2, '0'));
  if (bytes.length === 0) return '';
  const prefix = sharp ? '0x' : '';
  const hex = space ? bytes.map((byte) => prefix + byte).join(' ') : prefix + bytes.join('');
  return verb === 'X' ? hex.toUpperCase() : hex;
}

const BASES: Readonly<Record<string, number>> = { v: 10, d: 10, x: 16, X: 16, o: 8, b: 2 };
const PREFIXES: Readonly<Record<string, string>> = { x: '0x', X: '0X', o: '0' };

function formatInteger(value: bigint, verb: string, flags: FormatFlags): string | undefined {
  if (verb === 'c' || verb === 'q') {
    const isCodePoint = value >= 0n && value <= 0x10ffffn;
    const character = toWellFormed(String.fromCodePoint(isCodePoint ? Number(value) : 0xfffd));
    return padText(verb === 'c' ? character : goQuote(character, "'", flags.plus), flags);
  }
  const base = BASES[verb];
  if (base === undefined) return undefined;
  const { precision, width, zero, plus, space, sharp } = flags;
  if (precision === 0 && value === 0n) return ' '.repeat(width ?? 0);
  const negative = value < 0n;
  const sign = negative ? '-' : plus ? '+' : space ? ' ' : '';
  const minDigits = precision ?? (zero ? (width ?? 0) - sign.length : 0);
  const digits = (negative ? -value : value).toString(base).padStart(minDigits, '0');
  const prefix = sharp && !(verb === 'o' && digits.startsWith('0')) ? (PREFIXES[verb] ?? '') : '';
  return padText(sign + prefix + (verb === 'X' ? digits.toUpperCase() : digits), { ...flags, zero: false });
}

function formatFloatWithVerb(value: number, verb: string, flags: FormatFlags): string | undefined {
  const digits = floatDigits(value, verb, flags);
  if (digits === undefined) return undefined;
  const negative = digits.startsWith('-');
  const sign = negative ? '-' : flags.plus ? '+' : flags.space ? ' ' : '';
  const size = negative ? digits.slice(1) : digits;
  if (!flags.zero || flags.width === undefined) return padText(sign + size, flags);
  return sign + size.padStart(flags.width - sign.length, '0');
}

function floatDigits(value: number, verb: string, { precision }: FormatFlags): string | undefined {
  if (verb === 'v' || verb === 'g') return formatFloat(value, 'g', precision);
  if (verb === 'G') return formatFloat(value, 'g', precision).toUpperCase();
  if (verb === 'f' || verb === 'F') return formatFloat(value, 'f', precision ?? 6);
  if (verb === 'e') return formatFloat(value, 'e', precision ?? 6);
  if (verb === 'E') return formatFloat(value, 'e', precision ?? 6).toUpperCase();
  if (verb !== 'x' && verb !== 'X' && verb !== 'b') return undefined;
  // Go also supports these two forms, but formats for machines do not use them.
  if (verb === 'b' || precision !== undefined)
    throw new TemplateError(
      `printf does not support %${precision === undefined ? '' : `.${precision}`}${verb} for float64`,
    );
  return verb === 'x' ? formatHexFloat(value) : formatHexFloat(value).toUpperCase();
}

function padText(text: string, { width, minus, zero }: FormatFlags): string {
  const missing = (width ?? 0) - [...text].length;
  if (missing <= 0) return text;
  return minus ? text + ' '.repeat(missing) : (zero ? '0' : ' ').repeat(missing) + text;
}
