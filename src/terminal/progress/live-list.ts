import { SlipwayError } from '../../errors.ts';
import type { ByteProgress } from '../../progress.ts';
import { sanitizeLine } from '../terminal-text.ts';

/** A step as views know it. */
export type StepInfo = {
  readonly id: string;
  readonly title: string;
  /** The machine that the step works on, if the command has several. */
  readonly machine: string | undefined;
  /** The step that contains this one. */
  readonly parent: StepInfo | undefined;
};

/** A step in the live list. Times are milliseconds of `performance.now()`. */
export type LiveStep = StepInfo & {
  readonly startedAt: number;
  endedAt?: number;
  state: 'running' | 'done' | 'failed' | 'stopped';
  /** The last line of output, unsanitized. */
  lastOutput: string;
  bytes?: ByteProgress | undefined;
  /** The last lines that may explain a failure. */
  readonly recentLines: string[];
  /** The lines that are shown below the step after it failed. */
  failureLines: readonly string[];
  readonly substeps: LiveStep[];
};

/** One machine of a command that works on several. */
export type LiveRow = {
  readonly machine: string;
  state: 'waiting' | 'running' | 'done' | 'failed';
  startedAt?: number;
  endedAt?: number;
  /** The running steps of the machine, and the one that failed last. */
  steps: LiveStep[];
};

/** Everything in the live list: first the running steps that belong to no machine, then the machines. */
export type LiveList = { readonly steps: LiveStep[]; readonly rows: LiveRow[] };

export function createLiveList(): LiveList {
  return { steps: [], rows: [] };
}

export function createLiveRow(machine: string): LiveRow {
  return { machine, state: 'waiting', steps: [] };
}

/** How many lines of a program's output are kept to explain a failure. */
const MAX_RECENT_LINES = 8;

/** Appends a line, and drops the oldest one if there are too many. */
export function pushRecentLine(lines: string[], line: string): void {
  lines.push(line);
  if (lines.length > MAX_RECENT_LINES) lines.shift();
}

/**
 * Returns the last output lines that explain a failure, without those that the error's own message, detail or hint
 * repeats: these are printed below all steps. If steps are nested, only the innermost one gets the lines; `explained`
 * keeps track of the errors that already have theirs.
 */
export function takeUnexplainedLines(
  lines: readonly string[],
  error: unknown,
  explained: WeakSet<object>,
): readonly string[] {
  if (!(error instanceof SlipwayError) || error.code === 'CANCELED' || explained.has(error)) return [];
  explained.add(error);
  const errorLines = [error.message, error.hint ?? '', ...error.detail].map((line) => sanitizeLine(line));
  return lines.map(sanitizeLine).filter((line) => {
    // A script marks its reason and its advice, which are the error's message and hint.
    const text = line.replace(/^![!>] /, '').trim();
    return text !== '' && !errorLines.some((errorLine) => errorLine.includes(text));
  });
}
