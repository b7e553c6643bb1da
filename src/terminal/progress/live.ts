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

/** What a live list needs to know of where it is drawn. */
export type Terminal = {
  readonly stream: NodeJS.WriteStream;
  /** Streams that end at the same terminal: what others write there must not tear the list. */
  readonly others: readonly NodeJS.WriteStream[];
  readonly color: boolean;
  readonly unicode: boolean;
};

export type LiveScreen = {
  run<T>(info: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string): void;
  /** Once the last machine is done with, the list leaves the screen and what came of each stays. */
  flushIfDone(): void;
  close(): void;
};

export function openLiveScreen(list: LiveList, terminal: Terminal): LiveScreen {
  const look = themeFor(terminal);
  const canvas = openCanvas(terminal, (size) => renderFrame(list, size, performance.now(), look));
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
        if (isTopLevel(step)) canvas.printAbove(renderFinishedStep(step, canvas.columns(), look));
        else canvas.scheduleDraw();
      };
      return await runWithListr(info.title, () => work(createStepLog(step, canvas)), { onStart, onEnd });
    },
    note: (text) => canvas.printAbove(wrapText(`${look.note} ${text}`, canvas.columns() - 1)),
    flushIfDone() {
      const over = list.rows.every(({ state }) => state === 'done' || state === 'failed');
      if (over) canvas.printAbove(renderFinishedRows(list.rows.splice(0), canvas.columns(), look));
      else canvas.scheduleDraw();
    },
    close() {
      const left = list.steps.splice(0).flatMap((step) => renderFinishedStep(step, canvas.columns(), look));
      canvas.printAbove([...left, ...renderFinishedRows(list.rows.splice(0), canvas.columns(), look)]);
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
  // What failed and did not end the work is past.
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

/** Removes a step that has ended from the live list. A failed step of a machine stays, as the reason of its failure. */
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
 * listr2 runs a step and tells when it begins and how it ends. Its own renderers draw a list that is known before it runs, one
 * list a terminal, and the lines of others as they came; so this one hands over to the list that the whole command shares.
 */
class StepRenderer implements ListrRenderer {
  static readonly nonTTY = true;
  static rendererOptions: RenderHooks;
  static rendererTaskOptions: never;
  readonly #told: RenderHooks;
  constructor(_tasks: unknown, told: RenderHooks) {
    this.#told = told;
  }
  render(): void {
    this.#told.onStart();
  }
  end(error?: Error): void {
    this.#told.onEnd(error);
  }
}

async function runWithListr<T>(title: string, work: () => Promise<T>, told: RenderHooks): Promise<T> {
  const done: { result?: T } = {};
  const task = async (): Promise<void> => {
    done.result = await work();
  };
  // Its listeners would end the process on Ctrl-C, before anything was said or saved.
  const how = { renderer: StepRenderer, rendererOptions: told, registerSignalListeners: false };
  await new Listr([{ title, task }], how).run();
  return done.result as T;
}
