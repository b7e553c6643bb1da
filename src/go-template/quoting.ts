/** Texts as Go quotes and escapes them. */

/** Half a character is none: Go reads such a thing as the sign for it. */
export function wellFormed(text: string): string {
  return text.replaceAll(/\p{Surrogate}/gu, '\uFFFD');
}

const PRINTED = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** What Go calls a character that can be seen, and the space. */
function isPrinted(character: string): boolean {
  return PRINTED.test(character);
}

const SHORT: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

/** As Go's source code would have it, between these quotes. */
export function quoted(text: string, quote: '"' | "'", ascii = false): string {
  const body = [...wellFormed(text)].map((character) => {
    if (character === quote || character === '\\') return `\\${character}`;
    const point = character.codePointAt(0) ?? 0;
    if (isPrinted(character) && (point < 0x80 || !ascii)) return character;
    return SHORT[character] ?? hexEscape(point);
  });
  return `${quote}${body.join('')}${quote}`;
}

function hexEscape(point: number): string {
  const hex = point.toString(16);
  if (point < 0x20 || point === 0x7f) return `\\x${hex.padStart(2, '0')}`;
  return point < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** Between backquotes where that is possible. */
export function backquoted(text: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return /[\u0000-\u0008\u000A-\u001F`\u007F\uFEFF]/.test(text) || wellFormed(text) !== text
    ? undefined
    : `\`${text}\``;
}

/** For a page of HTML. */
export function htmlEscaped(text: string): string {
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

/** For a text of JavaScript. */
export function jsEscaped(text: string): string {
  return [...wellFormed(text)]
    .map((character) => {
      if (/['"\\]/.test(character)) return `\\${character}`;
      const point = character.codePointAt(0) ?? 0;
      if (point >= 0x20 && !/[<>&=]/.test(character) && (point < 0x80 || isPrinted(character))) return character;
      return `\\u${point.toString(16).toUpperCase().padStart(4, '0')}`;
    })
    .join('');
}

/** For a value in the query of a URL. */
export function queryEscaped(text: string): string {
  return encodeURIComponent(wellFormed(text))
    .replaceAll('%20', '+')
    .replaceAll(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
