import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import type { CliEvent } from '../../src/terminal/event-schema.ts';
import {
  hasUnicode,
  createJsonView,
  type WriteLine,
  createLiveView,
  createPlainView,
  createProgress,
  createQuietView,
  type ProgressView,
} from '../../src/terminal/progress-views.ts';
import { SlipwayError } from '../../src/errors.ts';
import { createByteMeter } from '../../src/images/byte-meter.ts';
import { driverCallFor } from '../../src/operations/world.ts';
import type { Progress } from '../../src/progress.ts';
import { worldIn } from '../fakes/test-world.ts';

const eventsSchema = JSON.parse(readFileSync(new URL('../../events.schema.json', import.meta.url), 'utf8')) as object;
const isEvent = new Ajv2020().compile(eventsSchema);

/** Returns the output of a view for a run in which one step succeeds and the others fail; times are masked. */
async function renderRun(open: (say: WriteLine) => ProgressView, machine?: string): Promise<string> {
  const lines: string[] = [];
  const progress = createProgress(
    open((line) => lines.push(line)),
    machine,
  );
  const result = await progress.step('facts', 'Gather facts about the host', async (log) => {
    log('one line');
    log('');
    return progress.step('inner', 'Look closer', async () => 42);
  });
  expect(result).toBe(42);
  progress.note('A note');
  const failed = progress.step('verify', 'Verify', async (log) => {
    log('the host says why');
    log('no answer');
    throw new SlipwayError('ENGINE_UNREACHABLE', 'There is no answer');
  });
  await expect(failed).rejects.toThrow('no answer');
  const bug = progress.step('profiles', 'Write', async () => {
    throw new TypeError('x is not a function');
  });
  await expect(bug).rejects.toThrow(TypeError);
  expect(progress.lastStepId()).toBe('profiles');
  return lines.join('\n').replaceAll(/(\bin |after |"elapsed":)\d+(\.\d+)?/g, '$1N');
}

const jsonLinesView = (say: WriteLine): ProgressView => createJsonView((event) => say(JSON.stringify(event)));

describe('the output of a run', () => {
  test('is plain lines without a terminal, with the lines that explain a failure', async () => {
    expect(await renderRun(createPlainView)).toMatchInlineSnapshot(`
      "Gather facts about the host …
      Look closer …
      Look closer: done in N s
      Gather facts about the host: done in N s
      A note
      Verify …
      Verify: failed after N s
        │ the host says why
      Write …
      Write: failed after N s"
    `);
  });

  test('begins each plain line with the machine if there are several', async () => {
    const text = await renderRun(createPlainView, 'web-1');
    expect(text.split('\n').filter((line) => !line.startsWith('web-1: '))).toEqual([]);
  });

  test('contains only notes with --quiet', async () => {
    expect(await renderRun(createQuietView)).toBe('A note');
    expect(await renderRun(createQuietView, 'web-1')).toBe('web-1: A note');
  });

  test('is one JSON event per line with --json, each valid by events.schema.json', async () => {
    const text = await renderRun(jsonLinesView);
    expect(text).toMatchInlineSnapshot(`
      "{"event":"step","id":"facts","title":"Gather facts about the host","state":"started"}
      {"event":"output","id":"facts","line":"one line"}
      {"event":"step","id":"inner","title":"Look closer","parent":"facts","state":"started"}
      {"event":"step","id":"inner","title":"Look closer","parent":"facts","state":"done","elapsed":N}
      {"event":"step","id":"facts","title":"Gather facts about the host","state":"done","elapsed":N}
      {"event":"note","text":"A note"}
      {"event":"step","id":"verify","title":"Verify","state":"started"}
      {"event":"output","id":"verify","line":"the host says why"}
      {"event":"output","id":"verify","line":"no answer"}
      {"event":"step","id":"verify","title":"Verify","state":"failed","elapsed":N,"error":"ENGINE_UNREACHABLE"}
      {"event":"step","id":"profiles","title":"Write","state":"started"}
      {"event":"step","id":"profiles","title":"Write","state":"failed","elapsed":N,"error":"BUG"}"
    `);
    for (const run of [text, await renderRun(jsonLinesView, 'web-1')])
      for (const line of run.replaceAll('"elapsed":N', '"elapsed":0').split('\n')) {
        expect(isEvent(JSON.parse(line)), line).toBe(true);
      }
    expect(isEvent({ event: 'step', id: 'facts', title: 'x', state: 'begun' })).toBe(false);
    expect(isEvent({ event: 'note', text: 'x', more: 1 })).toBe(false);
  });
});

