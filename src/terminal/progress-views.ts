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

/** Writes one line; the text has no line end. */
export type WriteLine = (line: string) => void;

/** Shows the progress of one command and of all its machines. */
export type ProgressView = {
  run<T>(step: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string, machine: string | undefined): void;
  /** Adds a machine that waits for its turn. */
  addMachine(machine: string): void;
  /** Marks a machine as finished: nothing more will be done for it. */
  finishMachine(machine: string, failed: boolean): void;
  /** Ends the view when the command is over. */
  close(): void;
};

/** The progress of one machine among several. Until `end` is called, the machine counts as running. */
export type MachineProgress = Progress & { readonly end: (error?: unknown) => void };

/**
 * Creates the `Progress` that operations use to report to a view. A step that starts inside another has it as parent.
 */
export function createProgress(view: ProgressView, machine?: string): MachineProgress {
  const currentStep = new AsyncLocalStorage<StepInfo>();
  let lastId = '';
  if (machine !== undefined) view.addMachine(machine);
  return {
    step(id, title, work) {
      lastId = id;
      const step: StepInfo = { id, title, machine, parent: currentStep.getStore() };
      return currentStep.run(step, () => view.run(step, work));
    },
    lastStepId: () => lastId,
    note: (text) => view.note(text, machine),
    end: (error) => machine !== undefined && view.finishMachine(machine, error !== undefined),
  };
}

/** Prints one line per event, for logs and pipes. Output of hosts is omitted, unless it explains a failure. */
export function createPlainView(say: WriteLine): ProgressView {
  const sayAbout = (machine: string | undefined, text: string): void =>
    say(machine === undefined ? text : `${machine}: ${text}`);
  const explained = new WeakSet<object>();
  return {
    ...NO_OP_VIEW,
    note: (text, machine) => sayAbout(machine, sanitizeLine(text)),
    run: (step, work) =>
      runObserved(step, work, {
        onStart: ({ machine, title }) => sayAbout(machine, `${sanitizeLine(title)} …`),
        onEnd({ machine, title }, { seconds, lines, error }) {
          sayAbout(
            machine,
            `${sanitizeLine(title)}: ${error === undefined ? 'done in' : 'failed after'} ${seconds.toFixed(1)} s`,
          );
          if (error !== undefined)
            for (const line of takeUnexplainedLines(lines, error, explained)) sayAbout(machine, `  │ ${line}`);
        },
      }),
  };
}

/** Prints notes only: a user must see those in every view. */
export function createQuietView(say: WriteLine): ProgressView {
  return {
    ...NO_OP_VIEW,
    note: (text, machine) => say(machine === undefined ? sanitizeLine(text) : `${machine}: ${sanitizeLine(text)}`),
    run: (_step, work) => work(() => {}),
  };
}

const NO_OP_VIEW = { addMachine: () => {}, finishMachine: () => {}, close: () => {} };

/** Prints one JSON event per line, as events.schema.json describes them. */
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
      const base = { event: 'step', id, title, ...(parent ? { parent: parent.id } : {}) } as const;
      const throttled = throttleBytes((bytes) => emit({ event: 'progress', id, ...bytes }, machine), now);
      return runObserved(step, work, {
        onStart: () => emit({ ...base, state: 'started' }, machine),
        onOutput(line, bytes) {
          if (bytes) throttled.report(bytes);
          else emit({ event: 'output', id, line }, machine);
        },
        onEnd(_step, { seconds, error }) {
          throttled.flush();
          const elapsed = Number(seconds.toFixed(1));
          if (error === undefined) return emit({ ...base, state: 'done', elapsed }, machine);
          emit({ ...base, state: 'failed', elapsed, error: errorCodeOf(error) }, machine);
        },
      });
    },
  };
}

/** Allows four events in any second, including the final one, which is always emitted. */
const BYTES_INTERVAL_MS = 334;

/** Limits how often byte counts are emitted; `flush` emits the last one if it was held back. */
function throttleBytes(
  emit: (bytes: { done: number; total?: number; rate?: number }) => void,
  now: () => number,
): { readonly report: (bytes: ByteProgress) => void; readonly flush: () => void } {
  let emittedAt = Number.NEGATIVE_INFINITY;
  let pending: ByteProgress | undefined;
  const emitNow = ({ done, total, rate }: ByteProgress): void => {
    emittedAt = now();
    pending = undefined;
    emit({
      done,
      ...(total === undefined ? {} : { total }),
      ...(rate === undefined ? {} : { rate: Math.round(rate) }),
    });
  };
  return {
    report(bytes) {
      if (now() - emittedAt >= BYTES_INTERVAL_MS) emitNow(bytes);
      else pending = bytes;
    },
    flush: () => pending && emitNow(pending),
  };
}

/** Shows a live list of one machine or of several. The code that draws it is loaded when the first step starts. */
export function createLiveView(terminal: Terminal): ProgressView {
  const list = createLiveList();
  const loadScreen = async () => (await import('./progress/live.ts')).openLiveScreen(list, terminal);
  let loading: ReturnType<typeof loadScreen> | undefined;
  let screen: Awaited<ReturnType<typeof loadScreen>> | undefined;
  return {
    async run(step, work) {
      screen ??= await (loading ??= loadScreen());
      return await screen.run(step, work);
    },
    note(text, machine) {
      const line = `${machine === undefined ? '' : `${machine}: `}${sanitizeLine(text)}`;
      if (screen) screen.note(line);
      else terminal.stream.write(`${terminal.unicode ? '•' : '*'} ${line}\n`);
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

/** Returns whether the terminal can show the symbols: old Windows consoles and the Linux console lack most of them. */
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
