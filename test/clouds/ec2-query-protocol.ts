/** The EC2 Query protocol: flat form parameters on the way in, XML on the way out. */

export type QueryValue = string | readonly QueryValue[] | { readonly [key: string]: QueryValue };

export type QueryParams = Record<string, QueryValue>;

/** These functions read the parts of a parameter; a missing part is an empty string or list. */
export const textOf = (value: QueryValue | undefined): string => (typeof value === 'string' ? value : '');
export const listOf = (value: QueryValue | undefined): readonly QueryValue[] =>
  Array.isArray(value) ? value : value === undefined ? [] : [value];
export const textsOf = (value: QueryValue | undefined): readonly string[] => listOf(value).map(textOf);
export const fieldOf = (value: QueryValue | undefined, key: string): QueryValue | undefined =>
  typeof value === 'object' && !Array.isArray(value) ? (value as QueryParams)[key] : undefined;

/** Converts `Filter.1.Value.2=x` to `{ Filter: [{ Value: [.., 'x'] }] }`. */
export function parseQueryForm(form: URLSearchParams): QueryParams {
  const root: Record<string, unknown> = {};
  for (const [path, value] of form) {
    const keys = path.split('.');
    let at: Record<string, unknown> = root;
    keys.forEach((key, index) => {
      if (index === keys.length - 1) at[key] = value;
      else at = (at[key] ??= {}) as Record<string, unknown>;
    });
  }
  return arraysFromNumericKeys(root) as QueryParams;
}

/** Converts objects whose keys are all numbers to lists. */
function arraysFromNumericKeys(value: unknown): QueryValue {
  if (typeof value !== 'object' || value === null) return String(value);
  const entries = Object.entries(value).map(([key, inner]) => [key, arraysFromNumericKeys(inner)] as const);
  if (entries.length > 0 && entries.every(([key]) => /^\d+$/.test(key)))
    return entries.toSorted(([left], [right]) => Number(left) - Number(right)).map(([, inner]) => inner);
  return Object.fromEntries(entries);
}

/** Formats a value as XML: lists as `<item>`s, without undefined and null. */
export function toXml(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map((item) => `<item>${toXml(item)}</item>`).join('');
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'object') {
    return Object.entries(value)
      .filter(([, inner]) => inner !== undefined && inner !== null)
      .map(([key, inner]) => `<${key}>${toXml(inner)}</${key}>`)
      .join('');
  }
  return String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