test('a step that a driver starts has the calling step as parent', async () => {
  const events: CliEvent[] = [];
  const progress = createProgress(createJsonView((event) => events.push(event)));
  const world = worldIn('/nowhere', { progress, connect: () => Promise.reject(new Error('nobody connects')) });
  await progress.step('prepare', 'Prepare the image', async (log) =>
    driverCallFor(world, log).step?.('image-download', 'Get it', async () => {}),
  );
  const parts = events.filter((event) => event.event === 'step' && event.parent === 'prepare');
  expect(parts.map((event) => 'state' in event && [event.id, event.state])).toEqual([
    ['image-download', 'started'],
    ['image-download', 'done'],
  ]);
});

describe('progress events of a download', () => {
  test('contain byte counts, occur at most four times in any second, and always include the last count', async () => {
    const events: { readonly at: number; readonly event: CliEvent }[] = [];
    let at = 0;
    const view = createJsonView(
      (event) => events.push({ at, event }),
      () => at,
    );
    await createProgress(view).step('image-download', 'Get it', async (log) => {
      const say = createByteMeter(log, '', () => at);
      for (; at <= 10_000; at += 10) say(at * 1000, 10_000_000);
      log('and a line');
    });
    const reported = events.filter(({ event }) => event.event === 'progress');
    expect(reported.length).toBeGreaterThan(20);
    const crowded = reported.filter(
      ({ at: end }) => reported.filter((one) => one.at > end - 1000 && one.at <= end).length > 4,
    );
    expect(crowded).toEqual([]);
    expect(reported.at(-1)?.event).toMatchObject({ id: 'image-download', done: 10_000_000, total: 10_000_000 });
    for (const { event } of events) expect(isEvent(event), JSON.stringify(event)).toBe(true);
    expect(events.filter(({ event }) => event.event === 'output').map(({ event }) => event)).toEqual([
      { event: 'output', id: 'image-download', line: 'and a line' },
    ]);
  });
});

test('hasUnicode is false for consoles that lack the symbols', () => {
  expect(hasUnicode('linux', {})).toBe(true);
  expect(hasUnicode('linux', { TERM: 'linux' })).toBe(false);
  expect(hasUnicode('win32', {})).toBe(false);
  expect(hasUnicode('win32', { WT_SESSION: 'x' })).toBe(true);
});

/** Returns a terminal that records everything written to it. */
function fakeTerminal(): { readonly stream: NodeJS.WriteStream; readonly written: () => string } {
  const texts: string[] = [];
  const stream = {
    isTTY: true,
    columns: 60,
    rows: 24,
    write: (text: string) => texts.push(text) > 0,
    on: () => stream,
    off: () => stream,
  };
  return { stream: stream as unknown as NodeJS.WriteStream, written: () => texts.join('') };
}

