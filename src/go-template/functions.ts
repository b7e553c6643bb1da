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
  /** Undefined where it takes as many as there are. */
  readonly maxArgs: number | undefined;
  run(args: readonly GoValue[]): GoValue;
};

export type TemplateFunctions = Readonly<Record<string, GoFunction>>;

function defineFunction(minArgs: number, maxArgs: number | undefined, run: GoFunction['run']): GoFunction {
  return { minArgs, maxArgs, run };
}

/** What the language has by itself. `and` and `or` look at no more than they need, so that the evaluator calls them. */
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

/** What Docker Machine promised beside. */
export const dockerMachineFunctions: TemplateFunctions = {
  json: defineFunction(1, 1, ([value]) => formatJson(value, '')),
  prettyjson: defineFunction(1, 1, ([value]) => formatJson(value, '    ')),
};

/** What people know from the formats of the docker CLI, too. */
export const dockerCliFunctions: TemplateFunctions = {
  ...dockerMachineFunctions,
  join: defineFunction(2, 2, ([list, between]) =>
    requireList(list, 'join').map(formatValue).join(requireText(between, 'what join puts between')),
  ),
  split: defineFunction(2, 2, ([text, at]) =>
    splitText(requireText(text, 'what split takes'), requireText(at, 'where split cuts')),
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

function splitText(text: string, at: string): readonly string[] {
  return at === '' ? [...text] : text.split(at);
}

function requireList(value: GoValue, whose: string): readonly GoValue[] {
  if (isList(value)) return value;
  throw new TemplateError(`${whose} takes a list, and this is ${describeType(value)}`);
}

/** Of what is escaped, nothing is said to be nothing. */
function formatForEscaping(args: readonly GoValue[]): string {
  return sprint(args.map((value) => (isNil(value) ? '<no value>' : value)));
}

function requireNonNil(value: GoValue, whose: string): GoValue {
  if (isNil(value)) throw new TemplateError(`${whose} can't take from nil`);
  return value;
}

function lengthOf(value: GoValue): bigint {
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value));
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(Object.keys(value).length);
  throw new TemplateError(`len takes a string, a list or a map, and this is ${describeType(value)}`);
}

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

export function fieldOf(map: GoMap, key: string): GoValue {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

/** A number of JSON is a float64 even where it is whole, and counts nothing in Go. */
function requireIndex(key: GoValue, last: number): number {
  if (typeof key !== 'bigint') throw new TemplateError(`a place is an int, and this is ${describeType(key)}`);
  if (key < 0n || key > BigInt(last)) throw new TemplateError(`there is no place ${key}`);
  return Number(key);
}

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

function isOneOf(left: GoValue, others: readonly GoValue[]): boolean {
  if (others.length === 0) throw new TemplateError('eq needs something to compare with');
  for (const right of others) {
    for (const value of [left, right]) {
      if (isList(value) || isMap(value))
        throw new TemplateError(`a ${isList(value) ? 'list' : 'map'} can't be compared`);
    }
    if (isNil(left) || isNil(right) ? isNil(left) && isNil(right) : requireComparable(left, right) && left === right)
      return true;
  }
  return false;
}

function requireComparable(left: GoValue, right: GoValue): true {
  if (typeof left === typeof right) return true;
  throw new TemplateError(`${typeName(left)} and ${typeName(right)} can't be compared`);
}

function compareValues(left: GoValue, right: GoValue): number {
  requireComparable(left, right);
  if (typeof left === 'string' && typeof right === 'string') return compareTexts(left, right);
  const isNumber = typeof left === 'number' || typeof left === 'bigint';
  if (!isNumber) throw new TemplateError(`something ${describeType(left)} comes neither before nor after another`);
  return left < (right as typeof left) ? -1 : left > (right as typeof left) ? 1 : 0;
}
