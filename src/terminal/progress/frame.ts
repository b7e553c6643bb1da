import type { Bytes } from '../../progress.ts';
import { cut, printable, widthOf, wrapped } from '../printable.ts';
import type { List, Row, Step } from './list.ts';

type Paint = (text: string) => string;
type State = Row['state'] | Step['state'];

/** How it looks: symbols that the terminal has, and colours or none. */
export type Look = {
  readonly done: string;
  readonly failed: string;
  readonly stopped: string;
  readonly waiting: string;
  readonly note: string;
  readonly more: string;
  readonly gutter: string;
  readonly bar: readonly [filled: string, empty: string];
  readonly spinner: readonly string[];
  readonly green: Paint;
  readonly red: Paint;
  readonly cyan: Paint;
  readonly yellow: Paint;
  readonly dim: Paint;
};

export const UNICODE = {
  done: '✔',
  failed: '✖',
  stopped: '■',
  waiting: '·',
  note: '•',
  more: '…',
  gutter: '│',
  bar: ['━', '╌'],
  spinner: ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'],
} as const;

export const ASCII = {
  done: '+',
  failed: 'x',
  stopped: '!',
  waiting: '.',
  note: '*',
  more: '...',
  gutter: '|',
  bar: ['#', '.'],
  spinner: ['-', '\\', '|', '/'],
} as const;

export const FRAME_MILLISECONDS = 80;

export type Size = { readonly columns: number; readonly rows: number };

/** A line's place in the list is never its last column: there terminals differ in when they begin the next one. */
const roomOf = (columns: number): number => Math.max(1, columns - 1);

/**
 * The live part of the screen, which is drawn again and again: no line is wider than the terminal, and there are fewer of
 * them than it has rows. Steps that are over stand above it already.
 */
export function frame(list: List, { columns, rows }: Size, now: number, look: Look): readonly string[] {
  const room = roomOf(columns);
  const height = Math.max(1, rows - 1);
  const steps = list.steps.flatMap((step) => runningLines(step, 0, room, now, look));
  // Of steps in steps, the ones at work are the lowest.
  const shown = steps.slice(-height);
  if (list.rows.length === 0) return shown;
  const left = height - shown.length;
  return left > 0 ? [...shown, ...machineLines(list.rows, { room, height: left }, now, look)] : shown;
}

function runningLines(step: Step, indent: number, room: number, now: number, look: Look): readonly string[] {
  if (step.state !== 'running') return [headLine(step, indent, room, now, look)];
  const below = step.steps.flatMap((inner) => runningLines(inner, indent + 2, room, now, look));
  const output = step.steps.some(({ state }) => state === 'running') ? [] : outputLines(step, indent + 4, room, look);
  return [headLine(step, indent, room, now, look), ...below, ...output];
}

function headLine(step: Step, indent: number, room: number, now: number, look: Look): string {
  const time = (step.until ?? now) - step.since;
  return inOneLine(
    { indent, symbol: symbolOf(step.state, now, look), title: step.title, tail: endOf(step.state, time) },
    room,
    look,
  );
}

type Symbol = { readonly text: string; readonly paint: Paint };

function symbolOf(state: State, now: number, look: Look): Symbol {
  if (state === 'done') return { text: look.done, paint: look.green };
  if (state === 'failed') return { text: look.failed, paint: look.red };
  if (state === 'stopped') return { text: look.stopped, paint: look.yellow };
  if (state === 'waiting') return { text: look.waiting, paint: look.dim };
  const turn = Math.floor(now / FRAME_MILLISECONDS) % look.spinner.length;
  return { text: look.spinner[turn] ?? '', paint: look.cyan };
}

function endOf(state: State, time: number): string {
  if (state === 'waiting') return 'waits';
  if (state === 'failed' || state === 'stopped') return `${state} after ${duration(time)}`;
  return state === 'done' ? duration(time) : ticking(time);
}

type Head = { readonly indent: number; readonly symbol: Symbol; readonly title: string; readonly tail: string };

