import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { widthOf } from '../../src/terminal/printable.ts';
import {
  ASCII,
  duration,
  frame,
  type Look,
  settledRows,
  settledStep,
  UNICODE,
} from '../../src/terminal/progress/frame.ts';
import type { List, Row, Step } from '../../src/terminal/progress/list.ts';
import { hostile } from './hostile.ts';

const plain = (text: string): string => text;
const COLORLESS = { green: plain, red: plain, cyan: plain, yellow: plain, dim: plain };
const look: Look = { ...UNICODE, ...COLORLESS };
const NOW = 100_000;

function step(title: string, more: Partial<Step> = {}): Step {
  return {
    id: 'x',
    title,
    machine: undefined,
    parent: undefined,
    since: NOW - 8500,
    state: 'running',
    said: '',
    lines: [],
    told: [],
    steps: [],
    ...more,
  };
}

const running = (machine: string, said = ''): Row => ({
  machine,
  state: 'running',
  since: NOW - 20_000,
  steps: [step('Install the engine', { said })],
});
const waiting = (machine: string): Row => ({ machine, state: 'waiting', steps: [] });
const done = (machine: string): Row => ({ machine, state: 'done', since: NOW - 20_000, until: NOW - 8000, steps: [] });
const failed = (machine: string): Row => ({
  machine,
  state: 'failed',
  since: NOW - 20_000,
  until: NOW - 8000,
  steps: [step('Connect to root@192.0.2.1', { state: 'failed', until: NOW - 6500 })],
});

const shown = (list: List, columns = 60, rows = 24): readonly string[] => frame(list, { columns, rows }, NOW, look);

describe('the live part of the screen', () => {
  test('is the running step with its time, and what it said last below it', () => {
    const list = {
      steps: [step('Install the engine', { said: '\u001b[32mGet:3\u001b[0m trixie/main docker.io' })],
      rows: [],
    };
    expect(shown(list)).toEqual(['⠋ Install the engine  8 s', '    Get:3 trixie/main docker.io']);
  });

  test('is a step within a step where there is one, and output under the innermost alone', () => {
    const inner = step('Get the image', { said: '10 MB', since: NOW - 2000 });
    const before = step('Ask the vendor', { state: 'done', until: NOW - 8000 });
    const list = { steps: [step('Prepare', { said: 'old', steps: [before, inner] })], rows: [] };
    expect(shown(list)).toEqual([
      '⠋ Prepare  8 s',
      '  ✔ Ask the vendor  0.5 s',
      '  ⠋ Get the image  2 s',
      '      10 MB',
    ]);
  });

  test('has a bar where bytes are known and there is room for one', () => {
    const said = '412 of 633 MB (65 %), 21 MB/s, 10 s left';
    const list = { steps: [step('Get it', { said, bytes: { done: 412, total: 633, rate: 21 } })], rows: [] };
    expect(shown(list, 80)[1]).toBe(`    ━━━━━━━━━━━━━╌╌╌╌╌╌╌  ${said}`);
    expect(shown(list, 60)[1]).toBe(`    ${said}`);
    expect(shown(list, 30)[1]).toBe('    412 of 633 MB (65 %), 21…');
  });

  test('is a row a machine in the order in which they were named', () => {
    const rows = [done('web-1'), running('web-2', 'Get:3'), failed('web-10'), waiting('web-11')];
    expect(shown({ steps: [], rows })).toEqual([
      '✔ web-1  12.0 s',
      '⠋ web-2   Install the engine  8 s',
      '    Get:3',
      '✖ web-10  Connect to root@192.0.2.1  failed after 2.0 s',
      '· web-11  waits',
    ]);
  });

  test('shows the machines at work and those that failed where there are too many, and counts the rest', () => {
    const rows = [...'abcde'].map(done);
    rows.push(running('f', 'Get:1'), failed('g'), running('h', 'Get:2'));
    rows.push(...Array.from({ length: 12 }, (_, at) => waiting(`w${at}`)));
    expect(shown({ steps: [], rows }, 60, 5)).toEqual([
      '⠋ f    Install the engine  8 s',
      '✖ g    Connect to root@192.0.2.1  failed after 2.0 s',
      '⠋ h    Install the engine  8 s',
      '… 12 more waiting, 5 done',
    ]);
    expect(shown({ steps: [], rows }, 60, 3)).toEqual([
      '⠋ f    Install the engine  8 s',
      '… 1 more running, 1 failed, 12 waiting, 5 done',
    ]);
    expect(shown({ steps: [], rows }, 60, 2)).toEqual(['… 2 more running, 1 failed, 12 waiting, 5 done']);
  });

  test('cuts the title on a narrow terminal and keeps the time while there is room for both', () => {
    const list = { steps: [step('Configure the engine and restart it')], rows: [] };
    expect(shown(list, 20)).toEqual(['⠋ Configure t…  8 s']);
    expect(shown(list, 12)).toEqual(['⠋ Configur…']);
    expect(shown(list, 3)).toEqual(['⠋']);
  });
});

