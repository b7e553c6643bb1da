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

/** Formats a table without borders. Cells may contain output of hosts and engines, so each cell is sanitized. */
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

/** Accepts any value: something else may answer in the engine's place and send anything. */
function formatCell(text: unknown): string {
  return sanitizeLine(String(text));
}

/** Formats one name and value per line, with the values aligned. */
export function formatFields(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}   ${formatCell(value)}`.trimEnd()).join('\n');
}

/**
 * Formats an error for people: its message, its detail, and its hint. Message and detail are wrapped at `width`. The
 * hint is not, since it may be a command: a line that the terminal wraps is copied as one line.
 */
export function formatError(error: SlipwayError, color: boolean, width = Number.POSITIVE_INFINITY): string {
  const { red, dim, bold } = colors.createColors(color);
  // Detail, message and hint may contain output of a host, which must not control this terminal.
  const lines = error.detail.flatMap((line) => wrapText(sanitizeLine(line), Math.max(1, width - 5)));
  const detail = lines.map((line) => dim(`  │ ${line}`));
  const hintText = error.hint?.split('\n').map(sanitizeLine).join('\n');
  const hint = hintText === undefined ? [] : [`${bold('→')} ${hintText}`];
  const message = error.message.split('\n').flatMap((line) => wrapText(sanitizeLine(line), Math.max(1, width - 3)));
  return [`${red('✗')} ${message.join('\n  ')}`, ...detail, ...hint].join('\n');
}

/** Returns an error as JSON, with the same fields wherever one is printed. */
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
