import colors from 'picocolors';
import { SlipwayError } from '../errors.ts';
import type { Log, Progress } from '../progress.ts';

/** Where a view writes: whole lines, without the line end. */
export type Lines = (line: string) => void;

/** One line an event, for logs and pipes. */
export function plainProgress(say: Lines): Progress {
  return stepping(say, async (_id, title, work) => {
    const started = performance.now();
    say(`${title} …`);
    try {
      const result = await work(() => {});
      say(`${title}: done in ${seconds(started)} s`);
      return result;
    } catch (error) {
      say(`${title}: failed after ${seconds(started)} s`);
      throw error;
    }
  });
}

/** Nothing but what a user must see whatever the view. */
export function quietProgress(say: Lines): Progress {
  return stepping(say, async (_id, _title, work) => work(() => {}));
}

/** One JSON event a line: {event, machine? (of several), id, title, state, elapsed (seconds), error?}. */
export function jsonProgress(print: Lines, machine?: string): Progress {
  const emit = (event: object): void =>
    print(JSON.stringify({ ...event, ...(machine === undefined ? {} : { machine }) }));
  return stepping(
    (text) => emit({ event: 'note', text }),
    async (id, title, work) => {
      const started = performance.now();
      emit({ event: 'step', id, title, state: 'started' });
      try {
        const result = await work((line) => {
          if (line !== '') emit({ event: 'output', id, line });
        });
        emit({ event: 'step', id, title, state: 'done', elapsed: Number(seconds(started)) });
        return result;
      } catch (error) {
        const code = error instanceof SlipwayError ? error.code : 'BUG';
        emit({ event: 'step', id, title, state: 'failed', elapsed: Number(seconds(started)), error: code });
        throw error;
      }
    },
  );
}

/** A live list: the running step turns, with the last line of its output below it. */
export function liveProgress(stream: NodeJS.WriteStream, color: boolean): Progress {
  const { cyan } = colors.createColors(color);
  // Notes wait for the end of the running list, or they would tear it.
  const waiting: string[] = [];
  let running = false;
  const say = (text: string): void => {
    if (running) waiting.push(text);
    else stream.write(`${cyan('•')} ${text}\n`);
  };
  return stepping(say, async <T>(_id: string, title: string, work: (log: Log) => Promise<T>): Promise<T> => {
    const { Listr, ListrLogger, PRESET_TIMER, ProcessOutput } = await import('listr2');
    const logger = new ListrLogger({ useIcons: true, processOutput: new ProcessOutput(stream, stream) });
    const rendererOptions = {
      logger,
      timer: PRESET_TIMER,
      showErrorMessage: false,
      collapseErrors: false,
    } as const;
    const done: { result?: T } = {};
    const list = new Listr(
      [
        {
          title,
          task: async (_context, task): Promise<void> => {
            done.result = await work((line) => {
              if (line !== '') task.output = line;
            });
          },
        },
      ],
      {
        // Its own listeners would end the process on Ctrl-C, before anything was said or saved.
        registerSignalListeners: false,
        rendererOptions,
        // It looks whether stdout is a terminal, and would write a plain list to that; ours is on stderr either way.
        fallbackRenderer: 'default',
        fallbackRendererOptions: rendererOptions,
      },
    );
    running = true;
    try {
      await list.run();
    } finally {
      running = false;
      for (const text of waiting.splice(0)) say(text);
    }
    return done.result as T;
  });
}

/** What all views share: the id of the last step, and notes. */
function stepping(note: (text: string) => void, step: Progress['step']): Progress {
  let last = '';
  return {
    step(id, title, work) {
      last = id;
      return step(id, title, work);
    },
    last: () => last,
    note,
  };
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}