describe('what stays on the screen', () => {
  test('is whole on a narrow terminal', () => {
    const over = step('Configure the engine and restart it', { state: 'done', until: NOW });
    expect(settledStep(over, 20, look)).toEqual(['✔ Configure the', '  engine and', '  restart it  8.5 s']);
  });

  test('has what explains a failure below the step that failed', () => {
    const over = step('Install', { state: 'failed', until: NOW, told: ['E: no such package'] });
    expect(settledStep(over, 60, look)).toEqual(['✖ Install  failed after 8.5 s', '  │ E: no such package']);
    expect(settledStep(over, 60, { ...ASCII, ...COLORLESS })).toEqual([
      'x Install  failed after 8.5 s',
      '  | E: no such package',
    ]);
  });

  test('is nothing where no machine was begun: what failed before them has said it', () => {
    expect(settledRows([waiting('web-1'), waiting('web-2')], 60, look)).toEqual([]);
    expect(settledRows([done('web-1'), waiting('web-2')], 60, look)).toEqual(['✔ web-1  12.0 s', '· not begun: web-2']);
  });
});

test('times are said in the two units that matter', () => {
  expect([1234, 59_940, 65_000, 3_725_000].map(duration)).toEqual(['1.2 s', '59.9 s', '1 min 05 s', '1 h 02 min']);
});

const anyStep = fc
  .record({
    title: hostile,
    said: hostile,
    state: fc.constantFrom('running', 'done', 'failed', 'stopped'),
    told: fc.array(hostile, { maxLength: 3 }),
    since: fc.integer({ min: 0, max: NOW }),
    bytes: fc.option(fc.record({ done: fc.nat(1000), total: fc.option(fc.nat(1000), { nil: undefined }) }), {
      nil: undefined,
    }),
  } as const)
  .map(({ title, ...more }): Step => step(title, more.state === 'running' ? more : { ...more, until: NOW }));
const nested = fc
  .tuple(anyStep, fc.array(anyStep, { maxLength: 3 }))
  .map(([outer, steps]): Step => ({ ...outer, steps }));
const anyRow = fc
  .tuple(
    fc.stringMatching(/^[a-z][a-z0-9-]{0,40}$/),
    fc.constantFrom('waiting', 'running', 'done', 'failed'),
    fc.array(nested, { maxLength: 2 }),
  )
  .map(([machine, state, steps]): Row => ({ machine, state, since: NOW - 100, until: NOW, steps }));
const anyList = fc.record({ steps: fc.array(nested, { maxLength: 3 }), rows: fc.array(anyRow, { maxLength: 30 }) });
const size = fc.record({ columns: fc.integer({ min: 2, max: 140 }), rows: fc.integer({ min: 1, max: 40 }) });

test('no frame is wider or higher than the terminal, or has a character that moves the cursor', () => {
  fc.assert(
    fc.property(anyList, size, fc.boolean(), (list, { columns, rows }, unicode) => {
      const lines = frame(list, { columns, rows }, NOW, { ...(unicode ? UNICODE : ASCII), ...COLORLESS });
      expect(lines.length).toBeLessThanOrEqual(Math.max(1, rows - 1));
      for (const line of lines) {
        expect(widthOf(line), line).toBeLessThan(columns);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    }),
  );
});

test('what stays is not wider either, down to terminals of twenty columns', () => {
  fc.assert(
    fc.property(anyList, fc.integer({ min: 20, max: 140 }), ({ steps, rows }, columns) => {
      const lines = [...steps.flatMap((one) => settledStep(one, columns, look)), ...settledRows(rows, columns, look)];
      for (const line of lines) {
        expect(widthOf(line), line).toBeLessThan(columns);
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    }),
  );
});
