import { describe, expect, test } from 'vitest';
import { envSyntaxFor } from '../../src/docker-machine/env-syntax.ts';
import { formatShellEnv, type EnvSetting, type ShellName } from '../../src/profiles/shell-env.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

const VALUES = ['plain', "it's", 'a "b" \\ $HOME `id` $(id)', '!!', '%PATH%', 'é ’ü‘ 日本', '', '~', '*', 'a\\'];

/** How each shell evaluates a text, and prints one variable per line. */
const SHELLS: readonly (readonly [ShellName, readonly string[], string])[] = [
  ['sh', ['-c'], 'eval "$TEXT"; printf "%s\\n"'],
  ['bash', ['--norc', '-c'], 'eval "$TEXT"; printf "%s\\n"'],
  ['zsh', ['-f', '-c'], 'eval "$TEXT"; printf "%s\\n"'],
  ['fish', ['--no-config', '-c'], 'printf "%s\\n" $TEXT | source; printf "%s\\n"'],
];

describe.each(SHELLS)('%s', (shell, argv, evaluate) => {
  test.skipIf(!hasProgram(shell))('reads every value literally, and unsets variables without a value', async () => {
    const settings = VALUES.map((value, index): EnvSetting => [`V${index}`, value]);
    const text = formatShellEnv(shell, [...settings, ['GONE', undefined]], ['slipway', 'env', 'web', '--shell', shell]);
    const names = VALUES.map((_, index) => `"$V${index}"`).join(' ');
    const { stdout, stderr } = await runProgram(shell, [...argv, `${evaluate} "$GONE" ${names}`], {
      env: { PATH: process.env.PATH, HOME: '/', LANG: 'C.UTF-8', TEXT: text, GONE: 'still here' },
    });
    expect(stderr).toBe('');
    expect(stdout.split('\n').slice(0, -1)).toEqual(['', ...VALUES]);
  });
});

describe('tcsh', () => {
  test.skipIf(!hasProgram('tcsh')).each(VALUES)('reads %j literally, through its backticks', async (value) => {
    const text = formatShellEnv('tcsh', [['V', value]], ['slipway', 'env', 'web']);
    const { stdout, stderr } = await runProgram('tcsh', ['-f', '-c', 'eval `printenv TEXT`\nprintenv V'], {
      env: { PATH: process.env.PATH, HOME: '/', LANG: 'C.UTF-8', TEXT: text },
    });
    expect({ stdout, stderr }).toEqual({ stdout: `${value}\n`, stderr: '' });
  });
});

/** The drop-in quotes values as Docker Machine does, with double quotes. */
describe.each([
  ['bash', ['--norc', '-c']],
  ['zsh', ['-f', '-c']],
  ['fish', ['--no-config', '-c']],
  ['tcsh', ['-f', '-c']],
] as const)('the drop-in in %s', (shell, argv) => {
  test.skipIf(!hasProgram(shell)).each(VALUES)('reads %j literally', async (value) => {
    const { stdout, stderr } = await runProgram(
      shell,
      [...argv, `${envSyntaxFor(shell).set('V', value)}\nprintenv V`],
      {
        env: { PATH: process.env.PATH, HOME: '/', LANG: 'C.UTF-8' },
      },
    );
    expect({ stdout, stderr }).toEqual({ stdout: `${value}\n`, stderr: '' });
  });
});