/** Where there is little room, the title is cut first, and the time goes before the title is unreadable. */
function inOneLine({ indent, symbol, title, tail }: Head, room: number, look: Look): string {
  const lead = `${' '.repeat(indent)}${symbol.text} `;
  const end = tail === '' ? '' : `  ${tail}`;
  const free = room - widthOf(lead);
  if (free <= 0) return cut(symbol.text, room, '');
  const text = printable(title);
  const enough = Math.min(widthOf(text), 8);
  const withEnd = free - widthOf(end) >= enough ? end : '';
  return `${' '.repeat(indent)}${symbol.paint(symbol.text)} ${cut(text, free - widthOf(withEnd), look.more)}${look.dim(withEnd)}`;
}

function outputLines({ said, bytes }: Step, indent: number, room: number, look: Look): readonly string[] {
  const text = printable(said).trimStart();
  const deep = Math.min(indent, Math.floor(room / 4));
  const free = room - deep;
  if (text === '' || free < 4) return [];
  const bar = bytes === undefined ? '' : barOf(bytes, free - widthOf(text) - 2, look);
  return [`${' '.repeat(deep)}${bar}${look.dim(cut(text, free - (bar === '' ? 0 : BAR + 2), look.more))}`];
}

const BAR = 20;

function barOf({ done, total }: Bytes, room: number, look: Look): string {
  if (room < BAR || total === undefined || total <= 0) return '';
  const filled = Math.min(BAR, Math.floor((done / total) * BAR));
  return `${look.cyan(look.bar[0].repeat(filled))}${look.dim(look.bar[1].repeat(BAR - filled))}  `;
}

/** Machines side by side; where there are too many, those at work and those that failed come first, the rest is counted. */
function machineLines(
  rows: readonly Row[],
  { room, height }: { readonly room: number; readonly height: number },
  now: number,
  look: Look,
): readonly string[] {
  const names = namesWidth(rows, room);
  const head = (row: Row): string => rowLine(row, names, room, now, look);
  const busy = (row: Row): boolean => row.state === 'running' || row.state === 'failed';
  const all = rows.length <= height;
  const chosen = all ? rows : [...rows.filter(busy), ...rows.filter((row) => !busy(row))].slice(0, height - 1);
  const count = all
    ? []
    : [
        counted(
          rows.filter((row) => !chosen.includes(row)),
          room,
          look,
        ),
      ];
  let spare = height - chosen.length - count.length;
  // In the order in which they were named, so that none jumps about.
  const lines = rows
    .filter((row) => chosen.includes(row))
    .flatMap((row) => {
      const step = row.state === 'running' ? atWork(row.steps) : undefined;
      const output = step && spare > 0 ? outputLines(step, 4, room, look) : [];
      spare -= output.length;
      return [head(row), ...output];
    });
  return [...lines, ...count];
}

function rowLine(row: Row, names: number, room: number, now: number, look: Look): string {
  const name = cut(row.machine, names, look.more);
  const padded = `${name}${' '.repeat(Math.max(0, names - widthOf(name)))}`;
  const { step, state, time } = standing(row, now);
  const title = step === undefined ? name : `${padded}  ${step.title}`;
  // What was done before took no time.
  const tail = state === 'done' && row.since === undefined ? '' : endOf(state, time);
  return inOneLine({ indent: 0, symbol: symbolOf(state, now, look), title, tail }, room, look);
}

type Standing = { readonly step: Step | undefined; readonly state: State; readonly time: number };

/** The step that a machine is at, and its time; of one that is done, the time that all of it took. */
function standing(row: Row, now: number): Standing {
  const step = row.state === 'done' ? undefined : atWork(row.steps);
  const state = row.state === 'failed' ? (step?.state ?? 'failed') : row.state;
  const { until = now } = step ?? row;
  // Of one that was never begun, no time was spent.
  const since = (step ?? row).since ?? until;
  return { step, state: state === 'done' && row.state === 'failed' ? 'failed' : state, time: until - since };
}

/** The innermost of what began last. */
function atWork(steps: readonly Step[]): Step | undefined {
  const step = steps.findLast(({ state }) => state === 'running') ?? steps.at(-1);
  return step === undefined ? undefined : (atWork(step.steps.filter(({ state }) => state === step.state)) ?? step);
}

