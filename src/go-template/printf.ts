import { MAX_OUTPUT_LENGTH, TemplateError, tooMuchOutputError } from './template-error.ts';
import { formatFloat, formatHexFloat } from './numbers.ts';
import { goBackquote, goQuote, toWellFormed } from './quoting.ts';
import { isList, isMap, isNil, sortedKeys, typeName, type GoValue } from './go-values.ts';

/** What stands between `%` and the verb. */
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

/** As `{{ }}` and `%v` print it. */
export function formatValue(value: GoValue): string {
  return formatWithVerb(value, 'v', NO_FLAGS);
}

/** `print`: a space stands between two neighbours of which neither is a string. */
export function sprint(values: readonly GoValue[]): string {
  return values
    .map((value, index) => {
      const apart = index > 0 && typeof value !== 'string' && typeof values[index - 1] !== 'string';
      return `${apart ? ' ' : ''}${formatValue(value)}`;
    })
    .join('');
}

/** `printf`. What was given in the wrong type, too little or too much is said in the text, as Go does. */
export function sprintf(format: string, values: readonly GoValue[]): string {
  let text = '';
  let used = 0;
  const add = (more: string): void => {
    text += more;
    if (text.length > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
  };
  const verb = /%([-+# 0]*)(\d*)(?:(\.)(\d*))?([\s\S]?)/uy;
  for (let at = 0; at < format.length;) {
    const next = format.indexOf('%', at);
    add(format.slice(at, next < 0 ? undefined : next));
    if (next < 0) break;
    verb.lastIndex = next;
    const [all = '', flags = '', width = '', point, precision = '', letter = ''] = verb.exec(format) ?? [];
    at = next + all.length;
    if (letter === '') add('%!(NOVERB)');
    else if (letter === '%') add('%');
    else {
      const manner = parseFlags(flags, width, point === undefined ? undefined : precision);
      requireKnownVerb(letter, manner);
      add(used < values.length ? formatWithVerb(values[used], letter, manner) : `%!${letter}(MISSING)`);
      used += 1;
    }
  }
  const extra = values
    .slice(used)
    .map((value) => (isNil(value) ? '<nil>' : `${typeName(value)}=${formatValue(value)}`));
  return extra.length > 0 ? `${text}%!(EXTRA ${extra.join(', ')})` : text;
}

function parseFlags(flags: string, width: string, precision: string | undefined): FormatFlags {
  const minus = flags.includes('-');
  const manner = {
    minus,
    plus: flags.includes('+'),
    sharp: flags.includes('#'),
    space: flags.includes(' '),
    zero: flags.includes('0') && !minus,
    width: width === '' ? undefined : Number(width),
    precision: precision === undefined ? undefined : Number(precision),
  };
  if (Math.max(manner.width ?? 0, manner.precision ?? 0) > MAX_WIDTH)
    throw new TemplateError(`printf makes nothing wider than ${MAX_WIDTH}`);
  return manner;
}

function requireKnownVerb(letter: string, { sharp }: FormatFlags): void {
  if (!VERBS.includes(letter)) {
    const known = VERBS.map((verb) => `%${verb}`);
    throw new TemplateError(`printf does not know %${letter}`, { known });
  }
  if (sharp && !'xXqod'.includes(letter)) throw new TemplateError(`printf does not know %#${letter}`);
}

function formatWithVerb(value: GoValue, verb: string, manner: FormatFlags): string {
  if (verb === 'T') return padText(typeName(value), manner);
  if (isNil(value)) return verb === 'v' ? padText('<nil>', manner) : `%!${verb}(<nil>)`;
  if (isList(value)) return `[${value.map((item) => formatElement(item, verb, manner)).join(' ')}]`;
  if (isMap(value)) {
    const pairs = sortedKeys(value).map(
      (key) => `${formatWithVerb(key, verb, manner)}:${formatElement(value[key], verb, manner)}`,
    );
    return `map[${pairs.join(' ')}]`;
  }
  const text = formatScalar(value, verb, manner);
  return text ?? `%!${verb}(${typeName(value)}=${formatWithVerb(value, 'v', manner)})`;
}

function formatElement(value: GoValue, verb: string, manner: FormatFlags): string {
  return isNil(value) ? '<nil>' : formatWithVerb(value, verb, manner);
}

/** Undefined where the verb is not for this type. */
function formatScalar(
  value: string | boolean | bigint | number,
  verb: string,
  manner: FormatFlags,
): string | undefined {
  if (typeof value === 'string') return formatString(value, verb, manner);
  if (typeof value === 'boolean') return 'vt'.includes(verb) ? padText(String(value), manner) : undefined;
  return typeof value === 'bigint' ? formatInteger(value, verb, manner) : formatFloatWithVerb(value, verb, manner);
}

function formatString(text: string, verb: string, manner: FormatFlags): string | undefined {
  if (verb === 'x' || verb === 'X') return padText(formatHexString(text, verb, manner), manner);
  const { precision, sharp, plus } = manner;
  const kept = precision === undefined ? text : [...text].slice(0, precision).join('');
  if (verb === 'v' || verb === 's') return padText(kept, manner);
  if (verb !== 'q') return undefined;
  return padText((sharp ? goBackquote(kept) : undefined) ?? goQuote(kept, '"', plus), manner);
}

function formatHexString(text: string, verb: string, { precision, sharp, space }: FormatFlags): string {
  const bytes = [...Buffer.from(text)].slice(0, precision).map((byte) => byte.toString(16).padStart(2, '0'));
  if (bytes.length === 0) return '';
  const before = sharp ? '0x' : '';
  const hex = space ? bytes.map((byte) => before + byte).join(' ') : before + bytes.join('');
  return verb === 'X' ? hex.toUpperCase() : hex;
}

const BASES: Readonly<Record<string, number>> = { v: 10, d: 10, x: 16, X: 16, o: 8, b: 2 };
const PREFIXES: Readonly<Record<string, string>> = { x: '0x', X: '0X', o: '0' };

function formatInteger(value: bigint, verb: string, manner: FormatFlags): string | undefined {
  if (verb === 'c' || verb === 'q') {
    const known = value >= 0n && value <= 0x10ffffn;
    const character = toWellFormed(String.fromCodePoint(known ? Number(value) : 0xfffd));
    return padText(verb === 'c' ? character : goQuote(character, "'", manner.plus), manner);
  }
  const base = BASES[verb];
  if (base === undefined) return undefined;
  const { precision, width, zero, plus, space, sharp } = manner;
  if (precision === 0 && value === 0n) return ' '.repeat(width ?? 0);
  const negative = value < 0n;
  const sign = negative ? '-' : plus ? '+' : space ? ' ' : '';
  const least = precision ?? (zero ? (width ?? 0) - sign.length : 0);
  const digits = (negative ? -value : value).toString(base).padStart(least, '0');
  const prefix = sharp && !(verb === 'o' && digits.startsWith('0')) ? (PREFIXES[verb] ?? '') : '';
  return padText(sign + prefix + (verb === 'X' ? digits.toUpperCase() : digits), { ...manner, zero: false });
}

function formatFloatWithVerb(value: number, verb: string, manner: FormatFlags): string | undefined {
  const digits = floatDigits(value, verb, manner);
  if (digits === undefined) return undefined;
  const negative = digits.startsWith('-');
  const sign = negative ? '-' : manner.plus ? '+' : manner.space ? ' ' : '';
  const size = negative ? digits.slice(1) : digits;
  if (!manner.zero || manner.width === undefined) return padText(sign + size, manner);
  return sign + size.padStart(manner.width - sign.length, '0');
}

function floatDigits(value: number, verb: string, { precision }: FormatFlags): string | undefined {
  if (verb === 'v' || verb === 'g') return formatFloat(value, 'g', precision);
  if (verb === 'G') return formatFloat(value, 'g', precision).toUpperCase();
  if (verb === 'f' || verb === 'F') return formatFloat(value, 'f', precision ?? 6);
  if (verb === 'e') return formatFloat(value, 'e', precision ?? 6);
  if (verb === 'E') return formatFloat(value, 'e', precision ?? 6).toUpperCase();
  if (verb !== 'x' && verb !== 'X' && verb !== 'b') return undefined;
  // Powers of two with a precision, or of a whole mantissa: nobody reads these.
  if (verb === 'b' || precision !== undefined)
    throw new TemplateError(
      `printf does not know %${precision === undefined ? '' : `.${precision}`}${verb} of a float64`,
    );
  return verb === 'x' ? formatHexFloat(value) : formatHexFloat(value).toUpperCase();
}

function padText(text: string, { width, minus, zero }: FormatFlags): string {
  const missing = (width ?? 0) - [...text].length;
  if (missing <= 0) return text;
  return minus ? text + ' '.repeat(missing) : (zero ? '0' : ' ').repeat(missing) + text;
}
