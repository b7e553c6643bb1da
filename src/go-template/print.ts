import { LARGEST, TemplateError, tooMuch } from './mistake.ts';
import { floatText, hexFloat } from './numbers.ts';
import { backquoted, quoted, wellFormed } from './quoting.ts';
import { isList, isMap, isNil, sortedKeys, typeName, type Value } from './values.ts';

/** What stands between `%` and the verb. */
type Manner = {
  readonly minus: boolean;
  readonly plus: boolean;
  readonly sharp: boolean;
  readonly space: boolean;
  readonly zero: boolean;
  readonly width: number | undefined;
  readonly precision: number | undefined;
};

const PLAIN: Manner = {
  minus: false,
  plus: false,
  sharp: false,
  space: false,
  zero: false,
  width: undefined,
  precision: undefined,
};

const VERBS = ['v', 'T', 't', 's', 'q', 'd', 'x', 'X', 'o', 'b', 'c', 'e', 'E', 'f', 'F', 'g', 'G'];
const WIDEST = 1000;

/** As `{{ }}` and `%v` print it. */
export function printed(value: Value): string {
  return formatted(value, 'v', PLAIN);
}

/** `print`: a space stands between two neighbours of which neither is a string. */
export function printedAll(values: readonly Value[]): string {
  return values
    .map((value, index) => {
      const apart = index > 0 && typeof value !== 'string' && typeof values[index - 1] !== 'string';
      return `${apart ? ' ' : ''}${printed(value)}`;
    })
    .join('');
}

/** `printf`. What was given in the wrong type, too little or too much is said in the text, as Go does. */
export function printedBy(format: string, values: readonly Value[]): string {
  let text = '';
  let used = 0;
  const add = (more: string): void => {
    text += more;
    if (text.length > LARGEST) throw tooMuch();
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
      const manner = mannerOf(flags, width, point === undefined ? undefined : precision);
      checkVerb(letter, manner);
      add(used < values.length ? formatted(values[used], letter, manner) : `%!${letter}(MISSING)`);
      used += 1;
    }
  }
  const extra = values.slice(used).map((value) => (isNil(value) ? '<nil>' : `${typeName(value)}=${printed(value)}`));
  return extra.length > 0 ? `${text}%!(EXTRA ${extra.join(', ')})` : text;
}

function mannerOf(flags: string, width: string, precision: string | undefined): Manner {
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
  if (Math.max(manner.width ?? 0, manner.precision ?? 0) > WIDEST)
    throw new TemplateError(`printf makes nothing wider than ${WIDEST}`);
  return manner;
}

function checkVerb(letter: string, { sharp }: Manner): void {
  if (!VERBS.includes(letter)) {
    const known = VERBS.map((verb) => `%${verb}`);
    throw new TemplateError(`printf does not know %${letter}`, { known });
  }
  if (sharp && !'xXqod'.includes(letter)) throw new TemplateError(`printf does not know %#${letter}`);
}

function formatted(value: Value, verb: string, manner: Manner): string {
  if (verb === 'T') return padded(typeName(value), manner);
  if (isNil(value)) return verb === 'v' ? padded('<nil>', manner) : `%!${verb}(<nil>)`;
  if (isList(value)) return `[${value.map((item) => inside(item, verb, manner)).join(' ')}]`;
  if (isMap(value)) {
    const pairs = sortedKeys(value).map((key) => `${formatted(key, verb, manner)}:${inside(value[key], verb, manner)}`);
    return `map[${pairs.join(' ')}]`;
  }
  const text = scalar(value, verb, manner);
  return text ?? `%!${verb}(${typeName(value)}=${formatted(value, 'v', manner)})`;
}

function inside(value: Value, verb: string, manner: Manner): string {
  return isNil(value) ? '<nil>' : formatted(value, verb, manner);
}

/** Undefined where the verb is not for this type. */
function scalar(value: string | boolean | bigint | number, verb: string, manner: Manner): string | undefined {
  if (typeof value === 'string') return textBy(value, verb, manner);
  if (typeof value === 'boolean') return 'vt'.includes(verb) ? padded(String(value), manner) : undefined;
  return typeof value === 'bigint' ? wholeBy(value, verb, manner) : floatBy(value, verb, manner);
}

function textBy(text: string, verb: string, manner: Manner): string | undefined {
  if (verb === 'x' || verb === 'X') return padded(hexText(text, verb, manner), manner);
  const { precision, sharp, plus } = manner;
  const kept = precision === undefined ? text : [...text].slice(0, precision).join('');
  if (verb === 'v' || verb === 's') return padded(kept, manner);
  if (verb !== 'q') return undefined;
  return padded((sharp ? backquoted(kept) : undefined) ?? quoted(kept, '"', plus), manner);
}

function hexText(text: string, verb: string, { precision, sharp, space }: Manner): string {
  const bytes = [...Buffer.from(text)].slice(0, precision).map((byte) => byte.toString(16).padStart(2, '0'));
  if (bytes.length === 0) return '';
  const before = sharp ? '0x' : '';
  const hex = space ? bytes.map((byte) => before + byte).join(' ') : before + bytes.join('');
  return verb === 'X' ? hex.toUpperCase() : hex;
}

const BASES: Readonly<Record<string, number>> = { v: 10, d: 10, x: 16, X: 16, o: 8, b: 2 };
const PREFIXES: Readonly<Record<string, string>> = { x: '0x', X: '0X', o: '0' };

function wholeBy(value: bigint, verb: string, manner: Manner): string | undefined {
  if (verb === 'c' || verb === 'q') {
    const known = value >= 0n && value <= 0x10ffffn;
    const character = wellFormed(String.fromCodePoint(known ? Number(value) : 0xfffd));
    return padded(verb === 'c' ? character : quoted(character, "'", manner.plus), manner);
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
  return padded(sign + prefix + (verb === 'X' ? digits.toUpperCase() : digits), { ...manner, zero: false });
}

function floatBy(value: number, verb: string, manner: Manner): string | undefined {
  const digits = floatDigits(value, verb, manner);
  if (digits === undefined) return undefined;
  const negative = digits.startsWith('-');
  const sign = negative ? '-' : manner.plus ? '+' : manner.space ? ' ' : '';
  const size = negative ? digits.slice(1) : digits;
  if (!manner.zero || manner.width === undefined) return padded(sign + size, manner);
  return sign + size.padStart(manner.width - sign.length, '0');
}

function floatDigits(value: number, verb: string, { precision }: Manner): string | undefined {
  if (verb === 'v' || verb === 'g') return floatText(value, 'g', precision);
  if (verb === 'G') return floatText(value, 'g', precision).toUpperCase();
  if (verb === 'f' || verb === 'F') return floatText(value, 'f', precision ?? 6);
  if (verb === 'e') return floatText(value, 'e', precision ?? 6);
  if (verb === 'E') return floatText(value, 'e', precision ?? 6).toUpperCase();
  if (verb !== 'x' && verb !== 'X' && verb !== 'b') return undefined;
  // Powers of two with a precision, or of a whole mantissa: nobody reads these.
  if (verb === 'b' || precision !== undefined)
    throw new TemplateError(
      `printf does not know %${precision === undefined ? '' : `.${precision}`}${verb} of a float64`,
    );
  return verb === 'x' ? hexFloat(value) : hexFloat(value).toUpperCase();
}

function padded(text: string, { width, minus, zero }: Manner): string {
  const missing = (width ?? 0) - [...text].length;
  if (missing <= 0) return text;
  return minus ? text + ' '.repeat(missing) : (zero ? '0' : ' ').repeat(missing) + text;
}
