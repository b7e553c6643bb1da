import { describe, expect, test, vi } from 'vitest';
import { jsonProgress, liveProgress, plainProgress, quietProgress, type Lines } from '../../src/cli/progress.ts';
import { SlipwayError } from '../../src/errors.ts';
import type { Progress } from '../../src/progress.ts';

/** What a view shows of a run in which one step succeeds and the next fails; times are masked. */
async function shown(make: (say: Lines) => Progress): Promise<string> {
  const lines: string[] = [];
  const progress = make((line) => lines.push(line));
  const result = await progress.step('facts', 'Look at the host', async (log) => {
    log('one line');
    log('');
    return 42;
  });
  expect(result).toBe(42);
  progress.note('A note');
  const failed = progress.step('verify', 'Verify', async () => {
    throw new SlipwayError('ENGINE_UNREACHABLE', 'no answer');
  });
  await expect(failed).rejects.toThrow('no answer');
  const bug = progress.step('profiles', 'Write', async () => {
    throw new TypeError('x is not a function');
  });
  await expect(bug).rejects.toThrow(TypeError);
  expect(progress.last()).toBe('profiles');
  return lines.join('\n').replaceAll(/(\bin |"elapsed":)\d+(\.\d+)?/g, '$1N');
}

describe('a run', () => {
  test('is plain lines without a terminal', async () => {
    expect(await shown(plainProgress)).toMatchInlineSnapshot(`
      "Look at the host …
      Look at the host: done in N s
      A note
      Verify …
      Verify: failed after 0.0 s
      Write …
      Write: failed after 0.0 s"
    `);
  });

  test('is nothing but notes with --quiet', async () => {
    expect(await shown(quietProgress)).toMatchInlineSnapshot(`"A note"`);
  });

  test('is one JSON event a line with --json', async () => {
    const text = await shown(jsonProgress);
    expect(text).toMatchInlineSnapshot(`
      "{"event":"step","id":"facts","title":"Look at the host","state":"started"}
      {"event":"output","id":"facts","line":"one line"}
      {"event":"step","id":"facts","title":"Look at the host","state":"done","elapsed":N}
      {"event":"note","text":"A note"}
      {"event":"step","id":"verify","title":"Verify","state":"started"}
      {"event":"step","id":"verify","title":"Verify","state":"failed","elapsed":N,"error":"ENGINE_UNREACHABLE"}
      {"event":"step","id":"profiles","title":"Write","state":"started"}
      {"event":"step","id":"profiles","title":"Write","state":"failed","elapsed":N,"error":"BUG"}"
    `);
    for (const line of text.replaceAll('N', '0').split('\n')) expect(() => JSON.parse(line) as unknown).not.toThrow();
  });

  test('is a live list on a terminal, and a note waits until the list is drawn', async () => {
    const written: string[] = [];
    const stream = {
      isTTY: true,
      columns: 80,
      rows: 24,
      write: (text: string, ...rest: readonly unknown[]) => {
        written.push(text);
        for (const done of rest) if (typeof done === 'function') (done as () => void)();
        return true;
      },
      on: () => stream,
      once: () => stream,
      off: () => stream,
      removeListener: () => stream,
    } as unknown as NodeJS.WriteStream;
    const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const progress = liveProgress(stream, false);
    const result = await progress.step('facts', 'Look at the host', async (log) => {
      log('one line');
      progress.note('The note');
      expect(written.join('')).not.toContain('The note');
      return 'done';
    });
    const strays = stdout.mock.calls.map(([text]) => text);
    stdout.mockRestore();
    expect(strays, 'values alone go to stdout').toEqual([]);
    expect(written.join('')).toContain('Look at the host');
    expect([result, progress.last()]).toEqual(['done', 'facts']);
    expect(written.at(-1)).toBe('• The note\n');
  });
});
