import { TemplateError } from './template-error.ts';

export type GoMap = { readonly [key: string]: GoValue };

/**
 * A value as templates know it. Go's int is a bigint and its float64 a number, since they print, compare and index
 * differently; null is a nil that is there, undefined is what is not there.
 */
export type GoValue = undefined | null | boolean | bigint | number | string | readonly GoValue[] | GoMap;

/** What numbers of JSON are: Go's decoder makes float64 of all of them; who reads them may want whole ones to be int. */
export type NumberMode = 'float64' | 'int';

export function fromJson(data: unknown, numbers: NumberMode): GoValue {
  // Whoever calls may hand in what is no plain JSON: undefined fields, dates, objects with methods.
  const text = JSON.stringify(data);
  return text === undefined ? undefined : toGoValue(JSON.parse(text), numbers);
}

function toGoValue(data: unknown, numbers: NumberMode): GoValue {
  if (typeof data === 'number') return numbers === 'int' && Number.isSafeInteger(data) ? BigInt(data) : data;
  if (Array.isArray(data)) return data.map((item) => toGoValue(item, numbers));
  if (typeof data !== 'object' || data === null) return data as GoValue;
  // fromEntries makes fields of its own of all names, also of __proto__.
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, toGoValue(value, numbers)]));
}

export function isList(value: GoValue): value is readonly GoValue[] {
  return Array.isArray(value);
}

export function isMap(value: GoValue): value is GoMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isNil(value: GoValue): value is undefined | null {
  return value === undefined || value === null;
}

/** Go walks through a map in the order of its keys, as bytes. */
export function sortedKeys(map: GoMap): readonly string[] {
  return Object.keys(map).toSorted(compareTexts);
}

export function compareTexts(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

export function typeName(value: GoValue): string {
  if (isNil(value)) return '<nil>';
  if (isList(value)) return '[]interface {}';
  if (isMap(value)) return 'map[string]interface {}';
  const names = { string: 'string', boolean: 'bool', bigint: 'int', number: 'float64' } as const;
  return names[typeof value as keyof typeof names];
}

/** What `if` and `and` go by: nothing, zero and what is empty are false. */
export function isTruthy(value: GoValue): boolean {
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** A text where a function needs one. */
export function requireText(value: GoValue, whose: string): string {
  if (typeof value === 'string') return value;
  throw new TemplateError(`${whose} must be a string, and this is ${describeType(value)}`);
}

/** A whole number where a function needs one. */
export function requireWholeNumber(value: GoValue, whose: string): number {
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) return Number(value);
  throw new TemplateError(`${whose} must be a whole number, and this is ${describeType(value)}`);
}

/** For sentences about a value that has the wrong type. */
export function describeType(value: GoValue): string {
  return isNil(value) ? 'nil' : `of type ${typeName(value)}`;
}
