import { Listr, type ListrRenderer } from 'listr2';
import colors from 'picocolors';
import { SlipwayError } from '../../errors.ts';
import type { Log } from '../../progress.ts';
import { wrapped } from '../printable.ts';
import { type Canvas, openCanvas } from './canvas.ts';
import { ASCII, frame, type Look, settledRows, settledStep, UNICODE } from './frame.ts';
import { keepLast, type List, newLines, newRow, type Row, type Step, type StepInfo } from './list.ts';

/** What a live list needs to know of where it is drawn. */
export type Terminal = {
  readonly stream: NodeJS.WriteStream;
  /** Streams that end at the same terminal: what others write there must not tear the list. */
  readonly others: readonly NodeJS.WriteStream[];
  readonly color: boolean;
  readonly unicode: boolean;
};

export type Screen = {
  run<T>(info: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string): void;
  /** Once the last machine is done with, the list leaves the screen and what came of each stays. */
  settle(): void;
  close(): void;
};

export function openScreen(list: List, terminal: Terminal): Screen {
  const look = lookOf(terminal);
  const canvas = openCanvas(terminal, (size) => frame(list, size, performance.now(), look));
  const explained = new WeakSet<object>();
  const steps = new Map<StepInfo, Step>();
  return {
    async run(info, work) {
      const step = newStep(info);
      steps.set(info, step);
      const began = (): void => {
        place(step, info.parent && steps.get(info.parent), list);
        canvas.draw();
      };
      const ended = (error: unknown): void => {
        steps.delete(info);
        end(step, error, explained);
        if (leaves(step, list)) canvas.above(settledStep(step, canvas.columns(), look));
        else canvas.draw();
      };
      return await runByListr(info.title, () => work(logOf(step, canvas)), { began, ended });
    },
    note: (text) => canvas.above(wrapped(`${look.note} ${text}`, canvas.columns() - 1)),
    settle() {
      const over = list.rows.every(({ state }) => state === 'done' || state === 'failed');
      if (over) canvas.above(settledRows(list.rows.splice(0), canvas.columns(), look));
      else canvas.draw();
    },
    close() {
      const left = list.steps.splice(0).flatMap((step) => settledStep(step, canvas.columns(), look));
      canvas.above([...left, ...settledRows(list.rows.splice(0), canvas.columns(), look)]);
      canvas.close();
    },
  };
}

function newStep(info: StepInfo): Step {
  return { ...info, since: performance.now(), state: 'running', said: '', lines: [], told: [], steps: [] };
}

function place(step: Step, parent: Step | undefined, list: List): void {
  const row = rowOf(step, list);
  if (row) {
    row.state = 'running';
    row.since ??= step.since;
    delete row.until;
  }
  if (parent) parent.steps.push(step);
  // What failed and did not end the work is past.
  else if (row) row.steps = [...row.steps.filter(({ state }) => state === 'running'), step];
  else list.steps.push(step);
}

function end(step: Step, error: unknown, explained: WeakSet<object>): void {
  const canceled = error instanceof SlipwayError && error.code === 'CANCELED';
  step.until = performance.now();
  step.state = error === undefined ? 'done' : canceled ? 'stopped' : 'failed';
  step.told = error === undefined ? [] : newLines(step.lines, error, explained);
}

/** A step of no machine and of no other step stays on the screen when it ends; true where this is one. */
function leaves(step: Step, list: List): boolean {
  if (step.parent !== undefined) return false;
  const row = rowOf(step, list);
  if (row && step.state === 'done') row.steps = row.steps.filter((one) => one !== step);
  const at = list.steps.indexOf(step);
  if (at >= 0) list.steps.splice(at, 1);
  return row === undefined;
}

function rowOf({ machine }: Step, { rows }: List): Row | undefined {
  if (machine === undefined) return undefined;
  const row = rows.find((one) => one.machine === machine) ?? newRow(machine);
  if (!rows.includes(row)) rows.push(row);
  return row;
}

function logOf(step: Step, canvas: Canvas): Log {
  return (line, bytes) => {
    if (line === '') return;
    step.said = line;
    step.bytes = bytes;
    if (!bytes) keepLast(step.lines, line);
    canvas.draw();
  };
}

function lookOf({ color, unicode }: Terminal): Look {
  const { green, red, cyan, yellow, dim } = colors.createColors(color);
  return { ...(unicode ? UNICODE : ASCII), green, red, cyan, yellow, dim };
}

type Told = { readonly began: () => void; readonly ended: (error: unknown) => void };

/**
 * listr2 runs a step and tells when it begins and how it ends. Its own renderers draw a list that is known before it runs, one
 * list a terminal, and the lines of others as they came; so this one hands over to the list that the whole command shares.
 */
class StepRenderer implements ListrRenderer {
  static readonly nonTTY = true;
  static rendererOptions: Told;
  static rendererTaskOptions: never;
  readonly #told: Told;
  constructor(_tasks: unknown, told: Told) {
    this.#told = told;
  }
  render(): void {
    this.#told.began();
  }
  end(error?: Error): void {
    this.#told.ended(error);
  }
}

async function runByListr<T>(title: string, work: () => Promise<T>, told: Told): Promise<T> {
  const done: { result?: T } = {};
  const task = async (): Promise<void> => {
    done.result = await work();
  };
  // Its listeners would end the process on Ctrl-C, before anything was said or saved.
  const how = { renderer: StepRenderer, rendererOptions: told, registerSignalListeners: false };
  await new Listr([{ title, task }], how).run();
  return done.result as T;
}
