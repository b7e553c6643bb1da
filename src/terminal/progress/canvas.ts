import { FRAME_INTERVAL_MS, type TerminalSize } from './frame.ts';

/** The live lines at the bottom of a terminal, which are redrawn below the permanent output. */
export type Canvas = {
  columns(): number;
  /** Schedules a redraw. Several calls cause one redraw, and there are at most about twelve per second. */
  scheduleDraw(): void;
  /** Prints permanent lines above the live ones, in the same write as a redraw. */
  printAbove(lines: readonly string[]): void;
  close(): void;
};

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_TO_LINE_END = '\u001b[K';
const CLEAR_TO_SCREEN_END = '\u001b[J';
/**
 * Turns wrapping off: a terminal that has just become narrower then cuts long lines, and our line count stays right.
 */
const [WRAP_OFF, WRAP_ON] = ['\u001b[?7l', '\u001b[?7h'];
/** Terminals with synchronized output show the whole frame at once; others ignore these sequences. */
const [BEGIN_SYNC, END_SYNC] = ['\u001b[?2026h', '\u001b[?2026l'];

/**
 * Opens a canvas on a terminal; `renderLines` returns the live lines for its present size. Between two frames the
 * cursor is at the start of the first live line. When a terminal is resized, it may wrap, join or scroll the lines, but
 * the cursor keeps its place in the text, so everything below it can be erased. Only lines that scroll off the screen
 * can't.
 */
export function openCanvas(
  { stream, others }: { readonly stream: NodeJS.WriteStream; readonly others: readonly NodeJS.WriteStream[] },
  renderLines: (size: TerminalSize) => readonly string[],
): Canvas {
  const write = stream.write.bind(stream);
  let drawn: readonly string[] = [];
  let resized = false;
  let closed = false;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const paint = (permanent: readonly string[] = []): void => {
    clearTimeout(timer);
    timer = undefined;
    drawnAt = performance.now();
    const lines = closed ? [] : renderLines(terminalSizeOf(stream));
    if (permanent.length > 0 || resized || !hasSameLines(lines, drawn))
      write(formatFrameUpdate({ permanent, lines, previous: drawn, resized }));
    drawn = lines;
    resized = false;
    if (lines.length > 0) scheduleDraw();
  };
  const scheduleDraw = (): void => {
    if (timer !== undefined || closed) return;
    timer = setTimeout(paint, Math.max(0, drawnAt + FRAME_INTERVAL_MS - performance.now()));
    timer.unref();
  };
  const onResize = (): void => {
    resized = drawn.length > 0;
    paint();
  };
  const restorers = [stream, ...others].map((one) => interceptWrites(one, write, () => drawn));
  stream.on('resize', onResize);
  return {
    columns: () => terminalSizeOf(stream).columns,
    scheduleDraw,
    printAbove: paint,
    close() {
      closed = true;
      paint();
      stream.off('resize', onResize);
      for (const restore of restorers) restore();
    },
  };
}

type FrameUpdate = {
  readonly permanent: readonly string[];
  readonly lines: readonly string[];
  readonly previous: readonly string[];
  readonly resized: boolean;
};

/**
 * Returns a redraw as one string, so that no other output comes in between. New lines overwrite the old ones, since
 * erasing those first would flicker.
 */
function formatFrameUpdate({ permanent, lines, previous, resized }: FrameUpdate): string {
  const start = previous.length === 0 ? '' : `\r${resized ? CLEAR_TO_SCREEN_END : ''}`;
  const stays = permanent.map((line) => `${line}${CLEAR_TO_LINE_END}\n`).join('');
  const live = lines.join(`${CLEAR_TO_LINE_END}\n`);
  const back = lines.length > 1 ? `\r\u001b[${lines.length - 1}A` : '\r';
  const cursor = lines.length === 0 ? SHOW_CURSOR : HIDE_CURSOR;
  return `${BEGIN_SYNC}${cursor}${start}${stays}${WRAP_OFF}${live}${WRAP_ON}${CLEAR_TO_SCREEN_END}${back}${END_SYNC}`;
}

type WriteText = (text: string) => boolean;

/**
 * Makes other output to the terminal, such as a warning of Node, appear above the live lines immediately. Returns a
 * function that restores the stream.
 */
function interceptWrites(stream: NodeJS.WriteStream, draw: WriteText, drawn: () => readonly string[]): () => void {
  const write = stream.write;
  const writeAbove = (...call: Parameters<typeof write>): boolean => {
    const lines = drawn();
    if (lines.length === 0) return write.apply(stream, call);
    draw(`\r${CLEAR_TO_SCREEN_END}`);
    const hasRoom = write.apply(stream, call);
    if (!String(call[0]).endsWith('\n')) draw('\n');
    draw(formatFrameUpdate({ permanent: [], lines, previous: [], resized: false }));
    return hasRoom;
  };
  stream.write = writeAbove as typeof write;
  return () => {
    stream.write = write;
  };
}

function terminalSizeOf({ columns, rows }: NodeJS.WriteStream): TerminalSize {
  // A terminal that does not know its size reports 0.
  return { columns: columns || 80, rows: rows || 24 };
}

function hasSameLines(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((line, at) => line === right[at]);
}
