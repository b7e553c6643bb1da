import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { displayWidth } from '../../src/terminal/terminal-text.ts';
import {
  ASCII_SYMBOLS,
  formatElapsed,
  renderFrame,
  type ProgressTheme,
  renderFinishedRows,
  renderFinishedStep,
  UNICODE_SYMBOLS,
} from '../../src/terminal/progress/frame.ts';
import type { LiveList, LiveRow, LiveStep } from '../../src/terminal/progress/live-list.ts';
import { hostileText } from './hostile-text.ts';

const unstyled = (text: string): string => text;
const COLORLESS = { green: unstyled, red: unstyled, cyan: unstyled, yellow: unstyled, dim: unstyled };
const theme: ProgressTheme = { ...UNICODE_SYMBOLS, ...COLORLESS };
const NOW = 100_000;

function stepWith(title: string, more: Partial<LiveStep> = {}): LiveStep {
  return {
    id: 'x',
    title,
    machine: undefined,
    parent: undefined,
    startedAt: NOW - 8500,
    state: 'running',
    lastOutput: '',
    recentLines: [],
    failureLines: [],
    substeps: [],
    ...more,
  };
}

const runningRow = (machine: string, lastOutput = ''): LiveRow => ({
  machine,
  state: 'running',
  startedAt: NOW - 20_000,
  steps: [stepWith('Install the engine', { lastOutput })],
});
const waitingRow = (machine: string): LiveRow => ({ machine, state: 'waiting', steps: [] });
const doneRow = (machine: string): LiveRow => ({
  machine,
  state: 'done',
  startedAt: NOW - 20_000,
  endedAt: NOW - 8000,
  steps: [],
});
const failedRow = (machine: string): LiveRow => ({
  machine,
  state: 'failed',
  startedAt: NOW - 20_000,
  endedAt: NOW - 8000,
  steps: [stepWith('Connect to root@192.0.2.1', { state: 'failed', endedAt: NOW - 6500 })],
});

const frameLines = (list: LiveList, columns = 60, rows = 24): readonly string[] =>
  renderFrame(list, { columns, rows }, NOW, theme);

describe('renderFrame', () => {
  test('shows the running step with its time, and its last output below it', () => {
    const list = {
      steps: [stepWith('Install the engine', { lastOutput: '\u001b[32mGet:3\u001b[0m trixie/main docker.io' })],
      rows: [],
    };
    expect(frameLines(list)).toEqual(['⠋ Install the engine  8 s', '    Get:3 trixie/main docker.io']);
  });

  test('indents substeps, and shows output below the innermost running step only', () => {
    const inner = stepWith('Get the image', { lastOutput: '10 MB', startedAt: NOW - 2000 });
    const before = stepWith('Ask the vendor', { state: 'done', endedAt: NOW - 8000 });
    const list = { steps: [stepWith('Prepare', { lastOutput: 'old', substeps: [before, inner] })], rows: [] };
    expect(frameLines(list)).toEqual([
      '⠋ Prepare  8 s',
      '  ✔ Ask the vendor  0.5 s',
      '  ⠋ Get the image  2 s',
      '      10 MB',
    ]);
  });

  test('shows a bar if the bytes are known and there is room for it', () => {
    const lastOutput = '412 of 633 MB (65 %), 21 MB/s, 10 s left';
    const list = { steps: [stepWith('Get it', { lastOutput, bytes: { done: 412, total: 633, rate: 21 } })], rows: [] };
    expect(frameLines(list, 80)[1]).toBe(`    ━━━━━━━━━━━━━╌╌╌╌╌╌╌  ${lastOutput}`);
    expect(frameLines(list, 60)[1]).toBe(`    ${lastOutput}`);
    expect(frameLines(list, 30)[1]).toBe('    412 of 633 MB (65 %), 21…');
  });

  test('shows one row per machine, in the order in which the user named them', () => {
    const rows = [doneRow('web-1'), runningRow('web-2', 'Get:3'), failedRow('web-10'), waitingRow('web-11')];
    expect(frameLines({ steps: [], rows })).toEqual([
      '✔ web-1  12.0 s',
      '⠋ web-2   Install the engine  8 s',
      '    Get:3',
      '✖ web-10  Connect to root@192.0.2.1  failed after 2.0 s',
      '· web-11  waiting',
    ]);
  });

  test('shows running and failed machines first if there are too many, and counts the others', () => {
    const rows = [...'abcde'].map(doneRow);
    rows.push(runningRow('f', 'Get:1'), failedRow('g'), runningRow('h', 'Get:2'));
    rows.push(...Array.from({ length: 12 }, (_, at) => waitingRow(`w${at}`)));
    expect(frameLines({ steps: [], rows }, 60, 5)).toEqual([
      '⠋ f    Install the engine  8 s',
      '✖ g    Connect to root@192.0.2.1  failed after 2.0 s',
      '⠋ h    Install the engine  8 s',
      '… 12 more waiting, 5 done',
    ]);
    expect(frameLines({ steps: [], rows }, 60, 3)).toEqual([
      '⠋ f    Install the engine  8 s',
      '… 1 more running, 1 failed, 12 waiting, 5 done',
    ]);
    expect(frameLines({ steps: [], rows }, 60, 2)).toEqual(['… 2 more running, 1 failed, 12 waiting, 5 done']);
  });

  test('truncates the title on a narrow terminal, and then drops the time', () => {
    const list = { steps: [stepWith('Configure the engine and restart it')], rows: [] };
    expect(frameLines(list, 20)).toEqual(['⠋ Configure t…  8 s']);
    expect(frameLines(list, 12)).toEqual(['⠋ Configur…']);
    expect(frameLines(list, 3)).toEqual(['⠋']);
  });
});

