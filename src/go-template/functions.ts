import { formatJson } from './json.ts';
import { MAX_OUTPUT_LENGTH, TemplateError, tooMuchOutputError } from './template-error.ts';
import { formatValue, sprint, sprintf } from './printf.ts';
import { escapeHtml, escapeJs, escapeQuery } from './quoting.ts';
import {
  compareTexts,
  isList,
  isMap,
  isNil,
  isTruthy,
  requireText,
  typeName,
  requireWholeNumber,
  describeType,
  type GoMap,
  type GoValue,
} from './go-values.ts';

export type GoFunction = {
  readonly minArgs: number;
  /** Undefined for a function that takes any number of arguments. */
  readonly maxArgs: number | undefined;
  run(args: readonly GoValue[]): GoValue;
};

export type TemplateFunctions = Readonly<Record<string, GoFunction>>;

function defineFunction(minArgs: number, maxArgs: number | undefined, run: GoFunction['run']): GoFunction {
  return { minArgs, maxArgs, run };
}

/**
 * The functions of Go's template language. `and` and `or` are only declared here: evaluate.ts runs them, since they
 * evaluate only the arguments that they need.
 */
export const builtins: TemplateFunctions = {
  and: defineFunction(1, undefined, (args) => args.at(-1)),
  or: defineFunction(1, undefined, (args) => args.at(-1)),
  not: defineFunction(1, 1, ([value]) => !isTruthy(value)),
  len: defineFunction(1, 1, ([value]) => lengthOf(value)),
  index: defineFunction(1, undefined, ([from, ...keys]) => keys.reduce(indexInto, requireNonNil(from, 'index'))),
  slice: defineFunction(1, undefined, ([from, ...bounds]) => sliceOf(requireNonNil(from, 'slice'), bounds)),
  print: defineFunction(0, undefined, sprint),
  println: defineFunction(0, undefined, (args) => `${args.map(formatValue).join(' ')}\n`),
  printf: defineFunction(1, undefined, ([format, ...args]) =>
    sprintf(requireText(format, 'the format of printf'), args),
  ),
  html: defineFunction(0, undefined, (args) => escapeHtml(formatForEscaping(args))),
  js: defineFunction(0, undefined, (args) => escapeJs(formatForEscaping(args))),
  urlquery: defineFunction(0, undefined, (args) => escapeQuery(formatForEscaping(args))),
  eq: defineFunction(1, undefined, ([left, ...others]) => isOneOf(left, others)),
  ne: defineFunction(2, 2, ([left, right]) => !isOneOf(left, [right])),
  lt: defineFunction(2, 2, ([left, right]) => compareValues(left, right) < 0),
  le: defineFunction(2, 2, ([left, right]) => compareValues(left, right) <= 0),
  gt: defineFunction(2, 2, ([left, right]) => compareValues(left, right) > 0),
  ge: defineFunction(2, 2, ([left, right]) => compareValues(left, right) >= 0),
};

/** The functions that Docker Machine added. */
export const dockerMachineFunctions: TemplateFunctions = {
  json: defineFunction(1, 1, ([value]) => formatJson(value, '')),
  prettyjson: defineFunction(1, 1, ([value]) => formatJson(value, '    ')),
};

/** The functions of Docker Machine and of the docker CLI's formats. */
export const dockerCliFunctions: TemplateFunctions = {
  ...dockerMachineFunctions,
  join: defineFunction(2, 2, ([list, separator]) =>
    requireList(list, 'join').map(formatValue).join(requireText(separator, 'the separator of join')),
  ),
  split: defineFunction(2, 2, ([text, separator]) =>
    splitText(requireText(text, 'the text for split'), requireText(separator, 'the separator of split')),
  ),
  lower: defineFunction(1, 1, ([text]) => requireText(text, 'the argument of lower').toLowerCase()),
  upper: defineFunction(1, 1, ([text]) => requireText(text, 'the argument of upper').toUpperCase()),
  pad: defineFunction(3, 3, ([text, before, after]) => {
    if (text === '') return '';
    return spaces(before) + requireText(text, 'the text for pad') + spaces(after);
  }),
  truncate: defineFunction(2, 2, ([text, length]) => {
    return [...requireText(text, 'the text for truncate')]
      .slice(0, Math.max(0, requireWholeNumber(length, 'the length for truncate')))
      .join('');
  }),
};

