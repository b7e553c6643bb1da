import type { ByteProgress } from '../../progress.ts';
import { truncate, sanitizeLine, displayWidth, wrapText } from '../terminal-text.ts';
import type { LiveList, LiveRow, LiveStep } from './live-list.ts';

type Colorize = (text: string) => string;
type ProgressState = LiveRow['state'] | LiveStep['state'];

/** The look of the list: symbols that the terminal can show, and functions that color text or leave it as it is. */
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
 * Returns the lines of the live part of the screen, which is redrawn all the time below the finished steps. No line is
 * wider than the terminal, and there are fewer lines than rows.
 */
export function renderFrame(
  list: LiveList,
  { columns, rows }: TerminalSize,
  now: number,
  theme: ProgressTheme,
): readonly string[] {
  const room = usableWidth(columns);
  const height = Math.max(1, rows - 1);
  const steps = list.steps.flatMap((step) => renderRunningStep(step, 0, room, now, theme));
  // The lowest lines are the innermost running steps, so they are kept if there is little room.
  const visible = steps.slice(-height);
  if (list.rows.length === 0) return visible;
  const rowsHeight = height - visible.length;
  return rowsHeight > 0
    ? [...visible, ...renderMachines(list.rows, { room, height: rowsHeight }, now, theme)]
    : visible;
}

function renderRunningStep(
  step: LiveStep,
  indent: number,
  room: number,
  now: number,
  theme: ProgressTheme,
): readonly string[] {
  if (step.state !== 'running') return [renderHeadline(step, indent, room, now, theme)];
  const substeps = step.substeps.flatMap((substep) => renderRunningStep(substep, indent + 2, room, now, theme));
  const output = step.substeps.some(({ state }) => state === 'running')
    ? []
    : renderOutput(step, indent + 4, room, theme);
  return [renderHeadline(step, indent, room, now, theme), ...substeps, ...output];
}

function renderHeadline(step: LiveStep, indent: number, room: number, now: number, theme: ProgressTheme): string {
  const time = (step.endedAt ?? now) - step.startedAt;
  return renderOnOneLine(
    { indent, symbol: statusSymbol(step.state, now, theme), title: step.title, tail: formatStatus(step.state, time) },
    room,
    theme,
  );
}

type StatusSymbol = { readonly text: string; readonly paint: Colorize };

