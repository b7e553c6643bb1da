/**
 * Formats numbers as Go does. It computes the digits itself, because JavaScript rounds ties up and Go rounds them to
 * the even digit, and because JavaScript switches from `1000000` to `1e+06` at another number.
 */

/** The number 0.DIGITS × 10^point, without leading zeros; zero has no digits. */
type Decimal = { readonly digits: string; readonly point: number };

/** Formats a number. Without a precision, uses as many digits as distinguish it from neighboring numbers. */
export function formatFloat(value: number, verb: 'e' | 'f' | 'g', precision: number | undefined): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const size = Math.abs(value);
  const decimal = precision === undefined ? shortestDecimal(size) : exactDecimal(size);
  if (verb === 'e') return sign + formatScientific(decimal, precision);
  if (verb === 'f') return sign + formatPositional(decimal, precision);
  return sign + formatGeneral(decimal, precision);
}

function shortestDecimal(size: number): Decimal {
  const [mantissa = '', exponent = '0'] = size.toExponential().split('e');
  const digits = mantissa.replace('.', '').replace(/^0+$/, '');
  return { digits, point: digits === '' ? 0 : Number(exponent) + 1 };
}

/** Returns all digits. Every double has a finite decimal form: for negative e, m × 2^e is m × 5^-e × 10^e. */
function exactDecimal(size: number): Decimal {
  if (size === 0) return { digits: '', point: 0 };
  const { mantissa, exponent } = floatParts(size);
  const digits = String(exponent < 0 ? mantissa * 5n ** BigInt(-exponent) : mantissa << BigInt(exponent));
  return { digits: digits.replace(/0+$/, ''), point: digits.length + Math.min(0, exponent) };
}

function floatParts(size: number): { readonly mantissa: bigint; readonly exponent: number } {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setFloat64(0, size);
  const bits = bytes.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  return biased === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | 0x10000000000000n, exponent: biased - 1075 };
}

/** Rounds to at most `count` digits. Rounds a tie to the even digit. */
function roundDecimal({ digits, point }: Decimal, count: number): Decimal {
  if (count >= digits.length) return { digits, point };
  if (count < 0) return { digits: '', point: 0 };
  const head = digits.slice(0, count);
  const next = digits.charCodeAt(count) - 48;
  const isOdd = Number(head.at(-1) ?? '0') % 2 === 1;
  const roundsUp = next > 5 || (next === 5 && (digits.length > count + 1 || isOdd));
  if (!roundsUp) return { digits: head, point: head === '' ? 0 : point };
  const rounded = String(BigInt(`0${head}`) + 1n).padStart(count, '0');
  return { digits: rounded, point: point + rounded.length - count };
}

function formatScientific(decimal: Decimal, precision: number | undefined): string {
  const { digits, point } = precision === undefined ? decimal : roundDecimal(decimal, precision + 1);
  const exponent = digits === '' ? 0 : point - 1;
  const fraction = digits.slice(1).padEnd(precision ?? 0, '0');
  const power = String(Math.abs(exponent)).padStart(2, '0');
  return `${digits[0] ?? '0'}${fraction === '' ? '' : `.${fraction}`}e${exponent < 0 ? '-' : '+'}${power}`;
}

function formatPositional(decimal: Decimal, precision: number | undefined): string {
  const { digits, point } = precision === undefined ? decimal : roundDecimal(decimal, decimal.point + precision);
  const whole = point > 0 ? digits.slice(0, point).padEnd(point, '0') : '0';
  const tail = point > 0 ? digits.slice(point) : '0'.repeat(digits === '' ? 0 : -point) + digits;
  const fraction = tail.padEnd(precision ?? 0, '0');
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

function formatGeneral(decimal: Decimal, precision: number | undefined): string {
  const count = precision === 0 ? 1 : precision;
  const { digits: all, point } = count === undefined ? decimal : roundDecimal(decimal, count);
  const digits = all.replace(/0+$/, '');
  const border = count === undefined ? 6 : count > digits.length && digits.length >= point ? digits.length : count;
  const exponent = digits === '' ? 0 : point - 1;
  const print = exponent < -4 || exponent >= border ? formatScientific : formatPositional;
  return print({ digits, point }, undefined);
}

/** `%x` of a float: the hexadecimal mantissa and a power of two. */
export function formatHexFloat(value: number): string {
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  if (value === 0) return `${sign}0x0p+00`;
  const { mantissa, exponent } = floatParts(Math.abs(value));
  const bits = mantissa.toString(2);
  const power = exponent + bits.length - 1;
  const fraction = bits.slice(1).replace(/0+$/, '');
  const hex = fraction.replaceAll(/.{1,4}/g, (four) => Number.parseInt(four.padEnd(4, '0'), 2).toString(16));
  const tail = String(Math.abs(power)).padStart(2, '0');
  return `${sign}0x1${hex === '' ? '' : `.${hex}`}p${power < 0 ? '-' : '+'}${tail}`;
}
