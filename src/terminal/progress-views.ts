import { AsyncLocalStorage } from 'node:async_hooks';
import { SlipwayError } from '../errors.ts';
import type { ByteProgress, Log, Progress } from '../progress.ts';
import type { CliEvent } from './event-schema.ts';
import { sanitizeLine } from './terminal-text.ts';
import {
  pushRecentLine,
  takeUnexplainedLines,
  createLiveList,
  createLiveRow,
  type StepInfo,
} from './progress/live-list.ts';
import type { Terminal } from './progress/live.ts';

/** Where a view writes: whole lines, without the line end. */
export type WriteLine = (line: string) => void;

/** One way of showing what goes on: of a whole command, and of all its machines. */
export type ProgressView = {
  run<T>(step: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string, machine: string | undefined): void;
  /** A machine that will have its turn. */
  addMachine(machine: string): void;
  /** There is nothing more to be done for a machine, be it that it failed. */
  finishMachine(machine: string, failed: boolean): void;
  /** The command is over. */
  close(): void;
};

/** The progress of one machine among several. Without `end` it counts as at work until the command is over. */
export type MachineProgress = Progress & { readonly end: (error?: unknown) => void };

/** What logic gets of a view. The step that it is called in is its parent. */
export function createProgress(view: ProgressView, machine?: string): MachineProgress {
  const within = new AsyncLocalStorage<StepInfo>();
  let last = '';
  if (machine !== undefined) view.addMachine(machine);
  return {
    step(id, title, work) {
      last = id;
      const step: StepInfo = { id, title, machine, parent: within.getStore() };
      return within.run(step, () => view.run(step, work));
    },
    lastStepId: () => last,
    note: (text) => view.note(text, machine),
    end: (error) => machine !== undefined && view.finishMachine(machine, error !== undefined),
  };
}

/** One line an event, for logs and pipes. What the host said is left out, unless it explains a failure. */
export function createPlainView(say: WriteLine): ProgressView {
  const named = (machine: string | undefined, text: string): void =>
    say(machine === undefined ? text : `${machine}: ${text}`);
  const explained = new WeakSet<object>();
  return {
    ...NO_OP_VIEW,
    note: (text, machine) => named(machine, sanitizeLine(text)),
    run: (step, work) =>
      runObserved(step, work, {
        onStart: ({ machine, title }) => named(machine, `${sanitizeLine(title)} …`),
        onEnd({ machine, title }, { seconds, lines, error }) {
          named(
            machine,
            `${sanitizeLine(title)}: ${error === undefined ? 'done in' : 'failed after'} ${seconds.toFixed(1)} s`,
          );
          if (error !== undefined)
            for (const line of takeUnexplainedLines(lines, error, explained)) named(machine, `  │ ${line}`);
        },
      }),
  };
}

/** Nothing but what a user must see whatever the view. */
export function createQuietView(say: WriteLine): ProgressView {
  return {
    ...NO_OP_VIEW,
    note: (text, machine) => say(machine === undefined ? sanitizeLine(text) : `${machine}: ${sanitizeLine(text)}`),
    run: (_step, work) => work(() => {}),
  };
}

const NO_OP_VIEW = { addMachine: () => {}, finishMachine: () => {}, close: () => {} };

/** One JSON event a line, as events.schema.json has them. */
export function createJsonView(
  print: (event: CliEvent) => void,
  now: () => number = () => performance.now(),
): ProgressView {
  const emit = (event: CliEvent, machine: string | undefined): void =>
    print({ ...event, ...(machine === undefined ? {} : { machine }) });
  return {
    ...NO_OP_VIEW,
    note: (text, machine) => emit({ event: 'note', text }, machine),
    run(step, work) {
      const { id, title, machine, parent } = step;
      const about = { event: 'step', id, title, ...(parent ? { parent: parent.id } : {}) } as const;
      const measured = throttleBytes((bytes) => emit({ event: 'progress', id, ...bytes }, machine), now);
      return runObserved(step, work, {
        onStart: () => emit({ ...about, state: 'started' }, machine),
        onOutput(line, bytes) {
          if (bytes) measured.tell(bytes);
          else emit({ event: 'output', id, line }, machine);
        },
        onEnd(_step, { seconds, error }) {
          measured.finish();
          const elapsed = Number(seconds.toFixed(1));
          if (error === undefined) return emit({ ...about, state: 'done', elapsed }, machine);
          emit({ ...about, state: 'failed', elapsed, error: errorCodeOf(error) }, machine);
        },
      });
    },
  };
}

