import { FRAME_INTERVAL_MS, type TerminalSize } from './frame.ts';

/** The lower end of a terminal, where a few lines are drawn again and again below all that stays. */
export type Canvas = {
  columns(): number;
  /** Draws what is new, soon: however much there is to be drawn, it happens a dozen times a second. */
  scheduleDraw(): void;
  /** Lines that stay, above those that are drawn again; both at once. */
  printAbove(lines: readonly string[]): void;
  close(): void;
};

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const CLEAR_TO_LINE_END = '\u001b[K';
const CLEAR_TO_SCREEN_END = '\u001b[J';
/** A frame for a terminal that became narrower a moment ago is cut by it, not broken into more lines than we count. */
const [WRAP_OFF, WRAP_ON] = ['\u001b[?7l', '\u001b[?7h'];
/** Terminals that know it show all of a frame at once; others ignore it. */
const [BEGIN_SYNC, END_SYNC] = ['\u001b[?2026h', '\u001b[?2026l'];

/**
 * Between two frames the cursor waits at the beginning of the first line. Whatever a terminal does to the lines when
 * its size changes (break them, join them, scroll), the cursor stays at that place of the text, and all below it is
 * ours to be erased. Only what is scrolled off the screen by it is out of reach.
 */
export function openCanvas(
  { stream, others }: { readonly stream: NodeJS.WriteStream; readonly others: readonly NodeJS.WriteStream[] },
  frameOf: (size: TerminalSize) => readonly string[],
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
    const lines = closed ? [] : frameOf(terminalSizeOf(stream));
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
  const release = [stream, ...others].map((one) => interceptWrites(one, write, () => drawn));
  stream.on('resize', onResize);
  return {
    columns: () => terminalSizeOf(stream).columns,
    scheduleDraw,
    printAbove: paint,
    close() {
      closed = true;
      paint();
      stream.off('resize', onResize);
      for (const give of release) give();
    },
  };
}

type FrameUpdate = {
  readonly permanent: readonly string[];
  readonly lines: readonly string[];
  readonly previous: readonly string[];
  readonly resized: boolean;
};

/** One write, so that no other comes between. Lines are written over the old ones: erasing first would flicker. */
function formatFrameUpdate({ permanent, lines, previous, resized }: FrameUpdate): string {
  const start = previous.length === 0 ? '' : `\r${resized ? CLEAR_TO_SCREEN_END : ''}`;
  const stays = permanent.map((line) => `${line}${CLEAR_TO_LINE_END}\n`).join('');
  const live = lines.join(`${CLEAR_TO_LINE_END}\n`);
  const back = lines.length > 1 ? `\r\u001b[${lines.length - 1}A` : '\r';
  const cursor = lines.length === 0 ? SHOW_CURSOR : HIDE_CURSOR;
  return `${BEGIN_SYNC}${cursor}${start}${stays}${WRAP_OFF}${live}${WRAP_ON}${CLEAR_TO_SCREEN_END}${back}${END_SYNC}`;
}

type WriteText = (text: string) => boolean;

/** What others write to the terminal (a warning of Node, an answer) comes to stand above the list, at once. */
function interceptWrites(stream: NodeJS.WriteStream, draw: WriteText, drawn: () => readonly string[]): () => void {
  const write = stream.write;
  const lending = (...call: Parameters<typeof write>): boolean => {
    const lines = drawn();
    if (lines.length === 0) return write.apply(stream, call);
    draw(`\r${CLEAR_TO_SCREEN_END}`);
    const more = write.apply(stream, call);
    if (!String(call[0]).endsWith('\n')) draw('\n');
    draw(formatFrameUpdate({ permanent: [], lines, previous: [], resized: false }));
    return more;
  };
  stream.write = lending as typeof write;
  return () => {
    stream.write = write;
  };
}

function terminalSizeOf({ columns, rows }: NodeJS.WriteStream): TerminalSize {
  // A terminal that does not know its size says 0.
  return { columns: columns || 80, rows: rows || 24 };
}

function hasSameLines(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((line, at) => line === right[at]);
}
