import { Listr, type ListrRenderer } from 'listr2';
import colors from 'picocolors';
import { SlipwayError } from '../../errors.ts';
import type { Log } from '../../progress.ts';
import { wrapText } from '../terminal-text.ts';
import { type Canvas, openCanvas } from './canvas.ts';
import {
  ASCII_SYMBOLS,
  renderFrame,
  type ProgressTheme,
  renderFinishedRows,
  renderFinishedStep,
  UNICODE_SYMBOLS,
} from './frame.ts';
import {
  pushRecentLine,
  type LiveList,
  takeUnexplainedLines,
  createLiveRow,
  type LiveRow,
  type LiveStep,
  type StepInfo,
} from './live-list.ts';

/** The terminal on which a live list is drawn. */
export type Terminal = {
  readonly stream: NodeJS.WriteStream;
  /** Streams that write to the same terminal: their output must not tear the list. */
  readonly others: readonly NodeJS.WriteStream[];
  readonly color: boolean;
  readonly unicode: boolean;
};

export type LiveScreen = {
  run<T>(info: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string): void;
  /** Replaces the list by the result of each machine, once all machines are finished. */
  flushIfDone(): void;
  close(): void;
};

export function openLiveScreen(list: LiveList, terminal: Terminal): LiveScreen {
  const theme = themeFor(terminal);
  const canvas = openCanvas(terminal, (size) => renderFrame(list, size, performance.now(), theme));
  const explained = new WeakSet<object>();
  const steps = new Map<StepInfo, LiveStep>();
  return {
    async run(info, work) {
      const step = createStep(info);
      steps.set(info, step);
      const onStart = (): void => {
        attachStep(step, info.parent && steps.get(info.parent), list);
        canvas.scheduleDraw();
      };
      const onEnd = (error: unknown): void => {
        steps.delete(info);
        finishStep(step, error, explained);
        detachStep(step, list);
        if (isTopLevel(step)) canvas.printAbove(renderFinishedStep(step, canvas.columns(), theme));
        else canvas.scheduleDraw();
      };
      return await runWithListr(info.title, () => work(createStepLog(step, canvas)), { onStart, onEnd });
    },
    note: (text) => canvas.printAbove(wrapText(`${theme.note} ${text}`, canvas.columns() - 1)),
    flushIfDone() {
      const isOver = list.rows.every(({ state }) => state === 'done' || state === 'failed');
      if (isOver) canvas.printAbove(renderFinishedRows(list.rows.splice(0), canvas.columns(), theme));
      else canvas.scheduleDraw();
    },
    close() {
      const unfinished = list.steps.splice(0).flatMap((step) => renderFinishedStep(step, canvas.columns(), theme));
      canvas.printAbove([...unfinished, ...renderFinishedRows(list.rows.splice(0), canvas.columns(), theme)]);
      canvas.close();
    },
  };
}

function createStep(info: StepInfo): LiveStep {
  return {
    ...info,
    startedAt: performance.now(),
    state: 'running',
    lastOutput: '',
    recentLines: [],
    failureLines: [],
    substeps: [],
  };
}

function attachStep(step: LiveStep, parent: LiveStep | undefined, list: LiveList): void {
  const row = getOrCreateRow(step, list);
  if (row) {
    row.state = 'running';
    row.startedAt ??= step.startedAt;
    delete row.endedAt;
  }
  if (parent) parent.substeps.push(step);
  // A failed step that did not end the machine's work is no longer shown.
  else if (row) row.steps = [...row.steps.filter(({ state }) => state === 'running'), step];
  else list.steps.push(step);
}

function finishStep(step: LiveStep, error: unknown, explained: WeakSet<object>): void {
  const canceled = error instanceof SlipwayError && error.code === 'CANCELED';
  step.endedAt = performance.now();
  step.state = error === undefined ? 'done' : canceled ? 'stopped' : 'failed';
  step.failureLines = error === undefined ? [] : takeUnexplainedLines(step.recentLines, error, explained);
}

/** Returns whether a step belongs to no machine and to no other step: it stays on the screen when it ends. */
function isTopLevel({ machine, parent }: LiveStep): boolean {
  return machine === undefined && parent === undefined;
}

/** Removes a finished step from the live list. A machine's failed step stays: it shows why the machine failed. */
function detachStep(step: LiveStep, list: LiveList): void {
  if (step.parent !== undefined) return;
  const row = getOrCreateRow(step, list);
  if (row && step.state === 'done') row.steps = row.steps.filter((one) => one !== step);
  const index = list.steps.indexOf(step);
  if (index >= 0) list.steps.splice(index, 1);
}

function getOrCreateRow({ machine }: LiveStep, { rows }: LiveList): LiveRow | undefined {
  if (machine === undefined) return undefined;
  const row = rows.find((one) => one.machine === machine) ?? createLiveRow(machine);
  if (!rows.includes(row)) rows.push(row);
  return row;
}

function createStepLog(step: LiveStep, canvas: Canvas): Log {
  return (line, bytes) => {
    if (line === '') return;
    step.lastOutput = line;
    step.bytes = bytes;
    if (!bytes) pushRecentLine(step.recentLines, line);
    canvas.scheduleDraw();
  };
}

function themeFor({ color, unicode }: Terminal): ProgressTheme {
  const { green, red, cyan, yellow, dim } = colors.createColors(color);
  return { ...(unicode ? UNICODE_SYMBOLS : ASCII_SYMBOLS), green, red, cyan, yellow, dim };
}

type RenderHooks = { readonly onStart: () => void; readonly onEnd: (error: unknown) => void };

/**
 * Passes a step's start and end, which listr2 reports, to the list that the whole command shares. listr2's own
 * renderers do not fit: they draw one list per terminal, which must be known in advance, and print other output
 * unsanitized.
 */
class StepRenderer implements ListrRenderer {
  static readonly nonTTY = true;
  static rendererOptions: RenderHooks;
  static rendererTaskOptions: never;
  readonly #hooks: RenderHooks;
  constructor(_tasks: unknown, hooks: RenderHooks) {
    this.#hooks = hooks;
  }
  render(): void {
    this.#hooks.onStart();
  }
  end(error?: Error): void {
    this.#hooks.onEnd(error);
  }
}

async function runWithListr<T>(title: string, work: () => Promise<T>, hooks: RenderHooks): Promise<T> {
  const outcome: { result?: T } = {};
  const task = async (): Promise<void> => {
    outcome.result = await work();
  };
  // listr2's signal listeners would end the process on Ctrl-C, before Slipway prints or saves anything.
  const options = { renderer: StepRenderer, rendererOptions: hooks, registerSignalListeners: false };
  await new Listr([{ title, task }], options).run();
  return outcome.result as T;
}
