import { jsonText } from './json.ts';
import { LARGEST, TemplateError, tooMuch } from './mistake.ts';
import { printed, printedAll, printedBy } from './print.ts';
import { htmlEscaped, jsEscaped, queryEscaped } from './quoting.ts';
import {
  compareTexts,
  isList,
  isMap,
  isNil,
  isTrue,
  textOf,
  typeName,
  wholeOf,
  withType,
  type GoMap,
  type Value,
} from './values.ts';

export type GoFunction = {
  readonly least: number;
  /** Undefined where it takes as many as there are. */
  readonly most: number | undefined;
  run(args: readonly Value[]): Value;
};

export type Functions = Readonly<Record<string, GoFunction>>;

function takes(least: number, most: number | undefined, run: GoFunction['run']): GoFunction {
  return { least, most, run };
}

/** What the language has by itself. `and` and `or` look at no more than they need, so that the evaluator calls them. */
export const builtins: Functions = {
  and: takes(1, undefined, (args) => args.at(-1)),
  or: takes(1, undefined, (args) => args.at(-1)),
  not: takes(1, 1, ([value]) => !isTrue(value)),
  len: takes(1, 1, ([value]) => lengthOf(value)),
  index: takes(1, undefined, ([from, ...keys]) => keys.reduce(entryOf, filled(from, 'index'))),
  slice: takes(1, undefined, ([from, ...bounds]) => sliceOf(filled(from, 'slice'), bounds)),
  print: takes(0, undefined, printedAll),
  println: takes(0, undefined, (args) => `${args.map(printed).join(' ')}\n`),
  printf: takes(1, undefined, ([format, ...args]) => printedBy(textOf(format, 'the format of printf'), args)),
  html: takes(0, undefined, (args) => htmlEscaped(joined(args))),
  js: takes(0, undefined, (args) => jsEscaped(joined(args))),
  urlquery: takes(0, undefined, (args) => queryEscaped(joined(args))),
  eq: takes(1, undefined, ([left, ...others]) => isOneOf(left, others)),
  ne: takes(2, 2, ([left, right]) => !isOneOf(left, [right])),
  lt: takes(2, 2, ([left, right]) => order(left, right) < 0),
  le: takes(2, 2, ([left, right]) => order(left, right) <= 0),
  gt: takes(2, 2, ([left, right]) => order(left, right) > 0),
  ge: takes(2, 2, ([left, right]) => order(left, right) >= 0),
};

/** What Docker Machine promised beside. */
export const oldFunctions: Functions = {
  json: takes(1, 1, ([value]) => jsonText(value, '')),
  prettyjson: takes(1, 1, ([value]) => jsonText(value, '    ')),
};

/** What people know from the formats of the docker CLI, too. */
export const dockerFunctions: Functions = {
  ...oldFunctions,
  join: takes(2, 2, ([list, between]) =>
    listOf(list, 'join').map(printed).join(textOf(between, 'what join puts between')),
  ),
  split: takes(2, 2, ([text, at]) => partsOf(textOf(text, 'what split takes'), textOf(at, 'where split cuts'))),
  lower: takes(1, 1, ([text]) => textOf(text, 'what lower takes').toLowerCase()),
  upper: takes(1, 1, ([text]) => textOf(text, 'what upper takes').toUpperCase()),
  pad: takes(3, 3, ([text, before, after]) => {
    if (text === '') return '';
    return spaces(before) + textOf(text, 'what pad takes') + spaces(after);
  }),
  truncate: takes(2, 2, ([text, length]) => {
    return [...textOf(text, 'what truncate takes')].slice(0, Math.max(0, wholeOf(length, 'a length'))).join('');
  }),
};

function spaces(count: Value): string {
  const width = Math.max(0, wholeOf(count, 'a number of spaces'));
  if (width > LARGEST) throw tooMuch();
  return ' '.repeat(width);
}

function partsOf(text: string, at: string): readonly string[] {
  return at === '' ? [...text] : text.split(at);
}

function listOf(value: Value, whose: string): readonly Value[] {
  if (isList(value)) return value;
  throw new TemplateError(`${whose} takes a list, and this is ${withType(value)}`);
}

/** Of what is escaped, nothing is said to be nothing. */
function joined(args: readonly Value[]): string {
  return printedAll(args.map((value) => (isNil(value) ? '<no value>' : value)));
}

function filled(value: Value, whose: string): Value {
  if (isNil(value)) throw new TemplateError(`${whose} can’t take from nil`);
  return value;
}

function lengthOf(value: Value): bigint {
  if (typeof value === 'string') return BigInt(Buffer.byteLength(value));
  if (isList(value)) return BigInt(value.length);
  if (isMap(value)) return BigInt(Object.keys(value).length);
  throw new TemplateError(`len takes a string, a list or a map, and this is ${withType(value)}`);
}

function entryOf(from: Value, key: Value): Value {
  if (isMap(from)) {
    if (typeof key !== 'string') throw new TemplateError(`the key of a map is a string, and this is ${withType(key)}`);
    return valueAt(from, key) ?? null;
  }
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from)) throw new TemplateError(`index can’t look into something ${withType(from)}`);
  const length = bytes?.length ?? (from as readonly Value[]).length;
  const at = place(key, length - 1);
  return bytes ? BigInt(bytes[at] ?? 0) : (from as readonly Value[])[at];
}

export function valueAt(map: GoMap, key: string): Value {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

/** A number of JSON is a float64 even where it is whole, and counts nothing in Go. */
function place(key: Value, last: number): number {
  if (typeof key !== 'bigint') throw new TemplateError(`a place is an int, and this is ${withType(key)}`);
  if (key < 0n || key > BigInt(last)) throw new TemplateError(`there is no place ${key}`);
  return Number(key);
}

function sliceOf(from: Value, bounds: readonly Value[]): Value {
  const bytes = typeof from === 'string' ? Buffer.from(from) : undefined;
  if (!bytes && !isList(from)) throw new TemplateError(`slice takes a string or a list, and this is ${withType(from)}`);
  if (bounds.length > (bytes ? 2 : 3)) throw new TemplateError(`slice takes no ${bounds.length} places`);
  const { length } = bytes ?? (from as readonly Value[]);
  const [start = 0, end = length] = bounds.map((bound) => place(bound, length));
  if (start > end) throw new TemplateError(`slice can’t go from ${start} back to ${end}`);
  return bytes ? bytes.toString('utf8', start, end) : (from as readonly Value[]).slice(start, end);
}

function isOneOf(left: Value, others: readonly Value[]): boolean {
  if (others.length === 0) throw new TemplateError('eq needs something to compare with');
  for (const right of others) {
    for (const value of [left, right]) {
      if (isList(value) || isMap(value))
        throw new TemplateError(`a ${isList(value) ? 'list' : 'map'} can’t be compared`);
    }
    if (isNil(left) || isNil(right) ? isNil(left) && isNil(right) : comparable(left, right) && left === right)
      return true;
  }
  return false;
}

function comparable(left: Value, right: Value): true {
  if (typeof left === typeof right) return true;
  throw new TemplateError(`${typeName(left)} and ${typeName(right)} can’t be compared`);
}

function order(left: Value, right: Value): number {
  comparable(left, right);
  if (typeof left === 'string' && typeof right === 'string') return compareTexts(left, right);
  const isNumber = typeof left === 'number' || typeof left === 'bigint';
  if (!isNumber) throw new TemplateError(`something ${withType(left)} comes neither before nor after another`);
  return left < (right as typeof left) ? -1 : left > (right as typeof left) ? 1 : 0;
}
