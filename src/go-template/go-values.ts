import { TemplateError } from './template-error.ts';

export type GoMap = { readonly [key: string]: GoValue };

/**
 * A value in a template. Go's int is a bigint and float64 is a number, since they print, compare and index differently.
 * null is a nil in the data; undefined is a field that the data does not have.
 */
export type GoValue = undefined | null | boolean | bigint | number | string | readonly GoValue[] | GoMap;

/**
 * The type of numbers from JSON. Go decodes all of them as float64. With `int`, whole numbers print without exponent.
 */
export type NumberMode = 'float64' | 'int';

/** Converts any data to template values, through JSON. */
export function fromJson(data: unknown, numbers: NumberMode): GoValue {
  // The caller's data may contain values that JSON does not have: undefined fields, dates, objects with methods.
  const text = JSON.stringify(data);
  return text === undefined ? undefined : toGoValue(JSON.parse(text), numbers);
}

function toGoValue(data: unknown, numbers: NumberMode): GoValue {
  if (typeof data === 'number') return numbers === 'int' && Number.isSafeInteger(data) ? BigInt(data) : data;
  if (Array.isArray(data)) return data.map((item) => toGoValue(item, numbers));
  if (typeof data !== 'object' || data === null) return data as GoValue;
  // Object.fromEntries creates own fields for all names, `__proto__` included.
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

/** Returns a map's keys in Go's order, which compares their bytes. */
export function sortedKeys(map: GoMap): readonly string[] {
  return Object.keys(map).toSorted(compareTexts);
}

export function compareTexts(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Returns Go's name of a value's type. */
export function typeName(value: GoValue): string {
  if (isNil(value)) return '<nil>';
  if (isList(value)) return '[]interface {}';
  if (isMap(value)) return 'map[string]interface {}';
  const names = { string: 'string', boolean: 'bool', bigint: 'int', number: 'float64' } as const;
  return names[typeof value as keyof typeof names];
}

/** Returns whether a value counts as true. nil, false, zero, and empty strings, lists and maps do not. */
export function isTruthy(value: GoValue): boolean {
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Returns the value if it is a string. Otherwise throws a TemplateError that calls it `role`. */
export function requireText(value: GoValue, role: string): string {
  if (typeof value === 'string') return value;
  throw new TemplateError(`${role} must be a string, got ${describeType(value)}`);
}

/** Returns the value if it is a whole number. Otherwise throws a TemplateError that calls it `role`. */
export function requireWholeNumber(value: GoValue, role: string): number {
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) return Number(value);
  throw new TemplateError(`${role} must be a whole number, got ${describeType(value)}`);
}

/** Names a value's type for a message, after "got". */
export function describeType(value: GoValue): string {
  return isNil(value) ? 'nil' : typeName(value);
}
