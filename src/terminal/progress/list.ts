import { SlipwayError } from '../../errors.ts';
import type { Bytes } from '../../progress.ts';
import { printable } from '../printable.ts';

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
export type Step = StepInfo & {
  readonly since: number;
  until?: number;
  state: 'running' | 'done' | 'failed' | 'stopped';
  /** What it said last, as it came. */
  said: string;
  bytes?: Bytes | undefined;
  /** The last lines that may explain a failure. */
  readonly lines: string[];
  /** What of them is told below it, once it failed. */
  told: readonly string[];
  readonly steps: Step[];
};

/** A machine among several. */
export type Row = {
  readonly machine: string;
  state: 'waiting' | 'running' | 'done' | 'failed';
  since?: number;
  until?: number;
  /** What is at work for it, and what failed last. */
  steps: Step[];
};

/** All that is drawn: the steps at work that are of no machine in particular, then the machines. */
export type List = { readonly steps: Step[]; readonly rows: Row[] };

export function newList(): List {
  return { steps: [], rows: [] };
}

export function newRow(machine: string): Row {
  return { machine, state: 'waiting', steps: [] };
}

/** How many of somebody else's last lines explain a failure. */
const LAST_LINES = 8;

export function keepLast(lines: string[], line: string): void {
  lines.push(line);
  if (lines.length > LAST_LINES) lines.shift();
}

/**
 * What a host said last, as far as the error does not say it itself: an error is told with its message and detail below all
 * steps. Of steps in each other, the innermost explains.
 */
export function newLines(lines: readonly string[], error: unknown, explained: WeakSet<object>): readonly string[] {
  if (!(error instanceof SlipwayError) || error.code === 'CANCELED' || explained.has(error)) return [];
  explained.add(error);
  const said = [error.message, ...error.detail].map((line) => printable(line));
  return lines.map(printable).filter((line) => {
    const text = line.replace(/^!! /, '').trim();
    return text !== '' && !said.some((told) => told.includes(text));
  });
}
