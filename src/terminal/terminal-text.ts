import { stripVTControlCharacters } from 'node:util';

/** Longer lines are cut, and the rest is never shown. */
const MAX_LINE_LENGTH = 4000;

/**
 * Makes a line from another program safe for the terminal: it can't move the cursor, set colors, ring the bell, or
 * change the direction of the text beside it. Of a line that redraws itself (`10 %\r20 %`), only the last state is
 * kept.
 */
export function sanitizeLine(line: string): string {
  const text = stripVTControlCharacters(line.length > MAX_LINE_LENGTH ? line.slice(0, MAX_LINE_LENGTH) : line);
  const last = text.trimEnd().split('\r').at(-1) ?? '';
  return (
    last
      .replaceAll('\t', ' ')
      // Control characters, formatting characters such as bidi overrides, private and unassigned characters; then
      // variation selectors, which can widen the character before them.
      .replaceAll(/[\p{C}\p{Zl}\p{Zp}\uFE00-\uFE0F]/gu, '')
      .trimEnd()
  );
}

/**
 * Returns the maximum number of columns that a text takes. Terminals disagree about the width of symbols and emoji, so
 * any character that may be wide counts as wide: a line that ends early looks better than one that wraps.
 */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += isNarrow(character.codePointAt(0) ?? 0) ? 1 : 2;
  return width;
}

function isNarrow(point: number): boolean {
  if (point < 0x1100) return true;
  if (point >= 0x1e00 && point < 0x2300) return true;
  if (point >= 0x2400 && point < 0x25f0) return true;
  return point === 0x2714 || point === 0x2716 || (point >= 0x2800 && point < 0x2900);
}

/** Truncates a text to this width, and ends it with `more` if something was cut off. */
export function truncate(text: string, width: number, more: string): string {
  if (displayWidth(text) <= width) return text;
  const room = width - displayWidth(more);
  if (room <= 0) return takeColumns(more, width);
  return `${takeColumns(text, room).trimEnd()}${more}`;
}

function takeColumns(text: string, width: number): string {
  let used = 0;
  let taken = '';
  for (const character of text) {
    used += displayWidth(character);
    if (used > width) break;
    taken += character;
  }
  return taken;
}

/** Wraps a text into lines of this width, at spaces where possible. */
export function wrapText(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (displayWidth(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    line = word;
    while (displayWidth(line) > width) {
      // Takes at least one character, even if it is wider than the line.
      const head = takeColumns(line, width) || [...line].slice(0, 1).join('');
      if (head === line) break;
      lines.push(head);
      line = line.slice(head.length);
    }
  }
  return [...lines, line];
}
