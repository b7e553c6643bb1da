import { SlipwayError } from '../../errors.ts';
import type { ByteProgress } from '../../progress.ts';
import { sanitizeLine } from '../terminal-text.ts';

/** A piece of work as views know it. */
export type StepInfo = {
  readonly id: string;
  readonly title: string;
  /** Of which machine, where there are several. */
  readonly machine: string | undefined;
  /** The step that it is a part of. */
  readonly parent: StepInfo | undefined;
};

/** A step in the live list. Times are milliseconds of one clock. */
export type LiveStep = StepInfo & {
  readonly startedAt: number;
  endedAt?: number;
  state: 'running' | 'done' | 'failed' | 'stopped';
  /** What it said last, as it came. */
  lastOutput: string;
  bytes?: ByteProgress | undefined;
  /** The last lines that may explain a failure. */
  readonly recentLines: string[];
  /** What of them is told below it, once it failed. */
  failureLines: readonly string[];
  readonly substeps: LiveStep[];
};

/** A machine among several. */
export type LiveRow = {
  readonly machine: string;
  state: 'waiting' | 'running' | 'done' | 'failed';
  startedAt?: number;
  endedAt?: number;
  /** What is at work for it, and what failed last. */
  steps: LiveStep[];
};

/** All that is drawn: the steps at work that are of no machine in particular, then the machines. */
export type LiveList = { readonly steps: LiveStep[]; readonly rows: LiveRow[] };

export function createLiveList(): LiveList {
  return { steps: [], rows: [] };
}

export function createLiveRow(machine: string): LiveRow {
  return { machine, state: 'waiting', steps: [] };
}

/** How many of somebody else's last lines explain a failure. */
const MAX_RECENT_LINES = 8;

export function pushRecentLine(lines: string[], line: string): void {
  lines.push(line);
  if (lines.length > MAX_RECENT_LINES) lines.shift();
}

/**
 * What a host said last, as far as the error does not say it itself: an error is told with its message and detail below
 * all steps. Of steps in each other, the innermost explains.
 */
export function takeUnexplainedLines(
  lines: readonly string[],
  error: unknown,
  explained: WeakSet<object>,
): readonly string[] {
  if (!(error instanceof SlipwayError) || error.code === 'CANCELED' || explained.has(error)) return [];
  explained.add(error);
  const said = [error.message, ...error.detail].map((line) => sanitizeLine(line));
  return lines.map(sanitizeLine).filter((line) => {
    const text = line.replace(/^!! /, '').trim();
    return text !== '' && !said.some((told) => told.includes(text));
  });
}
