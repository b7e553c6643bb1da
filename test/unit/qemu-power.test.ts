import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  decidePower,
  isEnding,
  type PowerAction,
  type PowerVerb,
  type VmCondition,
} from '../../src/drivers/qemu/power-table.ts';
import type { RunState } from '../../src/drivers/qemu/qemu-process.ts';
import { conditionOf } from '../../src/drivers/qemu/vm-condition.ts';

const VERBS = ['stop', 'restart', 'start', 'suspend', 'kill', 'rm', 'apply', 'replace'] as const;
const SHUT = 'continue, then shut-down';
const SUSP = 'continue, then suspend';

/** Every cell: the condition, and what each verb does in it, in the order of `VERBS`. */
// prettier-ignore
const CELLS: readonly (readonly [VmCondition, ...PowerAction[]])[] = [
  //                stop         restart                  start                   suspend    kill       rm         apply    replace
  ['running',       'shut-down', 'shut-down',             'leave',                'suspend', 'discard', 'discard', 'leave', 'discard'],
  ['booting',       'shut-down', 'shut-down',             'leave',                'suspend', 'discard', 'discard', 'leave', 'discard'],
  ['shutting-down', 'shut-down', 'shut-down',             'await-end, then boot', 'refuse',  'discard', 'discard', 'leave', 'discard'],
  ['paused',        SHUT,        SHUT,                    'continue',             SUSP,      'discard', 'discard', 'leave', 'discard'],
  ['suspending',    'end',       SHUT,                    'continue',             'end',     'discard', 'discard', 'leave', 'discard'],
  ['resuming',      'end',       'resume, then shut-down', 'resume',              'end',     'discard', 'discard', 'leave', 'discard'],
  ['io-error',      SHUT,        SHUT,                    'continue',             SUSP,      'discard', 'discard', 'leave', 'discard'],
  ['crashed',       'end',       'end',                   'boot',                 'refuse',  'discard', 'discard', 'leave', 'discard'],
  ['ended',         'end',       'end',                   'boot',                 'refuse',  'discard', 'discard', 'leave', 'discard'],
  ['silent',        'wait',      'wait',                  'wait',                 'wait',    'discard', 'discard', 'leave', 'discard'],
  ['stopped',       'leave',     'leave',                 'boot',                 'refuse',  'discard', 'discard', 'leave', 'discard'],
  ['suspended',     'leave',     'resume, then shut-down', 'resume',              'leave',   'discard', 'discard', 'leave', 'discard'],
  ['unknown',       'refuse',    'refuse',                'refuse',               'refuse',  'refuse',  'refuse',  'leave', 'refuse'],
];

describe('decidePower', () => {
  test.each(CELLS.map(([condition, ...actions]) => ({ condition, actions })))(
    'for a VM that is $condition',
    ({ condition, actions }) => {
      expect(VERBS.map((verb) => decidePower(verb, condition))).toEqual(actions);
    },
  );

  test('never ends a VM whose guest could go on, or whose memory is nowhere else, unless the user gives it up', () => {
    const guarded: readonly PowerVerb[] = ['stop', 'restart', 'start', 'suspend', 'apply'];
    const alive = ['running', 'booting', 'shutting-down', 'paused', 'io-error', 'silent', 'unknown'] as const;
    for (const verb of guarded)
      for (const condition of alive) expect(isEnding(decidePower(verb, condition)), `${verb} ${condition}`).toBe(false);
    for (const [condition] of CELLS)
      for (const verb of guarded) expect(decidePower(verb, condition), `${verb} ${condition}`).not.toBe('discard');
  });

  test('is asked before anything ends a process or deletes a memory: only end-vm.ts calls what does that', async () => {
    const folder = fileURLToPath(new URL('../../src/drivers/qemu', import.meta.url));
    const callers = { killProcess: ['end-vm.ts', 'qemu-process.ts'], discardMemory: ['end-vm.ts', 'memory.ts'] };
    for (const [name, expected] of Object.entries(callers)) {
      const found = [];
      for (const file of await readdir(folder))
        if ((await readFile(join(folder, file), 'utf8')).includes(`${name}(`)) found.push(file);
      expect(found, name).toEqual(expected);
    }
  });
});

describe('conditionOf', () => {
  const files = { hasSnapshot: false, hasBooted: true, isShutdownAsked: false };
  test.each<[RunState, Partial<typeof files>, VmCondition]>([
    ['running', {}, 'running'],
    ['running', { hasBooted: false }, 'booting'],
    ['running', { isShutdownAsked: true }, 'shutting-down'],
    ['paused', {}, 'paused'],
    ['written', {}, 'paused'],
    ['written', { hasSnapshot: true }, 'suspending'],
    ['paused', { hasSnapshot: true }, 'resuming'],
    ['io-error', { hasSnapshot: true }, 'resuming'],
    ['crashed', { hasSnapshot: true }, 'resuming'],
    ['io-error', {}, 'io-error'],
    ['crashed', {}, 'crashed'],
    ['ended', {}, 'ended'],
    ['silent', {}, 'silent'],
    ['silent', { hasSnapshot: true }, 'silent'],
    ['none', {}, 'stopped'],
    ['none', { hasSnapshot: true }, 'suspended'],
    ['unknown', { hasSnapshot: true }, 'unknown'],
  ])('a process that is %s, with %o, is %s', (state, more, condition) => {
    expect(conditionOf(state, { ...files, ...more })).toBe(condition);
  });
});
