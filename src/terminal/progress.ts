import { AsyncLocalStorage } from 'node:async_hooks';
import { SlipwayError } from '../errors.ts';
import type { Bytes, Log, Progress } from '../progress.ts';
import type { Event } from './events.ts';
import { printable } from './printable.ts';
import { keepLast, newLines, newList, newRow, type StepInfo } from './progress/list.ts';
import type { Terminal } from './progress/live.ts';

/** Where a view writes: whole lines, without the line end. */
export type Lines = (line: string) => void;

/** One way of showing what goes on: of a whole command, and of all its machines. */
export type View = {
  run<T>(step: StepInfo, work: (log: Log) => Promise<T>): Promise<T>;
  note(text: string, machine: string | undefined): void;
  /** A machine that will have its turn. */
  expect(machine: string): void;
  /** There is nothing more to be done for a machine, be it that it failed. */
  left(machine: string, failed: boolean): void;
  /** The command is over. */
  close(): void;
};

/** The progress of one machine among several. Without `end` it counts as at work until the command is over. */
export type MachineProgress = Progress & { readonly end: (error?: unknown) => void };

/** What logic gets of a view. The step that it is called in is its parent. */
export function progressIn(view: View, machine?: string): MachineProgress {
  const within = new AsyncLocalStorage<StepInfo>();
  let last = '';
  if (machine !== undefined) view.expect(machine);
  return {
    step(id, title, work) {
      last = id;
      const step: StepInfo = { id, title, machine, parent: within.getStore() };
      return within.run(step, () => view.run(step, work));
    },
    last: () => last,
    note: (text) => view.note(text, machine),
    end: (error) => machine !== undefined && view.left(machine, error !== undefined),
  };
}

/** One line an event, for logs and pipes. What the host said is left out, unless it explains a failure. */
export function plainView(say: Lines): View {
  const named = (machine: string | undefined, text: string): void =>
    say(machine === undefined ? text : `${machine}: ${text}`);
  const explained = new WeakSet<object>();
  return {
    ...QUIET,
    note: (text, machine) => named(machine, printable(text)),
    run: (step, work) =>
      watched(step, work, {
        began: ({ machine, title }) => named(machine, `${printable(title)} …`),
        ended({ machine, title }, { seconds, lines, error }) {
          named(
            machine,
            `${printable(title)}: ${error === undefined ? 'done in' : 'failed after'} ${seconds.toFixed(1)} s`,
          );
          if (error !== undefined) for (const line of newLines(lines, error, explained)) named(machine, `  │ ${line}`);
        },
      }),
  };
}

/** Nothing but what a user must see whatever the view. */
export function quietView(say: Lines): View {
  return {
    ...QUIET,
    note: (text, machine) => say(machine === undefined ? printable(text) : `${machine}: ${printable(text)}`),
    run: (_step, work) => work(() => {}),
  };
}

const QUIET = { expect: () => {}, left: () => {}, close: () => {} };

/** One JSON event a line, as events.schema.json has them. */
export function jsonView(print: (event: Event) => void, now: () => number = () => performance.now()): View {
  const emit = (event: Event, machine: string | undefined): void =>
    print({ ...event, ...(machine === undefined ? {} : { machine }) });
  return {
    ...QUIET,
    note: (text, machine) => emit({ event: 'note', text }, machine),
    run(step, work) {
      const { id, title, machine, parent } = step;
      const about = { event: 'step', id, title, ...(parent ? { parent: parent.id } : {}) } as const;
      const measured = rareBytes((bytes) => emit({ event: 'progress', id, ...bytes }, machine), now);
      return watched(step, work, {
        began: () => emit({ ...about, state: 'started' }, machine),
        said(line, bytes) {
          if (bytes) measured.tell(bytes);
          else emit({ event: 'output', id, line }, machine);
        },
        ended(_step, { seconds, error }) {
          measured.finish();
          const elapsed = Number(seconds.toFixed(1));
          if (error === undefined) return emit({ ...about, state: 'done', elapsed }, machine);
          emit({ ...about, state: 'failed', elapsed, error: codeOf(error) }, machine);
        },
      });
    },
  };
}

/** With the last one, which is always told, four in any second. */
const REST_MILLISECONDS = 334;

function rareBytes(
  tell: (bytes: { done: number; total?: number; rate?: number }) => void,
  now: () => number,
): { readonly tell: (bytes: Bytes) => void; readonly finish: () => void } {
  let at = Number.NEGATIVE_INFINITY;
  let held: Bytes | undefined;
  const pass = ({ done, total, rate }: Bytes): void => {
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
      if (now() - at >= REST_MILLISECONDS) pass(bytes);
      else held = bytes;
    },
    finish: () => held && pass(held),
  };
}

/** A live list: of one machine, or of several side by side. What draws it is read when the first step begins. */
export function liveView(terminal: Terminal): View {
  const list = newList();
  const opened = async () => (await import('./progress/live.ts')).openScreen(list, terminal);
  let opening: ReturnType<typeof opened> | undefined;
  let screen: Awaited<ReturnType<typeof opened>> | undefined;
  return {
    async run(step, work) {
      screen ??= await (opening ??= opened());
      return await screen.run(step, work);
    },
    note(text, machine) {
      const said = `${machine === undefined ? '' : `${machine}: `}${printable(text)}`;
      if (screen) screen.note(said);
      else terminal.stream.write(`${terminal.unicode ? '•' : '*'} ${said}\n`);
    },
    expect(machine) {
      if (!list.rows.some((row) => row.machine === machine)) list.rows.push(newRow(machine));
    },
    left(machine, failed) {
      const row = list.rows.find((one) => one.machine === machine);
      if (row === undefined || row.state === 'done' || row.state === 'failed') return;
      row.state = failed ? 'failed' : 'done';
      row.until = performance.now();
      screen?.settle();
    },
    close: () => screen?.close(),
  };
}

/** Consoles of Windows that draw by code page, and Linux's own, lack most symbols. */
export function hasUnicode(platform: string, env: Readonly<Record<string, string | undefined>>): boolean {
  if (platform !== 'win32') return env.TERM !== 'linux';
  return Boolean(env.WT_SESSION) || env.TERM_PROGRAM === 'vscode' || /^(xterm|alacritty)/.test(env.TERM ?? '');
}

type Outcome = { readonly seconds: number; readonly lines: readonly string[]; readonly error?: unknown };

type Watch = {
  readonly began: (step: StepInfo) => void;
  readonly said?: (line: string, bytes?: Bytes) => void;
  readonly ended: (step: StepInfo, outcome: Outcome) => void;
};

async function watched<T>(step: StepInfo, work: (log: Log) => Promise<T>, watch: Watch): Promise<T> {
  const started = performance.now();
  const lines: string[] = [];
  const seconds = (): number => (performance.now() - started) / 1000;
  watch.began(step);
  try {
    const result = await work((line, bytes) => {
      if (line === '') return;
      if (!bytes) keepLast(lines, line);
      watch.said?.(line, bytes);
    });
    watch.ended(step, { seconds: seconds(), lines });
    return result;
  } catch (error) {
    watch.ended(step, { seconds: seconds(), lines, error: error ?? new Error('nothing was thrown') });
    throw error;
  }
}

function codeOf(error: unknown): NonNullable<Extract<Event, { event: 'step' }>['error']> {
  return error instanceof SlipwayError ? error.code : 'BUG';
}
