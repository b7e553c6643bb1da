import type { ByteProgress } from '../../progress.ts';
import { truncate, sanitizeLine, displayWidth, wrapText } from '../terminal-text.ts';
import type { LiveList, LiveRow, LiveStep } from './live-list.ts';

type Colorize = (text: string) => string;
type ProgressState = LiveRow['state'] | LiveStep['state'];

/** The look of the list: symbols that the terminal can show, and colours or none. */
export type ProgressTheme = {
  readonly done: string;
  readonly failed: string;
  readonly stopped: string;
  readonly waiting: string;
  readonly note: string;
  readonly more: string;
  readonly gutter: string;
  readonly bar: readonly [filled: string, empty: string];
  readonly spinner: readonly string[];
  readonly green: Colorize;
  readonly red: Colorize;
  readonly cyan: Colorize;
  readonly yellow: Colorize;
  readonly dim: Colorize;
};

export const UNICODE_SYMBOLS = {
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

export const ASCII_SYMBOLS = {
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

export const FRAME_INTERVAL_MS = 80;

export type TerminalSize = { readonly columns: number; readonly rows: number };

/** Keeps the last column free: terminals differ in when they wrap a line that fills it. */
const usableWidth = (columns: number): number => Math.max(1, columns - 1);

/**
 * Returns the lines of the live part of the screen, which is redrawn all the time. No line is wider than the terminal, and
 * there are fewer lines than rows. Finished steps stay above it.
 */
export function renderFrame(
  list: LiveList,
  { columns, rows }: TerminalSize,
  now: number,
  look: ProgressTheme,
): readonly string[] {
  const room = usableWidth(columns);
  const height = Math.max(1, rows - 1);
  const steps = list.steps.flatMap((step) => renderRunningStep(step, 0, room, now, look));
  // The lowest lines are the innermost running steps, so they are kept if there is little room.
  const shown = steps.slice(-height);
  if (list.rows.length === 0) return shown;
  const left = height - shown.length;
  return left > 0 ? [...shown, ...renderMachines(list.rows, { room, height: left }, now, look)] : shown;
}

function renderRunningStep(
  step: LiveStep,
  indent: number,
  room: number,
  now: number,
  look: ProgressTheme,
): readonly string[] {
  if (step.state !== 'running') return [renderHeadline(step, indent, room, now, look)];
  const below = step.substeps.flatMap((inner) => renderRunningStep(inner, indent + 2, room, now, look));
  const output = step.substeps.some(({ state }) => state === 'running')
    ? []
    : renderOutput(step, indent + 4, room, look);
  return [renderHeadline(step, indent, room, now, look), ...below, ...output];
}

function renderHeadline(step: LiveStep, indent: number, room: number, now: number, look: ProgressTheme): string {
  const time = (step.endedAt ?? now) - step.startedAt;
  return renderOnOneLine(
    { indent, symbol: statusSymbol(step.state, now, look), title: step.title, tail: formatStatus(step.state, time) },
    room,
    look,
  );
}

type StatusSymbol = { readonly text: string; readonly paint: Colorize };

function statusSymbol(state: ProgressState, now: number, look: ProgressTheme): StatusSymbol {
  if (state === 'done') return { text: look.done, paint: look.green };
  if (state === 'failed') return { text: look.failed, paint: look.red };
  if (state === 'stopped') return { text: look.stopped, paint: look.yellow };
  if (state === 'waiting') return { text: look.waiting, paint: look.dim };
  const turn = Math.floor(now / FRAME_INTERVAL_MS) % look.spinner.length;
  return { text: look.spinner[turn] ?? '', paint: look.cyan };
}

function formatStatus(state: ProgressState, time: number): string {
  if (state === 'waiting') return 'waiting';
  if (state === 'failed' || state === 'stopped') return `${state} after ${formatElapsed(time)}`;
  return state === 'done' ? formatElapsed(time) : formatRunningTime(time);
}

type Headline = {
  readonly indent: number;
  readonly symbol: StatusSymbol;
  readonly title: string;
  readonly tail: string;
};

/** Renders one line. If there is little room, it truncates the title, and drops the time before the title is unreadable. */
function renderOnOneLine({ indent, symbol, title, tail }: Headline, room: number, look: ProgressTheme): string {
  const lead = `${' '.repeat(indent)}${symbol.text} `;
  const end = tail === '' ? '' : `  ${tail}`;
  const free = room - displayWidth(lead);
  if (free <= 0) return truncate(symbol.text, room, '');
  const text = sanitizeLine(title);
  const enough = Math.min(displayWidth(text), 8);
  const withEnd = free - displayWidth(end) >= enough ? end : '';
  return `${' '.repeat(indent)}${symbol.paint(symbol.text)} ${truncate(text, free - displayWidth(withEnd), look.more)}${look.dim(withEnd)}`;
}

function renderOutput(
  { lastOutput, bytes }: LiveStep,
  indent: number,
  room: number,
  look: ProgressTheme,
): readonly string[] {
  const text = sanitizeLine(lastOutput).trimStart();
  const deep = Math.min(indent, Math.floor(room / 4));
  const free = room - deep;
  if (text === '' || free < 4) return [];
  const bar = bytes === undefined ? '' : renderBar(bytes, free - displayWidth(text) - 2, look);
  return [`${' '.repeat(deep)}${bar}${look.dim(truncate(text, free - (bar === '' ? 0 : BAR_WIDTH + 2), look.more))}`];
}

const BAR_WIDTH = 20;

function renderBar({ done, total }: ByteProgress, room: number, look: ProgressTheme): string {
  if (room < BAR_WIDTH || total === undefined || total <= 0) return '';
  const filled = Math.min(BAR_WIDTH, Math.floor((done / total) * BAR_WIDTH));
  return `${look.cyan(look.bar[0].repeat(filled))}${look.dim(look.bar[1].repeat(BAR_WIDTH - filled))}  `;
}

/** Renders the machines. If there are too many, it shows running and failed ones first, and counts the rest. */
function renderMachines(
  rows: readonly LiveRow[],
  { room, height }: { readonly room: number; readonly height: number },
  now: number,
  look: ProgressTheme,
): readonly string[] {
  const names = nameColumnWidth(rows, room);
  const head = (row: LiveRow): string => renderRow(row, names, room, now, look);
  const busy = (row: LiveRow): boolean => row.state === 'running' || row.state === 'failed';
  const all = rows.length <= height;
  const chosen = all ? rows : [...rows.filter(busy), ...rows.filter((row) => !busy(row))].slice(0, height - 1);
  const count = all
    ? []
    : [
        renderHiddenCounts(
          rows.filter((row) => !chosen.includes(row)),
          room,
          look,
        ),
      ];
  let spare = height - chosen.length - count.length;
  // The order in which the user named the machines, so that no line moves.
  const lines = rows
    .filter((row) => chosen.includes(row))
    .flatMap((row) => {
      const step = row.state === 'running' ? innermostStep(row.steps) : undefined;
      const output = step && spare > 0 ? renderOutput(step, 4, room, look) : [];
      spare -= output.length;
      return [head(row), ...output];
    });
  return [...lines, ...count];
}

function renderRow(row: LiveRow, names: number, room: number, now: number, look: ProgressTheme): string {
  const name = truncate(row.machine, names, look.more);
  const padded = `${name}${' '.repeat(Math.max(0, names - displayWidth(name)))}`;
  const { step, state, time } = rowStatusOf(row, now);
  const title = step === undefined ? name : `${padded}  ${step.title}`;
  // A machine that was ready before this command took no time.
  const tail = state === 'done' && row.startedAt === undefined ? '' : formatStatus(state, time);
  return renderOnOneLine({ indent: 0, symbol: statusSymbol(state, now, look), title, tail }, room, look);
}

type RowStatus = { readonly step: LiveStep | undefined; readonly state: ProgressState; readonly time: number };

/** Returns the current step of a machine and its time; for a finished machine, the time that everything took. */
function rowStatusOf(row: LiveRow, now: number): RowStatus {
  const step = row.state === 'done' ? undefined : innermostStep(row.steps);
  const state = row.state === 'failed' ? (step?.state ?? 'failed') : row.state;
  const { endedAt = now } = step ?? row;
  // A machine that never started has spent no time.
  const since = (step ?? row).startedAt ?? endedAt;
  return { step, state: state === 'done' && row.state === 'failed' ? 'failed' : state, time: endedAt - since };
}

/** Returns the innermost step of those that started last. */
function innermostStep(steps: readonly LiveStep[]): LiveStep | undefined {
  const step = steps.findLast(({ state }) => state === 'running') ?? steps.at(-1);
  return step === undefined
    ? undefined
    : (innermostStep(step.substeps.filter(({ state }) => state === step.state)) ?? step);
}

function renderHiddenCounts(rest: readonly LiveRow[], room: number, look: ProgressTheme): string {
  const number = (state: LiveRow['state']): number => rest.filter((row) => row.state === state).length;
  const parts = [
    [number('running'), 'running'],
    [number('failed'), 'failed'],
    [number('waiting'), 'waiting'],
    [number('done'), 'done'],
  ] as const;
  const shown = parts
    .filter(([count]) => count > 0)
    .map(([count, what], at) => `${count}${at === 0 ? ' more' : ''} ${what}`);
  return look.dim(truncate(`${look.more} ${shown.join(', ')}`, room, look.more));
}

/** Renders a finished step as it stays on the screen: in full, with its substeps and the lines that explain a failure. */
export function renderFinishedStep(
  step: LiveStep,
  columns: number,
  look: ProgressTheme,
  indent = 0,
): readonly string[] {
  const room = usableWidth(columns);
  const state = toFinalState(step.state);
  const tail = formatStatus(state, (step.endedAt ?? performance.now()) - step.startedAt);
  return [
    ...renderWrapped({ indent, symbol: statusSymbol(state, 0, look), title: step.title, tail }, room, look),
    ...step.substeps.flatMap((inner) => renderFinishedStep(inner, columns, look, indent + 2)),
    ...renderFailureLines(step, indent, room, look),
  ];
}

/** Returns the state in which a step stays on the screen: once the command is over, a running step has stopped. */
const toFinalState = (state: ProgressState): ProgressState => (state === 'running' ? 'stopped' : state);

/** Renders the machines as they stay on the screen, or nothing if none was started. */
export function renderFinishedRows(rows: readonly LiveRow[], columns: number, look: ProgressTheme): readonly string[] {
  const room = usableWidth(columns);
  const begun = rows.filter(({ state }) => state !== 'waiting');
  if (begun.length === 0) return [];
  const names = nameColumnWidth(rows, room);
  const lines = begun.flatMap((row) => renderFinishedRow(row, names, columns, look));
  const left = rows.filter(({ state }) => state === 'waiting').map(({ machine }) => machine);
  return left.length === 0 ? lines : [...lines, ...wrapText(`${look.waiting} not started: ${left.join(', ')}`, room)];
}

function renderFinishedRow(row: LiveRow, names: number, columns: number, look: ProgressTheme): readonly string[] {
  const room = usableWidth(columns);
  const now = performance.now();
  if (row.state === 'done') return [renderRow(row, names, room, now, look)];
  const { step, state: shown, time } = rowStatusOf(row, now);
  const state = toFinalState(shown);
  const padded = row.machine.padEnd(names);
  const title = step === undefined ? row.machine : `${padded}  ${step.title}`;
  const head = renderWrapped(
    { indent: 0, symbol: statusSymbol(state, 0, look), title, tail: formatStatus(state, time) },
    room,
    look,
  );
  return [...head, ...(step ? renderFailureLines(step, 0, room, look) : [])];
}

function nameColumnWidth(rows: readonly LiveRow[], room: number): number {
  return Math.min(24, Math.floor(room / 2), Math.max(...rows.map(({ machine }) => displayWidth(machine))));
}

function renderFailureLines(
  { failureLines }: LiveStep,
  indent: number,
  room: number,
  look: ProgressTheme,
): readonly string[] {
  const lead = `${' '.repeat(Math.min(indent + 2, Math.floor(room / 4)))}${look.gutter} `;
  const free = Math.max(1, room - displayWidth(lead));
  return failureLines.flatMap((line) => wrapText(sanitizeLine(line), free)).map((line) => look.dim(`${lead}${line}`));
}

/** Renders a headline in as many lines as it needs. */
function renderWrapped(
  { indent, symbol, title, tail }: Headline,
  room: number,
  look: ProgressTheme,
): readonly string[] {
  const deep = Math.min(indent, Math.floor(room / 4));
  const free = Math.max(1, room - deep - displayWidth(symbol.text) - 1);
  const text = sanitizeLine(title);
  const [first = '', ...more] = wrapText(text, free);
  const rest = ' '.repeat(deep + displayWidth(symbol.text) + 1);
  const lines = [`${' '.repeat(deep)}${symbol.paint(symbol.text)} ${first}`, ...more.map((line) => `${rest}${line}`)];
  const last = more.at(-1) ?? first;
  if (displayWidth(last) + 2 + displayWidth(tail) <= free)
    return [...lines.slice(0, -1), `${lines.at(-1)}  ${look.dim(tail)}`];
  return [...lines, ...wrapText(tail, free).map((line) => `${rest}${look.dim(line)}`)].filter(
    (line) => line.trim() !== '',
  );
}

/** Formats the time of a running step in whole seconds. */
function formatRunningTime(milliseconds: number): string {
  return milliseconds < 60_000 ? `${Math.floor(milliseconds / 1000)} s` : formatElapsed(milliseconds);
}

export function formatElapsed(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${(milliseconds / 1000).toFixed(1)} s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`;
}
