import { TemplateError } from './template-error.ts';

export type GoMap = { readonly [key: string]: GoValue };

/**
 * A value as templates have it. Go's int is a bigint and its float64 a number, since they print, compare and index
 * differently. null is a nil that the data has, undefined a field that it does not have.
 */
export type GoValue = undefined | null | boolean | bigint | number | string | readonly GoValue[] | GoMap;

/**
 * The type of JSON's numbers: Go decodes all of them as float64; `int` makes whole ones int, which print as people
 * write them.
 */
export type NumberMode = 'float64' | 'int';

/** Converts any data to values of templates, by way of JSON. */
export function fromJson(data: unknown, numbers: NumberMode): GoValue {
  // The caller's data may hold what plain JSON does not: undefined fields, dates, objects with methods.
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

/** Returns a map's keys in the order in which Go walks through it: that of their bytes. */
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

/** Whether `if` and `and` take a value for true: nil, zero and empty texts, lists and maps are false. */
export function isTruthy(value: GoValue): boolean {
  if (isList(value)) return value.length > 0;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Returns the value if it is a text. Else throws a TemplateError that calls it `role`. */
export function requireText(value: GoValue, role: string): string {
  if (typeof value === 'string') return value;
  throw new TemplateError(`${role} must be a string, and this is ${describeType(value)}`);
}

/** Returns the value if it is a whole number. Else throws a TemplateError that calls it `role`. */
export function requireWholeNumber(value: GoValue, role: string): number {
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) return Number(value);
  throw new TemplateError(`${role} must be a whole number, and this is ${describeType(value)}`);
}

/** Names a value's type for a message, behind "is". */
export function describeType(value: GoValue): string {
  return isNil(value) ? 'nil' : `of type ${typeName(value)}`;
}