function spaces(count: GoValue): string {
  const width = Math.max(0, requireWholeNumber(count, 'the number of spaces for pad'));
  if (width > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
  return ' '.repeat(width);
}

function splitText(text: string, separator: string): readonly string[] {
  return separator === '' ? [...text] : text.split(separator);
}

function requireList(value: GoValue, functionName: string): readonly GoValue[] {
  if (isList(value)) return value;
  throw new TemplateError(`${functionName} requires a list, got ${describeType(value)}`);
}

/** Formats values for the escaping functions, which print nil as `<no value>`; `print` prints `<nil>`. */
function formatForEscaping(args: readonly GoValue[]): string {
  return sprint(args.map((value) => (isNil(value) ? '<no value>' : value)));
}

function requireNonNil(value: GoValue, functionName: string): GoValue {
  if (isNil(value)) throw new TemplateError(`${functionName} can't be used on nil`);
  return value;
}

/** `len`: returns the number of items, of keys, or of a string's bytes. */
function lengthOf(value: GoValue): bigint {
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value));
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(Object.keys(value).length);
  throw new TemplateError(`len requires a string, a list or a map, got ${describeType(value)}`);
}

/** `index`: returns an item of a list, a value of a map, or a byte of a string. */
function indexInto(from: GoValue, key: GoValue): GoValue {
  if (isMap(from)) {
    if (typeof key !== 'string') throw new TemplateError(`the key of a map must be a string, got ${describeType(key)}`);
    return fieldOf(from, key) ?? null;
  }
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from))
    throw new TemplateError(`index requires a string, a list or a map, got ${describeType(from)}`);
  const length = bytes?.length ?? (from as readonly GoValue[]).length;
  const at = requireIndex(key, length - 1);
  return bytes ? BigInt(bytes[at] ?? 0) : (from as readonly GoValue[])[at];
}

/** Returns a map's own value; undefined if the map does not have the key. */
export function fieldOf(map: GoMap, key: string): GoValue {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

/**
 * Returns an index from 0 to `last`. Refuses whole numbers from JSON too: they are float64, which is no index in Go.
 */
function requireIndex(key: GoValue, last: number): number {
  if (typeof key !== 'bigint') throw new TemplateError(`an index must be an int, got ${describeType(key)}`);
  if (key < 0n || key > BigInt(last)) throw new TemplateError(`index ${key} is out of range`);
  return Number(key);
}

/** `slice`: returns part of a list, or some bytes of a string. */
function sliceOf(from: GoValue, bounds: readonly GoValue[]): GoValue {
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from)) throw new TemplateError(`slice requires a string or a list, got ${describeType(from)}`);
  const maxBounds = bytes ? 2 : 3;
  if (bounds.length > maxBounds)
    throw new TemplateError(`slice takes at most ${maxBounds} indexes, got ${bounds.length}`);
  const { length } = bytes ?? (from as readonly GoValue[]);
  const [start = 0, end = length] = bounds.map((bound) => requireIndex(bound, length));
  if (start > end) throw new TemplateError(`slice can't start at ${start} and end at ${end}`);
  return bytes ? bytes.toString('utf8', start, end) : (from as readonly GoValue[]).slice(start, end);
}

/** Returns whether `left` equals one of the others. */
function isOneOf(left: GoValue, others: readonly GoValue[]): boolean {
  if (others.length === 0) throw new TemplateError('eq requires a value to compare with');
  return others.some((right) => isEqual(left, right));
}

function isEqual(left: GoValue, right: GoValue): boolean {
  for (const value of [left, right]) {
    if (isList(value) || isMap(value)) throw new TemplateError(`${isList(value) ? 'lists' : 'maps'} can't be compared`);
  }
  if (isNil(left) || isNil(right)) return isNil(left) && isNil(right);
  requireSameType(left, right);
  return left === right;
}

function requireSameType(left: GoValue, right: GoValue): void {
  if (typeof left !== typeof right)
    throw new TemplateError(`${typeName(left)} and ${typeName(right)} can't be compared`);
}

/** Returns a negative number if `left` comes before `right`, 0 if they are equal, and otherwise a positive number. */
function compareValues(left: GoValue, right: GoValue): number {
  requireSameType(left, right);
  if (typeof left === 'string' && typeof right === 'string') return compareTexts(left, right);
  const isNumber = typeof left === 'number' || typeof left === 'bigint';
  if (!isNumber) throw new TemplateError(`values of type ${typeName(left)} have no order`);
  return left < (right as typeof left) ? -1 : left > (right as typeof left) ? 1 : 0;
}
