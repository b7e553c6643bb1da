/** Quotes and escapes strings as Go does. */

/** Replaces a surrogate without its partner by U+FFFD, as Go does with any invalid text. */
export function toWellFormed(text: string): string {
  return text.replaceAll(/\p{Surrogate}/gu, '\uFFFD');
}

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** Returns whether Go considers a character printable: visible characters, and the space. */
function isPrintable(character: string): boolean {
  return PRINTABLE.test(character);
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

/** Quotes a string as in Go's source code. With `ascii`, escapes all characters outside ASCII. */
export function goQuote(text: string, quote: '"' | "'", ascii = false): string {
  const body = [...toWellFormed(text)].map((character) => {
    if (character === quote || character === '\\') return `\\${character}`;
    const point = character.codePointAt(0) ?? 0;
    if (isPrintable(character) && (point < 0x80 || !ascii)) return character;
    return SHORT_ESCAPES[character] ?? hexEscape(point);
  });
  return `${quote}${body.join('')}${quote}`;
}

function hexEscape(point: number): string {
  const hex = point.toString(16);
  if (point < 0x20 || point === 0x7f) return `\\x${hex.padStart(2, '0')}`;
  return point < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** Quotes a string with backquotes; undefined if it contains characters that backquotes do not allow. */
export function goBackquote(text: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- the expression looks for control characters
  return /[\u0000-\u0008\u000A-\u001F`\u007F\uFEFF]/.test(text) || toWellFormed(text) !== text
    ? undefined
    : `\`${text}\``;
}

/** Escapes a string for HTML. */
export function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '"': '&#34;',
    "'": '&#39;',
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '\0': '\uFFFD',
  };
  // oxlint-disable-next-line no-control-regex -- NUL is one of them
  return text.replaceAll(/["'&<>\u0000]/g, (character) => entities[character] ?? '');
}

/** Escapes a string for a JavaScript string literal. */
export function escapeJs(text: string): string {
  return [...toWellFormed(text)]
    .map((character) => {
      if (/['"\\]/.test(character)) return `\\${character}`;
      const point = character.codePointAt(0) ?? 0;
      if (point >= 0x20 && !/[<>&=]/.test(character) && (point < 0x80 || isPrintable(character))) return character;
      return `\\u${point.toString(16).toUpperCase().padStart(4, '0')}`;
    })
    .join('');
}

/** Escapes a string for a value in a URL's query. */
export function escapeQuery(text: string): string {
  return encodeURIComponent(toWellFormed(text))
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
