import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodes, SlipwayError } from '../errors.ts';
import type { Cli, CommandResult, OutputScreen } from './command.ts';
import { toErrorDocument, formatError } from '../terminal/text-output.ts';
import { truncate, displayWidth } from '../terminal/terminal-text.ts';

/** Repeats a command and shows its output until the user interrupts it, which is not an error. */
export async function watch(
  run: () => Promise<CommandResult>,
  seconds: number,
  { screen, say, color, world: { signal, now } }: Pick<Cli, 'screen' | 'say' | 'color' | 'world'>,
): Promise<CommandResult> {
  const paint = createPainter(screen, () => `Every ${seconds} s: ${formatClock(now())}`);
  try {
    while (!signal.aborted) {
      paint(await run());
      await sleep(seconds * 1000, undefined, { signal });
    }
  } catch (error) {
    if (signal.aborted) return { json: undefined, text: '' };
    if (!screen.json || !(error instanceof SlipwayError)) throw error;
    // Readers of one document per line get the error as one more line.
    screen.write(`${JSON.stringify(toErrorDocument(error))}\n`);
    say(formatError(error, color));
    return { json: undefined, text: '', status: exitCodes[error.code] };
  } finally {
    if (screen.size() !== undefined) screen.write(SHOW_CURSOR);
  }
  return { json: undefined, text: '' };
}

const HIDE_CURSOR = '\u001B[?25l';
const SHOW_CURSOR = '\u001B[?25h';

function formatClock(now: Date): string {
  return `${now.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

function createPainter(screen: OutputScreen, head: () => string): (result: CommandResult) => void {
  if (screen.json) return ({ json }) => screen.write(`${JSON.stringify(json)}\n`);
  let before: readonly string[] = [];
  return ({ text }) => {
    const size = screen.size();
    if (size === undefined) return screen.write(`${head()}\n${text}\n\n`);
    const { bytes, lines } = computeRepaint(before, `${head()}\n\n${text}`, size);
    screen.write(HIDE_CURSOR + bytes);
    before = lines;
  };
}

/**
 * Returns the bytes that replace the previous lines on the screen with this text, in one write and without flicker.
 * Lines are truncated instead of wrapped, so that their number is known.
 */
export function computeRepaint(
  before: readonly string[],
  text: string,
  { columns, rows }: { readonly columns: number; readonly rows: number },
): { readonly bytes: string; readonly lines: readonly string[] } {
  const all = text.split('\n').map((line) => truncate(line, columns, '…'));
  const room = Math.max(2, rows - 1);
  const lines =
    all.length <= room
      ? all
      : [...all.slice(0, room - 1), truncate(`… and ${all.length - room + 1} more`, columns, '…')];
  // A terminal that became narrower has wrapped the previous lines.
  const usedRows = before.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / columns)), 0);
  const up = Math.min(usedRows, Math.max(1, rows - 1));
  // The terminal still joins a wrapped line with its next row; clearing the whole screen below separates them.
  const clear = usedRows > before.length ? '\u001B[J' : '';
  const home = up > 0 ? `\u001B[${up}A\r${clear}` : '';
  return { bytes: `${home}${lines.map((line) => `${line}\u001B[K\n`).join('')}\u001B[J`, lines };
}
