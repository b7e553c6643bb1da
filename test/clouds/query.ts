/** The EC2 Query protocol: flat form parameters on the way in, XML on the way out. */

export type Value = string | readonly Value[] | { readonly [key: string]: Value };

/** `Filter.1.Value.2=x` -> { Filter: [{ Value: [.., 'x'] }] }. */
export function unflatten(form: URLSearchParams): Record<string, Value> {
  const root: Record<string, unknown> = {};
  for (const [path, value] of form) {
    const keys = path.split('.');
    let at: Record<string, unknown> = root;
    keys.forEach((key, index) => {
      if (index === keys.length - 1) at[key] = value;
      else at = (at[key] ??= {}) as Record<string, unknown>;
    });
  }
  return lists(root) as Record<string, Value>;
}

/** Objects whose keys are all numbers are lists. */
function lists(value: unknown): Value {
  if (typeof value !== 'object' || value === null) return String(value);
  const entries = Object.entries(value).map(([key, inner]) => [key, lists(inner)] as const);
  if (entries.length > 0 && entries.every(([key]) => /^\d+$/.test(key)))
    return entries.toSorted(([left], [right]) => Number(left) - Number(right)).map(([, inner]) => inner);
  return Object.fromEntries(entries);
}

/** Lists become `<item>`s; undefined and null are left out. */
export function xml(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map((item) => `<item>${xml(item)}</item>`).join('');
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'object') {
    return Object.entries(value)
      .filter(([, inner]) => inner !== undefined && inner !== null)
      .map(([key, inner]) => `<${key}>${xml(inner)}</${key}>`)
      .join('');
  }
  return String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
