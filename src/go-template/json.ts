import { toWellFormed } from './quoting.ts';
import { isList, isMap, isNil, sortedKeys, type GoValue } from './go-values.ts';

/**
 * Formats a value as Go's JSON encoder does: sorts keys, and escapes `<`, `>` and `&`, which HTML would read as markup.
 * `margin` is the indentation of the line that the value starts on.
 */
export function formatJson(value: GoValue, indent: string, margin = ''): string {
  if (isNil(value)) return 'null';
  if (typeof value === 'string') return formatJsonString(value);
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (isList(value))
    return formatBrackets(
      '[',
      value.map((item) => formatJson(item, indent, margin + indent)),
      ']',
      indent,
      margin,
    );
  if (!isMap(value)) return String(value);
  const colon = indent === '' ? ':' : ': ';
  const pairs = sortedKeys(value).map(
    (key) => `${formatJsonString(key)}${colon}${formatJson(value[key], indent, margin + indent)}`,
  );
  return formatBrackets('{', pairs, '}', indent, margin);
}

function formatBrackets(open: string, items: readonly string[], close: string, indent: string, margin: string): string {
  if (indent === '' || items.length === 0) return `${open}${items.join(',')}${close}`;
  const lines = items.map((item) => `${margin}${indent}${item}`);
  return `${open}\n${lines.join(',\n')}\n${margin}${close}`;
}

const LONG_ESCAPES: Readonly<Record<string, string>> = { '\\b': '\\u0008', '\\f': '\\u000c' };

function formatJsonString(text: string): string {
  return JSON.stringify(toWellFormed(text))
    .replaceAll(/\\./g, (escape) => LONG_ESCAPES[escape] ?? escape)
    .replaceAll(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