function counted(rest: readonly Row[], room: number, look: Look): string {
  const number = (state: Row['state']): number => rest.filter((row) => row.state === state).length;
  const parts = [
    [number('running'), 'running'],
    [number('failed'), 'failed'],
    [number('waiting'), 'waiting'],
    [number('done'), 'done'],
  ] as const;
  const shown = parts
    .filter(([count]) => count > 0)
    .map(([count, what], at) => `${count}${at === 0 ? ' more' : ''} ${what}`);
  return look.dim(cut(`${look.more} ${shown.join(', ')}`, room, look.more));
}

/** A step that is over, as it stays on the screen: whole, with what was a part of it, and what explains a failure. */
export function settledStep(step: Step, columns: number, look: Look, indent = 0): readonly string[] {
  const room = roomOf(columns);
  const state = over(step.state);
  const tail = endOf(state, (step.until ?? performance.now()) - step.since);
  return [
    ...whole({ indent, symbol: symbolOf(state, 0, look), title: step.title, tail }, room, look),
    ...step.steps.flatMap((inner) => settledStep(inner, columns, look, indent + 2)),
    ...toldLines(step, indent, room, look),
  ];
}

/** Where nobody goes on with it, what ran has stopped. */
const over = (state: State): State => (state === 'running' ? 'stopped' : state);

/** Machines as they stay on the screen, each once. Where none was begun there is nothing to say of them. */
export function settledRows(rows: readonly Row[], columns: number, look: Look): readonly string[] {
  const room = roomOf(columns);
  const begun = rows.filter(({ state }) => state !== 'waiting');
  if (begun.length === 0) return [];
  const names = namesWidth(rows, room);
  const lines = begun.flatMap((row) => settledRow(row, names, columns, look));
  const left = rows.filter(({ state }) => state === 'waiting').map(({ machine }) => machine);
  return left.length === 0 ? lines : [...lines, ...wrapped(`${look.waiting} not begun: ${left.join(', ')}`, room)];
}

function settledRow(row: Row, names: number, columns: number, look: Look): readonly string[] {
  const room = roomOf(columns);
  const now = performance.now();
  if (row.state === 'done') return [rowLine(row, names, room, now, look)];
  const { step, state: shown, time } = standing(row, now);
  const state = over(shown);
  const padded = row.machine.padEnd(names);
  const title = step === undefined ? row.machine : `${padded}  ${step.title}`;
  const head = whole({ indent: 0, symbol: symbolOf(state, 0, look), title, tail: endOf(state, time) }, room, look);
  return [...head, ...(step ? toldLines(step, 0, room, look) : [])];
}

function namesWidth(rows: readonly Row[], room: number): number {
  return Math.min(24, Math.floor(room / 2), Math.max(...rows.map(({ machine }) => widthOf(machine))));
}

function toldLines({ told }: Step, indent: number, room: number, look: Look): readonly string[] {
  const lead = `${' '.repeat(Math.min(indent + 2, Math.floor(room / 4)))}${look.gutter} `;
  const free = Math.max(1, room - widthOf(lead));
  return told.flatMap((line) => wrapped(printable(line), free)).map((line) => look.dim(`${lead}${line}`));
}

/** In as many lines as it takes. */
function whole({ indent, symbol, title, tail }: Head, room: number, look: Look): readonly string[] {
  const deep = Math.min(indent, Math.floor(room / 4));
  const free = Math.max(1, room - deep - widthOf(symbol.text) - 1);
  const text = printable(title);
  const [first = '', ...more] = wrapped(text, free);
  const rest = ' '.repeat(deep + widthOf(symbol.text) + 1);
  const lines = [`${' '.repeat(deep)}${symbol.paint(symbol.text)} ${first}`, ...more.map((line) => `${rest}${line}`)];
  const last = more.at(-1) ?? first;
  if (widthOf(last) + 2 + widthOf(tail) <= free) return [...lines.slice(0, -1), `${lines.at(-1)}  ${look.dim(tail)}`];
  return [...lines, ...wrapped(tail, free).map((line) => `${rest}${look.dim(line)}`)].filter(
    (line) => line.trim() !== '',
  );
}

/** Of what still goes on: whole seconds, which tick. */
function ticking(milliseconds: number): string {
  return milliseconds < 60_000 ? `${Math.floor(milliseconds / 1000)} s` : duration(milliseconds);
}

export function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${(milliseconds / 1000).toFixed(1)} s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`;
}