/** With the last one, which is always told, four in any second. */
const BYTES_INTERVAL_MS = 334;

function throttleBytes(
  tell: (bytes: { done: number; total?: number; rate?: number }) => void,
  now: () => number,
): { readonly tell: (bytes: ByteProgress) => void; readonly finish: () => void } {
  let at = Number.NEGATIVE_INFINITY;
  let held: ByteProgress | undefined;
  const pass = ({ done, total, rate }: ByteProgress): void => {
    at = now();
    held = undefined;
    tell({
      done,
      ...(total === undefined ? {} : { total }),
      ...(rate === undefined ? {} : { rate: Math.round(rate) }),
    });
  };
  return {
    tell(bytes) {
      if (now() - at >= BYTES_INTERVAL_MS) pass(bytes);
      else held = bytes;
    },
    finish: () => held && pass(held),
  };
}

/** A live list: of one machine, or of several side by side. What draws it is read when the first step begins. */
export function createLiveView(terminal: Terminal): ProgressView {
  const list = createLiveList();
  const opened = async () => (await import('./progress/live.ts')).openLiveScreen(list, terminal);
  let opening: ReturnType<typeof opened> | undefined;
  let screen: Awaited<ReturnType<typeof opened>> | undefined;
  return {
    async run(step, work) {
      screen ??= await (opening ??= opened());
      return await screen.run(step, work);
    },
    note(text, machine) {
      const said = `${machine === undefined ? '' : `${machine}: `}${sanitizeLine(text)}`;
      if (screen) screen.note(said);
      else terminal.stream.write(`${terminal.unicode ? '•' : '*'} ${said}\n`);
    },
    addMachine(machine) {
      if (!list.rows.some((row) => row.machine === machine)) list.rows.push(createLiveRow(machine));
    },
    finishMachine(machine, failed) {
      const row = list.rows.find((one) => one.machine === machine);
      if (row === undefined || row.state === 'done' || row.state === 'failed') return;
      row.state = failed ? 'failed' : 'done';
      row.endedAt = performance.now();
      screen?.flushIfDone();
    },
    close: () => screen?.close(),
  };
}

/** Consoles of Windows that draw by code page, and Linux's own, lack most symbols. */
export function hasUnicode(platform: string, env: Readonly<Record<string, string | undefined>>): boolean {
  if (platform !== 'win32') return env.TERM !== 'linux';
  return Boolean(env.WT_SESSION) || env.TERM_PROGRAM === 'vscode' || /^(xterm|alacritty)/.test(env.TERM ?? '');
}

type StepOutcome = { readonly seconds: number; readonly lines: readonly string[]; readonly error?: unknown };

type StepObserver = {
  readonly onStart: (step: StepInfo) => void;
  readonly onOutput?: (line: string, bytes?: ByteProgress) => void;
  readonly onEnd: (step: StepInfo, outcome: StepOutcome) => void;
};

async function runObserved<T>(step: StepInfo, work: (log: Log) => Promise<T>, watch: StepObserver): Promise<T> {
  const started = performance.now();
  const lines: string[] = [];
  const seconds = (): number => (performance.now() - started) / 1000;
  watch.onStart(step);
  try {
    const result = await work((line, bytes) => {
      if (line === '') return;
      if (!bytes) pushRecentLine(lines, line);
      watch.onOutput?.(line, bytes);
    });
    watch.onEnd(step, { seconds: seconds(), lines });
    return result;
  } catch (error) {
    watch.onEnd(step, { seconds: seconds(), lines, error: error ?? new Error('nothing was thrown') });
    throw error;
  }
}

function errorCodeOf(error: unknown): NonNullable<Extract<CliEvent, { event: 'step' }>['error']> {
  return error instanceof SlipwayError ? error.code : 'BUG';
}