describe('finished steps and machines', () => {
  test('are wrapped on a narrow terminal instead of truncated', () => {
    const finished = stepWith('Configure the engine and restart it', { state: 'done', endedAt: NOW });
    expect(renderFinishedStep(finished, 20, theme)).toEqual(['✔ Configure the', '  engine and', '  restart it  8.5 s']);
  });

  test('show the lines that explain a failure below the failed step', () => {
    const finished = stepWith('Install', { state: 'failed', endedAt: NOW, failureLines: ['E: no such package'] });
    expect(renderFinishedStep(finished, 60, theme)).toEqual([
      '✖ Install  failed after 8.5 s',
      '  │ E: no such package',
    ]);
    expect(renderFinishedStep(finished, 60, { ...ASCII_SYMBOLS, ...COLORLESS })).toEqual([
      'x Install  failed after 8.5 s',
      '  | E: no such package',
    ]);
  });

  test('show nothing if no machine was started, since the error explains why', () => {
    expect(renderFinishedRows([waitingRow('web-1'), waitingRow('web-2')], 60, theme)).toEqual([]);
    expect(renderFinishedRows([doneRow('web-1'), waitingRow('web-2')], 60, theme)).toEqual([
      '✔ web-1  12.0 s',
      '· not started: web-2',
    ]);
  });
});

test('elapsed times have at most two units', () => {
  expect([1234, 59_940, 65_000, 3_725_000].map(formatElapsed)).toEqual(['1.2 s', '59.9 s', '1 min 05 s', '1 h 02 min']);
});

const anyStep = fc
  .record({
    title: hostileText,
    lastOutput: hostileText,
    state: fc.constantFrom('running', 'done', 'failed', 'stopped'),
    failureLines: fc.array(hostileText, { maxLength: 3 }),
    startedAt: fc.integer({ min: 0, max: NOW }),
    bytes: fc.option(fc.record({ done: fc.nat(1000), total: fc.option(fc.nat(1000), { nil: undefined }) }), {
      nil: undefined,
    }),
  } as const)
  .map(({ title, ...more }): LiveStep => stepWith(title, more.state === 'running' ? more : { ...more, endedAt: NOW }));
const anyNestedStep = fc
  .tuple(anyStep, fc.array(anyStep, { maxLength: 3 }))
  .map(([outer, substeps]): LiveStep => ({ ...outer, substeps }));
const anyRow = fc
  .tuple(
    fc.stringMatching(/^[a-z][a-z0-9-]{0,40}$/),
    fc.constantFrom('waiting', 'running', 'done', 'failed'),
    fc.array(anyNestedStep, { maxLength: 2 }),
  )
  .map(([machine, state, steps]): LiveRow => ({ machine, state, startedAt: NOW - 100, endedAt: NOW, steps }));
const anyList = fc.record({
  steps: fc.array(anyNestedStep, { maxLength: 3 }),
  rows: fc.array(anyRow, { maxLength: 30 }),
});
const anySize = fc.record({ columns: fc.integer({ min: 2, max: 140 }), rows: fc.integer({ min: 1, max: 40 }) });

test('no frame is wider or higher than the terminal, or contains control characters', () => {
  fc.assert(
    fc.property(anyList, anySize, fc.boolean(), (list, { columns, rows }, unicode) => {
      const lines = renderFrame(list, { columns, rows }, NOW, {
        ...(unicode ? UNICODE_SYMBOLS : ASCII_SYMBOLS),
        ...COLORLESS,
      });
      expect(lines.length).toBeLessThanOrEqual(Math.max(1, rows - 1));
      for (const line of lines) {
        expect(displayWidth(line), line).toBeLessThan(columns);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    }),
  );
});

test('no finished line is wider than the terminal, down to 20 columns, or contains control characters', () => {
  fc.assert(
    fc.property(anyList, fc.integer({ min: 20, max: 140 }), ({ steps, rows }, columns) => {
      const lines = [
        ...steps.flatMap((one) => renderFinishedStep(one, columns, theme)),
        ...renderFinishedRows(rows, columns, theme),
      ];
      for (const line of lines) {
        expect(displayWidth(line), line).toBeLessThan(columns);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    }),
  );
});
