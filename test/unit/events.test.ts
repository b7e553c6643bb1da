import { expect, test } from 'vitest';
import { formatEvent } from '../../src/cli/commands/events.ts';
import { parseEventTime } from '../../src/operations/follow-events.ts';

const now = new Date('2026-11-24T10:00:00Z');
const toUnixSeconds = (date: string): string => (Date.parse(date) / 1000).toFixed(3);

test('an event is printed as one line, whatever it contains', () => {
  const id = 'ab'.repeat(32);
  const Actor = { ID: id, Attributes: { name: 'db', image: 'postgres' } };
  expect(
    formatEvent('web', { Type: 'container', Action: 'exec_create: sh', Actor, timeNano: 1_700_000_000_123 * 1e6 }),
  ).toBe('2023-11-14T22:13:20.123Z web container exec_create: sh abababababab (image=postgres, name=db)');
  expect(
    formatEvent('web', { Type: 'image', Action: 'pull', Actor: { ID: 'busybox:latest' }, time: 1_700_000_000 }),
  ).toBe('2023-11-14T22:13:20.000Z web image pull busybox:latest');
  const hostile = { name: 'a\nb\u001B[2J\u202Ec', 'x\r': 1 };
  expect(formatEvent('web', { Type: {}, Action: null, Actor: { ID: 5, Attributes: hostile }, timeNano: 1e300 })).toBe(
    '? web [object Object] ? 5 (name=abc, x=1)',
  );
  expect(formatEvent('web', { Actor: null })).toBe('? web ? ?');
});

test.each([
  ['1700000000', '1700000000'],
  ['1700000000.123456789', '1700000000.123456789'],
  ['90m', toUnixSeconds('2026-11-24T08:30:00Z')],
  ['1h30m', toUnixSeconds('2026-11-24T08:30:00Z')],
  ['1.5s', toUnixSeconds('2026-11-24T09:59:58.5Z')],
  ['250ms', toUnixSeconds('2026-11-24T09:59:59.75Z')],
  ['2026-11-24T08:30:00Z', toUnixSeconds('2026-11-24T08:30:00Z')],
  ['2026-11-24T08:30+02:00', toUnixSeconds('2026-11-24T06:30:00Z')],
  ['2026-11-24T08:30:00', toUnixSeconds('2026-11-24T08:30:00')],
  ['2026-11-24T08', toUnixSeconds('2026-11-24T08:00:00')],
  ['2026-11-24', toUnixSeconds('2026-11-24T00:00:00')],
  ['yesterday', undefined],
  ['-5m', undefined],
  ['10', '10'],
  ['2026-13-41', undefined],
  ['', undefined],
])('the time %j is parsed as %s', (text, instant) => {
  expect(parseEventTime(text, now)).toBe(instant);
});
