import { setTimeout as sleep } from 'node:timers/promises';
import { exitCodes, SlipwayError } from '../errors.ts';
import type { Cli, CommandResult, OutputScreen } from './command.ts';
import { toErrorDocument, formatError } from '../terminal/text-output.ts';
import { truncate, displayWidth } from '../terminal/terminal-text.ts';

/** Shows the same again and again, until it is stopped; that is how it ends well. */
export async function watch(
  look: () => Promise<CommandResult>,
  seconds: number,
  { screen, say, color, world: { signal, now } }: Pick<Cli, 'screen' | 'say' | 'color' | 'world'>,
): Promise<CommandResult> {
  const show = createPainter(screen, () => `Every ${seconds} s: ${formatClock(now())}`);
  try {
    while (!signal.aborted) {
      show(await look());
      await sleep(seconds * 1000, undefined, { signal });
    }
  } catch (error) {
    if (signal.aborted) return { json: undefined, text: '' };
    if (!screen.json || !(error instanceof SlipwayError)) throw error;
    // Who reads one document a line reads this one so too.
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
 * What to write so that this text stands where the lines of before stood, in one go and without an empty moment in between. A
 * line never wraps: where it would, counting lines would go wrong.
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
  // A terminal that was made narrower since has wrapped what stood there.
  const taken = before.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / columns)), 0);
  const up = Math.min(taken, Math.max(1, rows - 1));
  // One that has wrapped is still taken for the beginning of the next: only what clears it whole makes two of them.
  const apart = taken > before.length ? '\u001B[J' : '';
  const home = up > 0 ? `\u001B[${up}A\r${apart}` : '';
  return { bytes: `${home}${lines.map((line) => `${line}\u001B[K\n`).join('')}\u001B[J`, lines };
}
