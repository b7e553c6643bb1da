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
 * The functions of Go's language. evaluate.ts runs `and` and `or` itself, since they evaluate only the arguments that
 * they need; here they only declare how many they take.
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

/** The functions of Docker Machine and those that the docker CLI's formats have. */
export const dockerCliFunctions: TemplateFunctions = {
  ...dockerMachineFunctions,
  join: defineFunction(2, 2, ([list, separator]) =>
    requireList(list, 'join').map(formatValue).join(requireText(separator, 'what join puts between')),
  ),
  split: defineFunction(2, 2, ([text, separator]) =>
    splitText(requireText(text, 'what split takes'), requireText(separator, 'where split cuts')),
  ),
  lower: defineFunction(1, 1, ([text]) => requireText(text, 'what lower takes').toLowerCase()),
  upper: defineFunction(1, 1, ([text]) => requireText(text, 'what upper takes').toUpperCase()),
  pad: defineFunction(3, 3, ([text, before, after]) => {
    if (text === '') return '';
    return spaces(before) + requireText(text, 'what pad takes') + spaces(after);
  }),
  truncate: defineFunction(2, 2, ([text, length]) => {
    return [...requireText(text, 'what truncate takes')]
      .slice(0, Math.max(0, requireWholeNumber(length, 'a length')))
      .join('');
  }),
};

function spaces(count: GoValue): string {
  const width = Math.max(0, requireWholeNumber(count, 'a number of spaces'));
  if (width > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
  return ' '.repeat(width);
}

function splitText(text: string, separator: string): readonly string[] {
  return separator === '' ? [...text] : text.split(separator);
}

function requireList(value: GoValue, functionName: string): readonly GoValue[] {
  if (isList(value)) return value;
  throw new TemplateError(`${functionName} takes a list, and this is ${describeType(value)}`);
}

/** The escaping functions print nil as `<no value>`, where `print` has `<nil>`. */
function formatForEscaping(args: readonly GoValue[]): string {
  return sprint(args.map((value) => (isNil(value) ? '<no value>' : value)));
}

function requireNonNil(value: GoValue, functionName: string): GoValue {
  if (isNil(value)) throw new TemplateError(`${functionName} can't take from nil`);
  return value;
}

/** `len`: counts items, keys, or the bytes of a text. */
function lengthOf(value: GoValue): bigint {
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value));
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(Object.keys(value).length);
  throw new TemplateError(`len takes a string, a list or a map, and this is ${describeType(value)}`);
}

/** `index`: returns one item of a list, one value of a map or one byte of a text. */
function indexInto(from: GoValue, key: GoValue): GoValue {
  if (isMap(from)) {
    if (typeof key !== 'string')
      throw new TemplateError(`the key of a map is a string, and this is ${describeType(key)}`);
    return fieldOf(from, key) ?? null;
  }
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from)) throw new TemplateError(`index can't look into something ${describeType(from)}`);
  const length = bytes?.length ?? (from as readonly GoValue[]).length;
  const at = requireIndex(key, length - 1);
  return bytes ? BigInt(bytes[at] ?? 0) : (from as readonly GoValue[])[at];
}

/** Returns a map's value; undefined where the map does not have the key itself. */
export function fieldOf(map: GoMap, key: string): GoValue {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

/**
 * Returns an index from 0 to `last`. Numbers of JSON are refused even where they are whole: they are float64, no index
 * in Go.
 */
function requireIndex(key: GoValue, last: number): number {
  if (typeof key !== 'bigint') throw new TemplateError(`a place is an int, and this is ${describeType(key)}`);
  if (key < 0n || key > BigInt(last)) throw new TemplateError(`there is no place ${key}`);
  return Number(key);
}

/** `slice`: returns part of a list, or of a text by its bytes. */
function sliceOf(from: GoValue, bounds: readonly GoValue[]): GoValue {
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from))
    throw new TemplateError(`slice takes a string or a list, and this is ${describeType(from)}`);
  if (bounds.length > (bytes ? 2 : 3)) throw new TemplateError(`slice takes no ${bounds.length} places`);
  const { length } = bytes ?? (from as readonly GoValue[]);
  const [start = 0, end = length] = bounds.map((bound) => requireIndex(bound, length));
  if (start > end) throw new TemplateError(`slice can't go from ${start} back to ${end}`);
  return bytes ? bytes.toString('utf8', start, end) : (from as readonly GoValue[]).slice(start, end);
}

/** Whether `left` equals one of the others. */
function isOneOf(left: GoValue, others: readonly GoValue[]): boolean {
  if (others.length === 0) throw new TemplateError('eq needs something to compare with');
  return others.some((right) => isEqual(left, right));
}

function isEqual(left: GoValue, right: GoValue): boolean {
  for (const value of [left, right]) {
    if (isList(value) || isMap(value)) throw new TemplateError(`a ${isList(value) ? 'list' : 'map'} can't be compared`);
  }
  if (isNil(left) || isNil(right)) return isNil(left) && isNil(right);
  requireSameType(left, right);
  return left === right;
}

function requireSameType(left: GoValue, right: GoValue): void {
  if (typeof left !== typeof right)
    throw new TemplateError(`${typeName(left)} and ${typeName(right)} can't be compared`);
}

/** Returns a number below, at or above 0, as `left` comes before, with or after `right`. */
function compareValues(left: GoValue, right: GoValue): number {
  requireSameType(left, right);
  if (typeof left === 'string' && typeof right === 'string') return compareTexts(left, right);
  const isNumber = typeof left === 'number' || typeof left === 'bigint';
  if (!isNumber) throw new TemplateError(`something ${describeType(left)} comes neither before nor after another`);
  return left < (right as typeof left) ? -1 : left > (right as typeof left) ? 1 : 0;
}
