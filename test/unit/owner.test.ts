import { describe, expect, test } from 'vitest';
import { judgeHeartbeat } from '../../src/computer/owner.ts';

/** The clock of this computer and the last touch of an owner's file, in seconds. */
type Moment = { readonly clock: number; readonly touched: number };

/** Judges an owner second by second, as `isOwnerAlive` does, until there is a verdict. */
function watch(at: (second: number) => Moment): string {
  const first = at(0).touched;
  for (let second = 0; second < 60; second += 1) {
    const { clock, touched } = at(second);
    if (touched !== first) return `alive after ${second} s`;
    const verdict = judgeHeartbeat({
      ageMilliseconds: (clock - touched) * 1000,
      unchangedMilliseconds: second * 1000,
    });
    if (verdict !== 'watch') return `${verdict} after ${second} s`;
  }
  return 'no verdict';
}

describe('an owner whose process cannot be asked for', () => {
  test.each<[string, (second: number) => Moment, string]>([
    ['that touches its file is alive', (second) => ({ clock: 1000 + second, touched: 999 }), 'alive after 0 s'],
    ['that missed twenty touches is alive', (second) => ({ clock: 1000 + second, touched: 956 }), 'alive after 0 s'],
    ['that was killed long ago has ended', (second) => ({ clock: 9000 + second, touched: 1000 }), 'ended after 10 s'],
    [
      'that was suspended together with this computer is alive once it touches its file again',
      (second) => ({ clock: 9000 + second, touched: second < 2 ? 1000 : 9002 }),
      'alive after 2 s',
    ],
    [
      'whose clock is an hour behind is alive',
      (second) => ({ clock: 9000 + second, touched: 5400 + Math.floor(second / 2) * 2 }),
      'alive after 2 s',
    ],
    [
      'whose clock is an hour ahead is alive',
      (second) => ({ clock: 5400 + second, touched: 9000 + Math.floor(second / 2) * 2 }),
      'alive after 2 s',
    ],
    [
      'that was killed before the clock was set back by a year has ended',
      (second) => ({ clock: 1000 + second, touched: 31_536_000 }),
      'ended after 10 s',
    ],
    [
      'that was killed before the clock jumped ahead has ended',
      (second) => ({ clock: 31_536_000 + second, touched: 1000 }),
      'ended after 10 s',
    ],
    [
      'that was killed a moment ago counts as alive until its file is old',
      (second) => ({ clock: 1000 + second, touched: 990 }),
      'alive after 0 s',
    ],
  ])('%s', (_name, at, verdict) => {
    expect(watch(at)).toBe(verdict);
  });
});
