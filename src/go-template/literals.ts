import { TemplateError } from './template-error.ts';

const INTEGER = /^([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[bB]((?:_?[01])+)|0[oO]?((?:_?[0-7])+)|(0|[1-9](?:_?\d)*))$/;
const FLOAT = /^[+-]?(?:\d(?:_?\d)*\.?(?:\d(?:_?\d)*)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?$/;
const INT64_LIMIT = 2n ** 63n;

/** Parses a number as Go does: `1` is an int, `1.0` and `1e3` are float64. */
export function parseNumber(text: string, at: number): bigint | number {
  const [, sign, hex, binary, octal, decimal] = INTEGER.exec(text) ?? [];
  if (sign !== undefined) return parseInteger(text, sign, { hex, binary, octal, decimal }, at);
  const value = FLOAT.test(text) && /[.eE]/.test(text) ? Number(text.replaceAll('_', '')) : NaN;
  if (Number.isFinite(value)) return value;
  throw new TemplateError(`${text} is not a number`, { at });
}

function parseInteger(
  text: string,
  sign: string,
  { hex, binary, octal, decimal }: Readonly<Record<'hex' | 'binary' | 'octal' | 'decimal', string | undefined>>,
  at: number,
): bigint {
  const digits = hex ? `0x${hex}` : binary ? `0b${binary}` : octal ? `0o${octal}` : (decimal ?? '0');
  const size = BigInt(digits.replaceAll('_', ''));
  const value = sign === '-' ? -size : size;
  if (value >= -INT64_LIMIT && value < INT64_LIMIT) return value;
  throw new TemplateError(`${text} is too large for an int`, { at });
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  '"': 34,
  "'": 39,
};
const ESCAPE = /^\\(?:([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"']))/;

/** Parses a string in double quotes or backquotes. */
export function parseString(text: string, at: number): string {
  const body = text.slice(1, -1);
  if (text.startsWith('`')) return body.replaceAll('\r', '');
  // Escapes are bytes, and several of them may form one character.
  return Buffer.concat(parseEscapes(body, '"', at).map((part) => part.bytes)).toString('utf8');
}

/** Parses a character to its number: `'a'` is the int 97. */
export function parseCharacter(text: string, at: number): bigint {
  const parts = parseEscapes(text.slice(1, -1), "'", at);
  const [only] = parts;
  if (only === undefined || parts.length > 1) throw new TemplateError(`${text} is not a single character`, { at });
  return BigInt(only.point);
}

type LiteralPart = { readonly bytes: Buffer; readonly point: number };

function parseEscapes(body: string, quote: string, at: number): readonly LiteralPart[] {
  const parts: LiteralPart[] = [];
  for (let rest = body; rest !== '';) {
    const point = rest.codePointAt(0) ?? 0;
    if (point !== 92) {
      const plain = String.fromCodePoint(point);
      parts.push({ bytes: Buffer.from(plain), point });
      rest = rest.slice(plain.length);
      continue;
    }
    const [all = '', octal, hex, four, eight, letter] = ESCAPE.exec(rest) ?? [];
    if (all === '' || (letter !== undefined && letter !== quote && /["']/.test(letter)))
      throw new TemplateError(`${rest.slice(0, 2)} is not an escape sequence`, { at });
    parts.push(parseEscape({ octal, hex, wide: four ?? eight, letter }, all, at));
    rest = rest.slice(all.length);
  }
  return parts;
}

function parseEscape(
  { octal, hex, wide, letter }: Readonly<Record<'octal' | 'hex' | 'wide' | 'letter', string | undefined>>,
  all: string,
  at: number,
): LiteralPart {
  if (wide !== undefined) {
    const point = Number.parseInt(wide, 16);
    if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
      throw new TemplateError(`${all} is not a character`, { at });
    return { bytes: Buffer.from(String.fromCodePoint(point)), point };
  }
  const byte = octal ? Number.parseInt(octal, 8) : hex ? Number.parseInt(hex, 16) : (SIMPLE_ESCAPES[letter ?? ''] ?? 0);
  if (byte > 255) throw new TemplateError(`${all} is not a byte`, { at });
  return { bytes: Buffer.from([byte]), point: byte };
}