function statusSymbol(state: ProgressState, now: number, theme: ProgressTheme): StatusSymbol {
  if (state === 'done') return { text: theme.done, paint: theme.green };
  if (state === 'failed') return { text: theme.failed, paint: theme.red };
  if (state === 'stopped') return { text: theme.stopped, paint: theme.yellow };
  if (state === 'waiting') return { text: theme.waiting, paint: theme.dim };
  const frameIndex = Math.floor(now / FRAME_INTERVAL_MS) % theme.spinner.length;
  return { text: theme.spinner[frameIndex] ?? '', paint: theme.cyan };
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

/**
 * Renders one line. If there is little room, it truncates the title, and drops the time before the title is unreadable.
 */
function renderOnOneLine({ indent, symbol, title, tail }: Headline, room: number, theme: ProgressTheme): string {
  const lead = `${' '.repeat(indent)}${symbol.text} `;
  const end = tail === '' ? '' : `  ${tail}`;
  const free = room - displayWidth(lead);
  if (free <= 0) return truncate(symbol.text, room, '');
  const text = sanitizeLine(title);
  const readableWidth = Math.min(displayWidth(text), 8);
  const shownEnd = free - displayWidth(end) >= readableWidth ? end : '';
  return `${' '.repeat(indent)}${symbol.paint(symbol.text)} ${truncate(text, free - displayWidth(shownEnd), theme.more)}${theme.dim(shownEnd)}`;
}

function renderOutput(
  { lastOutput, bytes }: LiveStep,
  indent: number,
  room: number,
  theme: ProgressTheme,
): readonly string[] {
  const text = sanitizeLine(lastOutput).trimStart();
  const lead = ' '.repeat(Math.min(indent, Math.floor(room / 4)));
  const free = room - lead.length;
  if (text === '' || free < 4) return [];
  const bar = bytes === undefined ? '' : renderBar(bytes, free - displayWidth(text) - 2, theme);
  return [`${lead}${bar}${theme.dim(truncate(text, free - (bar === '' ? 0 : BAR_WIDTH + 2), theme.more))}`];
}

const BAR_WIDTH = 20;

function renderBar({ done, total }: ByteProgress, room: number, theme: ProgressTheme): string {
  if (room < BAR_WIDTH || total === undefined || total <= 0) return '';
  const filled = Math.min(BAR_WIDTH, Math.floor((done / total) * BAR_WIDTH));
  return `${theme.cyan(theme.bar[0].repeat(filled))}${theme.dim(theme.bar[1].repeat(BAR_WIDTH - filled))}  `;
}

/** Renders the machines in the user's order, so that no line moves. Counts those for which there is no room. */
function renderMachines(
  rows: readonly LiveRow[],
  { room, height }: { readonly room: number; readonly height: number },
  now: number,
  theme: ProgressTheme,
): readonly string[] {
  const nameWidth = nameColumnWidth(rows, room);
  const visible = selectVisibleRows(rows, height);
  const hidden = rows.filter((row) => !visible.includes(row));
  const counts = hidden.length === 0 ? [] : [renderHiddenCounts(hidden, room, theme)];
  let spareLines = height - visible.length - counts.length;
  const lines = visible.flatMap((row) => {
    const step = row.state === 'running' ? innermostStep(row.steps) : undefined;
    const output = step && spareLines > 0 ? renderOutput(step, 4, room, theme) : [];
    spareLines -= output.length;
    return [renderRow(row, nameWidth, room, now, theme), ...output];
  });
  return [...lines, ...counts];
}

/** Selects the rows that are shown: all of them, or running and failed ones first with one line left for the counts. */
function selectVisibleRows(rows: readonly LiveRow[], height: number): readonly LiveRow[] {
  if (rows.length <= height) return rows;
  const isBusy = ({ state }: LiveRow): boolean => state === 'running' || state === 'failed';
  const selected = [...rows.filter(isBusy), ...rows.filter((row) => !isBusy(row))].slice(0, height - 1);
  return rows.filter((row) => selected.includes(row));
}

function renderRow(row: LiveRow, nameWidth: number, room: number, now: number, theme: ProgressTheme): string {
  const name = truncate(row.machine, nameWidth, theme.more);
  const padded = `${name}${' '.repeat(Math.max(0, nameWidth - displayWidth(name)))}`;
  const { step, state, time } = rowStatusOf(row, now);
  const title = step === undefined ? name : `${padded}  ${step.title}`;
  // A machine that was ready before this command took no time.
  const tail = state === 'done' && row.startedAt === undefined ? '' : formatStatus(state, time);
  return renderOnOneLine({ indent: 0, symbol: statusSymbol(state, now, theme), title, tail }, room, theme);
}

type RowStatus = { readonly step: LiveStep | undefined; readonly state: ProgressState; readonly time: number };

/** Returns the current step of a machine and its time; for a finished machine, the time that everything took. */
function rowStatusOf(row: LiveRow, now: number): RowStatus {
  const step = row.state === 'done' ? undefined : innermostStep(row.steps);
  const state = row.state === 'failed' ? (step?.state ?? 'failed') : row.state;
  const { endedAt = now } = step ?? row;
  // A machine that never started has spent no time.
  const { startedAt = endedAt } = step ?? row;
  return { step, state: state === 'done' && row.state === 'failed' ? 'failed' : state, time: endedAt - startedAt };
}

/** Returns the innermost step of those that started last. */
function innermostStep(steps: readonly LiveStep[]): LiveStep | undefined {
  const step = steps.findLast(({ state }) => state === 'running') ?? steps.at(-1);
  return step === undefined
    ? undefined
    : (innermostStep(step.substeps.filter(({ state }) => state === step.state)) ?? step);
}

/** Renders a line such as `… 3 more running, 12 waiting`. */
function renderHiddenCounts(rows: readonly LiveRow[], room: number, theme: ProgressTheme): string {
  const countOf = (state: LiveRow['state']): number => rows.filter((row) => row.state === state).length;
  const parts = [
    [countOf('running'), 'running'],
    [countOf('failed'), 'failed'],
    [countOf('waiting'), 'waiting'],
    [countOf('done'), 'done'],
  ] as const;
  const shown = parts
    .filter(([count]) => count > 0)
    .map(([count, state], index) => `${count}${index === 0 ? ' more' : ''} ${state}`);
  return theme.dim(truncate(`${theme.more} ${shown.join(', ')}`, room, theme.more));
}

/**
 * Renders a finished step as it stays on the screen: in full, with its substeps and the lines that explain a failure.
 */
export function renderFinishedStep(
  step: LiveStep,
  columns: number,
  theme: ProgressTheme,
  indent = 0,
): readonly string[] {
  const room = usableWidth(columns);
  const state = toFinalState(step.state);
  const tail = formatStatus(state, (step.endedAt ?? performance.now()) - step.startedAt);
  return [
    ...renderWrapped({ indent, symbol: statusSymbol(state, 0, theme), title: step.title, tail }, room, theme),
    ...step.substeps.flatMap((substep) => renderFinishedStep(substep, columns, theme, indent + 2)),
    ...renderFailureLines(step, indent, room, theme),
  ];
}

/** Returns the state that is shown after the command: a step that is still running then counts as stopped. */
const toFinalState = (state: ProgressState): ProgressState => (state === 'running' ? 'stopped' : state);

/** Renders the machines as they stay on the screen, or nothing if none was started. */
export function renderFinishedRows(rows: readonly LiveRow[], columns: number, theme: ProgressTheme): readonly string[] {
  const room = usableWidth(columns);
  const started = rows.filter(({ state }) => state !== 'waiting');
  if (started.length === 0) return [];
  const nameWidth = nameColumnWidth(rows, room);
  const lines = started.flatMap((row) => renderFinishedRow(row, nameWidth, columns, theme));
  const waiting = rows.filter(({ state }) => state === 'waiting').map(({ machine }) => machine);
  if (waiting.length === 0) return lines;
  return [...lines, ...wrapText(`${theme.waiting} not started: ${waiting.join(', ')}`, room)];
}

function renderFinishedRow(row: LiveRow, nameWidth: number, columns: number, theme: ProgressTheme): readonly string[] {
  const room = usableWidth(columns);
  const now = performance.now();
  if (row.state === 'done') return [renderRow(row, nameWidth, room, now, theme)];
  const { step, state: liveState, time } = rowStatusOf(row, now);
  const state = toFinalState(liveState);
  const title = step === undefined ? row.machine : `${row.machine.padEnd(nameWidth)}  ${step.title}`;
  const headline = renderWrapped(
    { indent: 0, symbol: statusSymbol(state, 0, theme), title, tail: formatStatus(state, time) },
    room,
    theme,
  );
  return [...headline, ...(step ? renderFailureLines(step, 0, room, theme) : [])];
}

function nameColumnWidth(rows: readonly LiveRow[], room: number): number {
  return Math.min(24, Math.floor(room / 2), Math.max(...rows.map(({ machine }) => displayWidth(machine))));
}

function renderFailureLines(
  { failureLines }: LiveStep,
  indent: number,
  room: number,
  theme: ProgressTheme,
): readonly string[] {
  const lead = `${' '.repeat(Math.min(indent + 2, Math.floor(room / 4)))}${theme.gutter} `;
  const free = Math.max(1, room - displayWidth(lead));
  return failureLines.flatMap((line) => wrapText(sanitizeLine(line), free)).map((line) => theme.dim(`${lead}${line}`));
}

/** Renders a headline in as many lines as it needs. */
function renderWrapped(
  { indent, symbol, title, tail }: Headline,
  room: number,
  theme: ProgressTheme,
): readonly string[] {
  const lead = ' '.repeat(Math.min(indent, Math.floor(room / 4)));
  const textIndent = ' '.repeat(lead.length + displayWidth(symbol.text) + 1);
  const free = Math.max(1, room - textIndent.length);
  const [first = '', ...more] = wrapText(sanitizeLine(title), free);
  const lines = [`${lead}${symbol.paint(symbol.text)} ${first}`, ...more.map((line) => `${textIndent}${line}`)];
  const last = more.at(-1) ?? first;
  if (displayWidth(last) + 2 + displayWidth(tail) <= free)
    return [...lines.slice(0, -1), `${lines.at(-1)}  ${theme.dim(tail)}`];
  const tailLines = wrapText(tail, free).map((line) => `${textIndent}${theme.dim(line)}`);
  return [...lines, ...tailLines].filter((line) => line.trim() !== '');
}

/** Formats the time of a running step in whole seconds. */
function formatRunningTime(milliseconds: number): string {
  return milliseconds < 60_000 ? `${Math.floor(milliseconds / 1000)} s` : formatElapsed(milliseconds);
}

export function formatElapsed(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${(milliseconds / 1000).toFixed(1)} s`;
  const twoDigits = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${twoDigits(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${twoDigits(Math.floor((seconds % 3600) / 60))} min`;
}
