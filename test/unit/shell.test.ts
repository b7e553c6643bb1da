import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAssignments, quote, sh, type Shell } from '../../src/ssh/shell.ts';
import { anyWord, anyWords } from './awkward-words.ts';

/** What a real shell makes of a script that prints NUL-ended words. */
function runScript(script: string): readonly string[] {
  return execFileSync('sh', ['-s'], { input: script, encoding: 'utf8' }).split('\0').slice(0, -1);
}

describe('quote', () => {
  test('leaves plain words readable and quotes the rest', () => {
    expect(['web-1', 'tcp://10.0.0.1:2376', '', 'a b', "it's", '$(id)', '~', '*', 'a\nb', '-n'].map(quote)).toEqual([
      'web-1',
      'tcp://10.0.0.1:2376',
      "''",
      "'a b'",
      String.raw`'it'\''s'`,
      "'$(id)'",
      "'~'",
      "'*'",
      "'a\nb'",
      '-n',
    ]);
  });

  test('gives a real shell back every word as it was', () => {
    fc.assert(
      fc.property(anyWords, (all) => {
        expect(runScript(`printf '%s\\0' x ${all.map(quote).join(' ')}`).slice(1)).toEqual(all);
      }),
      { numRuns: 20 },
    );
  });
});

describe('sh', () => {
  test('quotes each value, and makes one word of each item of an array', () => {
    const command = sh`sudo env ${['A=1', 'B=x y']} sh -c ${'echo "$B"'}`;
    expect(command).toBe(`sudo env A=1 'B=x y' sh -c 'echo "$B"'`);
  });

  test('makes nothing of an empty array, and an empty word of an empty string', () => {
    expect(sh`cat ${[]} ${''}`).toBe(`cat  ''`);
  });

  test('keeps the backslashes of its own text as they were typed', () => {
    expect(sh`printf '%s\n' ${'a'}`).toBe(String.raw`printf '%s\n' a`);
  });

  test('gives a real shell back every value, alone and in arrays', () => {
    fc.assert(
      fc.property(anyWord, anyWords, (one, many) => {
        expect(runScript(sh`printf '%s\0' ${one} ${many}`)).toEqual([one, ...many]);
      }),
      { numRuns: 20 },
    );
  });

  test('is the only way to a command: a plain string does not compile as one', () => {
    const run = (command: Shell): string => command;
    // @ts-expect-error -- a string in which nothing was quoted is no Shell
    expect(run('rm -rf /')).toBe('rm -rf /');
  });
});

describe('assignments', () => {
  test('quotes always, so that no value is read as anything else', () => {
    expect(formatAssignments({ A: 'plain', B: "it's", C: '' })).toMatchInlineSnapshot(`
      "A='plain'
      B='it'\\''s'
      C=''
      "
    `);
  });

  test('gives a real shell back every value', () => {
    fc.assert(
      fc.property(anyWords, (all) => {
        const names = all.map((_, index) => `V${index}`);
        const script = formatAssignments(Object.fromEntries(all.map((value, index) => [`V${index}`, value])));
        expect(runScript(`${script}printf '%s\\0' x ${names.map((name) => `"$${name}"`).join(' ')}`).slice(1)).toEqual(
          all,
        );
      }),
      { numRuns: 20 },
    );
  });

  test('keeps them out of the environment of what the script starts', () => {
    expect(
      runScript(`${formatAssignments({ SECRET: 'x' })}printf '%s\\0' "$SECRET" "$(env | grep -c ^SECRET)"`),
    ).toEqual(['x', '0']);
  });
});
