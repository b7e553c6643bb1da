import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAssignments, quote, sh, type Shell } from '../../src/ssh/shell.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { anyWord, anyWords } from './awkward-words.ts';

// The shell of hosts, which runs what Slipway quotes on every system.

/** Runs a script that prints NUL-terminated words in a real shell, and returns them. */
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

  test.runIf(isPosix)('passes every word through a real shell unchanged', () => {
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

  test('formats an empty array as nothing, and an empty string as an empty word', () => {
    expect(sh`cat ${[]} ${''}`).toBe(`cat  ''`);
  });

  test('keeps the backslashes of its own text', () => {
    expect(sh`printf '%s\n' ${'a'}`).toBe(String.raw`printf '%s\n' a`);
  });

  test.runIf(isPosix)('passes every value through a real shell unchanged, alone and in arrays', () => {
    fc.assert(
      fc.property(anyWord, anyWords, (one, many) => {
        expect(runScript(sh`printf '%s\0' ${one} ${many}`)).toEqual([one, ...many]);
      }),
      { numRuns: 20 },
    );
  });

  test('is the only way to create a command: a plain string does not compile', () => {
    const run = (command: Shell): string => command;
    // @ts-expect-error -- a string without quoting is no Shell
    expect(run('rm -rf /')).toBe('rm -rf /');
  });
});

describe('formatAssignments', () => {
  test('always quotes, so that no value has another meaning', () => {
    expect(formatAssignments({ A: 'plain', B: "it's", C: '' })).toMatchInlineSnapshot(`
      "A='plain'
      B='it'\\''s'
      C=''
      "
    `);
  });

  test.runIf(isPosix)('passes every value through a real shell unchanged', () => {
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

  test.runIf(isPosix)('keeps values out of the environment of programs that the script starts', () => {
    expect(
      runScript(`${formatAssignments({ SECRET: 'x' })}printf '%s\\0' "$SECRET" "$(env | grep -c ^SECRET)"`),
    ).toEqual(['x', '0']);
  });
});
