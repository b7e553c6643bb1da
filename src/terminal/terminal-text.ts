import { stripVTControlCharacters } from 'node:util';

/** Longer lines are no lines; what stands behind is never shown. */
const MAX_LINE_LENGTH = 4000;

/**
 * Somebody else's line as a terminal may get it: nothing in it moves the cursor, colours, rings, or turns the direction
 * of what stands beside it. Of a line that drew itself anew (`10 %\r20 %`) the last state is left.
 */
export function sanitizeLine(line: string): string {
  const text = stripVTControlCharacters(line.length > MAX_LINE_LENGTH ? line.slice(0, MAX_LINE_LENGTH) : line);
  const last = text.trimEnd().split('\r').at(-1) ?? '';
  return (
    last
      .replaceAll('\t', ' ')
      // Controls, formats such as bidi overrides, private and unassigned characters; then what widens the one before
      // it.
      .replaceAll(/[\p{C}\p{Zl}\p{Zp}\uFE00-\uFE0F]/gu, '')
      .trimEnd()
  );
}

/**
 * The columns that a text takes at most. Terminals do not agree on symbols and emoji, so all that may be wide counts as
 * wide: a line that ends early is tidy, and one that is longer than the terminal is not.
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

/** The beginning of a text that fits, with a sign that it is a beginning. */
export function truncate(text: string, width: number, more: string): string {
  if (displayWidth(text) <= width) return text;
  const room = width - displayWidth(more);
  if (room <= 0) return takeColumns(more, width);
  return `${takeColumns(text, room).trimEnd()}${more}`;
}

function takeColumns(text: string, width: number): string {
  let used = 0;
  let kept = '';
  for (const character of text) {
    used += displayWidth(character);
    if (used > width) break;
    kept += character;
  }
  return kept;
}

/** The whole text in lines that fit, broken between words where there are any. */
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
      // A wide character takes its two columns even where there is one.
      const head = takeColumns(line, width) || [...line].slice(0, 1).join('');
      if (head === line) break;
      lines.push(head);
      line = line.slice(head.length);
    }
  }
  return [...lines, line];
}
