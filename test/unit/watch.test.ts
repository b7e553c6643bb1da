import { describe, expect, test } from 'vitest';
import type { CommandResult, OutputScreen } from '../../src/cli/command.ts';
import { exitCodes, SlipwayError } from '../../src/errors.ts';
import { computeRepaint, watch } from '../../src/cli/watch.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { worldIn } from '../fakes/test-world.ts';

const screenSize = { columns: 20, rows: 6 };

describe('computeRepaint', () => {
  test('overwrites the old lines one by one, and then clears what is below', () => {
    const first = computeRepaint([], 'one\ntwo', screenSize);
    expect(first.bytes).toBe('one\u001B[K\ntwo\u001B[K\n\u001B[J');
    const second = computeRepaint(first.lines, 'three', screenSize);
    expect(second.bytes).toBe('\u001B[2A\rthree\u001B[K\n\u001B[J');
  });

  test('never lets a line wrap or the screen scroll', () => {
    const { lines } = computeRepaint([], `${'x'.repeat(30)}\n${'y'.repeat(20)}\nc\nd\ne\nf\ng`, screenSize);
    expect(lines).toEqual([`${'x'.repeat(19)}…`, 'y'.repeat(20), 'c', 'd', '… and 3 more']);
    expect(lines.length).toBeLessThan(screenSize.rows);
  });

  test('counts wide characters as two columns', () => {
    const { lines } = computeRepaint([], '中文'.repeat(10), screenSize);
    expect(lines).toEqual([`${'中文'.repeat(4)}中…`]);
    const { bytes } = computeRepaint(['中文'.repeat(5)], 'z', { columns: 10, rows: 9 });
    expect(bytes.startsWith('\u001B[2A\r')).toBe(true);
  });

  test('counts old lines that wrap after the terminal became narrower', () => {
    const { bytes } = computeRepaint(['x'.repeat(20), ''], 'z', { columns: 10, rows: 9 });
    expect(bytes.startsWith('\u001B[3A\r\u001B[J')).toBe(true);
  });
});

/** Runs `watch` and stops it after this many rounds. */
async function runWatch(
  rounds: number,
  screen: Partial<OutputScreen>,
  failure?: Error,
): Promise<{ result: CommandResult; out: string; messages: string }> {
  await using folder = await createTemporaryFolder();
  const stop = new AbortController();
  const world = worldIn(folder.path, {
    connect: async () => {
      throw new Error('this test must not connect');
    },
    signal: stop.signal,
    now: () => new Date('2026-11-24T10:00:00Z'),
  });
  let out = '';
  let messages = '';
  const say = (line: string): void => {
    messages += `${line}\n`;
  };
  let left = rounds;
  const produce = async (): Promise<CommandResult> => {
    left -= 1;
    if (left === 0 && failure) throw failure;
    if (left === 0) setImmediate(() => stop.abort());
    return { json: [{ name: 'web' }], text: `web ${left}` };
  };
  const write = (text: string): void => {
    out += text;
  };
  const shown = { write, waitUntilDrained: async () => {}, size: () => undefined, json: false, ...screen };
  const result = await watch(produce, 0, { screen: shown, world, say, color: false });
  return { result, out, messages };
}

describe('watch', () => {
  test('prints the output with the time in each round without a terminal, and succeeds when it is stopped', async () => {
    const { result, out } = await runWatch(2, {});
    expect(out).toBe('Every 0 s: 2026-11-24 10:00:00 UTC\nweb 1\n\nEvery 0 s: 2026-11-24 10:00:00 UTC\nweb 0\n\n');
    expect(result).toEqual({ json: undefined, text: '' });
  });

  test('prints one document per line with --json', async () => {
    expect((await runWatch(3, { json: true })).out).toBe('[{"name":"web"}]\n'.repeat(3));
  });

  test('prints a failure as a document with --json, and also as a message', async () => {
    const error = new SlipwayError('LOCAL_FILES', "The folder can't be read", { hint: 'Fix it', detail: ['a', 'b'] });
    const { out, messages, result } = await runWatch(2, { json: true }, error);
    const document = { error: { code: 'LOCAL_FILES', message: error.message, hint: 'Fix it', detail: ['a', 'b'] } };
    expect(out).toBe(`[{"name":"web"}]\n${JSON.stringify(document)}\n`);
    expect(messages).toContain("✗ The folder can't be read\n");
    expect(result).toEqual({ json: undefined, text: '', status: exitCodes.LOCAL_FILES });
    await expect(runWatch(1, {}, error)).rejects.toBe(error);
    await expect(runWatch(1, { json: true }, new TypeError('a bug'))).rejects.toThrow('a bug');
  });

  test('restores the cursor of a terminal', async () => {
    const { out } = await runWatch(2, { size: () => ({ columns: 80, rows: 24 }) });
    expect(out.startsWith('\u001B[?25l')).toBe(true);
    expect(out.endsWith('\u001B[?25h')).toBe(true);
  });
});
