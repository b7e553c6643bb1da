import Table from 'cli-table3';
import colors from 'picocolors';
import type { SlipwayError } from '../errors.ts';
import type { CliEvent } from './event-schema.ts';
import { sanitizeLine, wrapText } from './terminal-text.ts';

const NO_BORDERS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '   ',
};

/** Columns by their content, without lines. What hosts and engines say stands in them, so no cell is believed. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const printed = new Table({
    chars: NO_BORDERS,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  printed.push([...head], ...rows.map((row) => row.map(formatCell)));
  return printed
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** What answers in the place of an engine may send anything where a text is due. */
function formatCell(text: unknown): string {
  return sanitizeLine(String(text));
}

/** Name and value, one a line. */
export function formatFields(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}   ${formatCell(value)}`.trimEnd()).join('\n');
}

/**
 * An error for people: what happened, what was said, what to type next. With a width, lines are broken between words;
 * the hint, which may be typed, is left to the terminal to break: that gives it back whole.
 */
export function formatError(error: SlipwayError, color: boolean, width = Number.POSITIVE_INFINITY): string {
  const { red, dim, bold } = colors.createColors(color);
  // Lines of a host, and words of it in the message and the hint, are no orders for this terminal.
  const lines = error.detail.flatMap((line) => wrapText(sanitizeLine(line), Math.max(1, width - 5)));
  const detail = lines.map((line) => dim(`  │ ${line}`));
  const next = error.hint?.split('\n').map(sanitizeLine).join('\n');
  const hint = next === undefined ? [] : [`${bold('→')} ${next}`];
  const message = error.message.split('\n').flatMap((line) => wrapText(sanitizeLine(line), Math.max(1, width - 3)));
  return [`${red('✗')} ${message.join('\n  ')}`, ...detail, ...hint].join('\n');
}

/** An error for programs; the same fields wherever one is printed. */
export function toErrorDocument(error: SlipwayError): Pick<Extract<CliEvent, { event: 'error' }>, 'error'> {
  return {
    error: {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.detail.length > 0 ? { detail: [...error.detail] } : {}),
    },
  };
}