// oxlint-disable-next-line no-control-regex -- matches escape sequences
const ESCAPE_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g;
// oxlint-disable-next-line no-control-regex -- matches escape sequences
const CURSOR_VISIBILITY = /\u001b\[\?25[hl]/g;

describe('a live list', () => {
  const open = (): { readonly view: ProgressView; readonly progress: Progress; readonly written: () => string } => {
    const { stream, written } = fakeTerminal();
    const view = createLiveView({ stream, others: [], color: false, unicode: true });
    return { view, progress: createProgress(view), written };
  };

  test('shows a note immediately, while the step is running', async () => {
    const { view, progress, written } = open();
    const result = await progress.step('facts', 'Gather facts about the host', async (log) => {
      log('one line');
      progress.note('The note');
      expect(written().replaceAll(ESCAPE_SEQUENCE, '')).toMatch(
        /• The note\n\S Gather facts about the host {2}0 s\n {4}one line/,
      );
      return 'done';
    });
    view.close();
    expect([result, progress.lastStepId()]).toEqual(['done', 'facts']);
    expect(written()).toMatch(/✔ Gather facts about the host {2}\d\.\d s/);
  });

  test('hides the cursor while it is drawn, and shows it again when it is closed during a step', async () => {
    const { view, progress, written } = open();
    const cursor = (): string | undefined => written().match(CURSOR_VISIBILITY)?.at(-1);
    let end = (): void => {};
    const step = progress.step('facts', 'Gather facts about the host', async () => {
      progress.note('drawn');
      expect(cursor()).toBe('\u001b[?25l');
      await new Promise<void>((resolve) => (end = resolve));
    });
    await expect.poll(cursor).toBe('\u001b[?25l');
    view.close();
    expect(cursor()).toBe('\u001b[?25h');
    expect(written()).toMatch(/■ Gather facts about the host {2}stopped after \d\.\d s/);
    end();
    await step;
  });

  test('is drawn at most about twelve times per second, however much output there is', async () => {
    const { view, progress, written } = open();
    let lines = 0;
    await progress.step('install', 'Install', async (log) => {
      const end = performance.now() + 500;
      while (performance.now() < end) {
        for (let more = 0; more < 1000; more += 1) log(`line ${(lines += 1)}`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    view.close();
    const frames = written().split('line ').length - 1;
    expect(lines).toBeGreaterThan(10_000);
    expect(frames).toBeGreaterThan(1);
    expect(frames).toBeLessThanOrEqual(9);
  });

  test('does not hide the cursor before the first step, since a question may be asked', () => {
    const { progress, written } = open();
    progress.note('The note');
    expect(written()).toBe('• The note\n');
  });

  test('shows other output above itself, undamaged', async () => {
    const { stream, written } = fakeTerminal();
    const view = createLiveView({ stream, others: [], color: false, unicode: true });
    const progress = createProgress(view);
    await progress.step('facts', 'Look', async () => {
      progress.note('drawn');
      stream.write('a warning');
      expect(written()).toContain('\r\u001b[Ja warning\n');
      expect(written().split('a warning\n').at(-1)).toContain('Look  0 s');
    });
    view.close();
    stream.write('after');
    expect(written().endsWith('after')).toBe(true);
  });

  test('shows the result of each machine once when it is closed, and names machines that were not started', async () => {
    const { view, written } = open();
    const [first, second] = ['web-1', 'web-2', 'web-3'].map((name) => createProgress(view, name));
    await first?.step('facts', 'Look', async () => {});
    first?.end();
    const why = new SlipwayError('REMOTE_COMMAND', 'It failed', { detail: ['said already'] });
    const failed = second?.step('install', 'Install', async (log) => {
      for (const line of ['an old line', 'said already', 'E: no such package']) log(line);
      throw why;
    });
    await expect(failed).rejects.toBe(why);
    second?.end(why);
    view.close();
    const end = written().replaceAll(ESCAPE_SEQUENCE, '').split('\r').at(-2);
    expect(end?.replaceAll(/\d\.\d s/g, 'N s')).toBe(
      [
        '✔ web-1  N s',
        '✖ web-2  Install  failed after N s',
        '  │ an old line',
        '  │ E: no such package',
        '· not started: web-3',
        '',
      ].join('\n'),
    );
  });
});
