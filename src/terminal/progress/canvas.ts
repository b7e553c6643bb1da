import { FRAME_MILLISECONDS, type Size } from './frame.ts';

/** The lower end of a terminal, where a few lines are drawn again and again below all that stays. */
export type Canvas = {
  columns(): number;
  /** Draws what is new, soon: however much there is to be drawn, it happens a dozen times a second. */
  draw(): void;
  /** Lines that stay, above those that are drawn again; both at once. */
  above(lines: readonly string[]): void;
  close(): void;
};

const HIDE = '\u001b[?25l';
const SHOW = '\u001b[?25h';
const REST_OF_LINE = '\u001b[K';
const REST_OF_SCREEN = '\u001b[J';
/** A frame for a terminal that became narrower a moment ago is cut by it, not broken into more lines than we count. */
const [CUT, BREAK] = ['\u001b[?7l', '\u001b[?7h'];
/** Terminals that know it show all of a frame at once; others ignore it. */
const [TOGETHER, SHOWN] = ['\u001b[?2026h', '\u001b[?2026l'];

/**
 * Between two frames the cursor waits at the beginning of the first line. Whatever a terminal does to the lines when its size
 * changes (break them, join them, scroll), the cursor stays at that place of the text, and all below it is ours to be erased.
 * Only what is scrolled off the screen by it is out of reach.
 */
export function openCanvas(
  { stream, others }: { readonly stream: NodeJS.WriteStream; readonly others: readonly NodeJS.WriteStream[] },
  frameOf: (size: Size) => readonly string[],
): Canvas {
  const write = stream.write.bind(stream);
  let drawn: readonly string[] = [];
  let resized = false;
  let closed = false;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  const paint = (above: readonly string[] = []): void => {
    clearTimeout(timer);
    timer = undefined;
    drawnAt = performance.now();
    const lines = closed ? [] : frameOf(sizeOf(stream));
    if (above.length > 0 || resized || !same(lines, drawn)) write(strokes({ above, lines, before: drawn, resized }));
    drawn = lines;
    resized = false;
    if (lines.length > 0) draw();
  };
  const draw = (): void => {
    if (timer !== undefined || closed) return;
    timer = setTimeout(paint, Math.max(0, drawnAt + FRAME_MILLISECONDS - performance.now()));
    timer.unref();
  };
  const onResize = (): void => {
    resized = drawn.length > 0;
    paint();
  };
  const release = [stream, ...others].map((one) => lend(one, write, () => drawn));
  stream.on('resize', onResize);
  return {
    columns: () => sizeOf(stream).columns,
    draw,
    above: paint,
    close() {
      closed = true;
      paint();
      stream.off('resize', onResize);
      for (const give of release) give();
    },
  };
}

type Frames = {
  readonly above: readonly string[];
  readonly lines: readonly string[];
  readonly before: readonly string[];
  readonly resized: boolean;
};

/** One write, so that no other comes between. Lines are written over the old ones: erasing first would flicker. */
function strokes({ above, lines, before, resized }: Frames): string {
  const start = before.length === 0 ? '' : `\r${resized ? REST_OF_SCREEN : ''}`;
  const stays = above.map((line) => `${line}${REST_OF_LINE}\n`).join('');
  const live = lines.join(`${REST_OF_LINE}\n`);
  const back = lines.length > 1 ? `\r\u001b[${lines.length - 1}A` : '\r';
  const cursor = lines.length === 0 ? SHOW : HIDE;
  return `${TOGETHER}${cursor}${start}${stays}${CUT}${live}${BREAK}${REST_OF_SCREEN}${back}${SHOWN}`;
}

type Write = (text: string) => boolean;

/** What others write to the terminal (a warning of Node, an answer) comes to stand above the list, at once. */
function lend(stream: NodeJS.WriteStream, draw: Write, drawn: () => readonly string[]): () => void {
  const write = stream.write;
  const lending = (...call: Parameters<typeof write>): boolean => {
    const lines = drawn();
    if (lines.length === 0) return write.apply(stream, call);
    draw(`\r${REST_OF_SCREEN}`);
    const more = write.apply(stream, call);
    if (!String(call[0]).endsWith('\n')) draw('\n');
    draw(strokes({ above: [], lines, before: [], resized: false }));
    return more;
  };
  stream.write = lending as typeof write;
  return () => {
    stream.write = write;
  };
}

function sizeOf({ columns, rows }: NodeJS.WriteStream): Size {
  // A terminal that does not know its size says 0.
  return { columns: columns || 80, rows: rows || 24 };
}

function same(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((line, at) => line === right[at]);
}
