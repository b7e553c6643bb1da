import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  connectShellCommand,
  formatShellEnv,
  detectShellName,
  formatCommandLineFor,
  shells,
  unsetVariableCommand,
  type EnvSetting,
  type ShellSource,
} from '../../src/profiles/shell-env.ts';
import { quoteWindowsWord } from '../../src/ssh/shell.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { anyWord } from './awkward-words.ts';

const settings: readonly EnvSetting[] = [
  ['DOCKER_TLS_VERIFY', '1'],
  ['DOCKER_CERT_PATH', `/home/o'neill/a b/"$HOME"\\x!/’é`],
  ['DOCKER_CONTEXT', undefined],
];

test('formatShellEnv writes settings in the syntax of each shell', () => {
  const texts = shells.map((shell) => formatShellEnv(shell, settings, ['slipway', 'env', 'web', '--shell', shell]));
  expect(texts.join('\n\n')).toMatchInlineSnapshot(`
    "export DOCKER_TLS_VERIFY='1'
    export DOCKER_CERT_PATH='/home/o'\\''neill/a b/"$HOME"\\x!/’é'
    unset DOCKER_CONTEXT
    # Run this to configure your shell:
    # eval "$(slipway env web --shell bash)"

    export DOCKER_TLS_VERIFY='1'
    export DOCKER_CERT_PATH='/home/o'\\''neill/a b/"$HOME"\\x!/’é'
    unset DOCKER_CONTEXT
    # Run this to configure your shell:
    # eval "$(slipway env web --shell zsh)"

    export DOCKER_TLS_VERIFY='1'
    export DOCKER_CERT_PATH='/home/o'\\''neill/a b/"$HOME"\\x!/’é'
    unset DOCKER_CONTEXT
    # Run this to configure your shell:
    # eval "$(slipway env web --shell sh)"

    set -gx DOCKER_TLS_VERIFY '1';
    set -gx DOCKER_CERT_PATH '/home/o\\'neill/a b/"$HOME"\\\\x!/’é';
    set -e DOCKER_CONTEXT;
    # Run this to configure your shell:
    # slipway env web --shell fish | source

    $Env:DOCKER_TLS_VERIFY = '1'
    $Env:DOCKER_CERT_PATH = '/home/o''neill/a b/"$HOME"\\x!/’’é'
    Remove-Item -ErrorAction SilentlyContinue Env:\\DOCKER_CONTEXT
    # Run this to configure your shell:
    # & slipway env web --shell powershell | Out-String | Invoke-Expression

    $Env:DOCKER_TLS_VERIFY = '1'
    $Env:DOCKER_CERT_PATH = '/home/o''neill/a b/"$HOME"\\x!/’’é'
    Remove-Item -ErrorAction SilentlyContinue Env:\\DOCKER_CONTEXT
    # Run this to configure your shell:
    # & slipway env web --shell pwsh | Out-String | Invoke-Expression

    SET "DOCKER_TLS_VERIFY=1"
    SET "DOCKER_CERT_PATH=/home/o'neill/a b/"$HOME"\\x!/’é"
    SET "DOCKER_CONTEXT="
    REM Run this to configure your shell:
    REM @FOR /f "tokens=*" %i IN ('slipway env web --shell cmd') DO @%i

    setenv DOCKER_TLS_VERIFY '1';
    setenv DOCKER_CERT_PATH '/home/o'\\''neill/a b/"$HOME"\\x\\!/’é';
    unsetenv DOCKER_CONTEXT;
    : Run this to configure your shell:
    : eval \`slipway env web --shell tcsh\`

    (setenv "DOCKER_TLS_VERIFY" "1")
    (setenv "DOCKER_CERT_PATH" "/home/o'neill/a b/\\"$HOME\\"\\\\x!/’é")
    (setenv "DOCKER_CONTEXT" nil)
    ;; Run this to configure your shell:
    ;; (with-temp-buffer (shell-command "slipway env web --shell emacs" (current-buffer)) (eval-buffer))

    $env.DOCKER_TLS_VERIFY = "1"
    $env.DOCKER_CERT_PATH = "/home/o'neill/a b/\\"$HOME\\"\\\\x!/’é"
    hide-env --ignore-errors DOCKER_CONTEXT
    # Run this to configure your shell:
    # slipway env web --shell nu | save -f slipway-env.nu; source slipway-env.nu"
  `);
});

test.runIf(isPosix)('a POSIX shell reads every value literally, and unsets variables without a value', () => {
  fc.assert(
    fc.property(fc.array(anyWord, { minLength: 1, maxLength: 60, size: 'max' }), (values) => {
      const set = values.map((value, index): EnvSetting => [`V${index}`, value]);
      const text = formatShellEnv('sh', [...set, ['GONE', undefined]], ['slipway', 'env', 'web']);
      const names = values.map((_, index) => `"$V${index}"`).join(' ');
      const script = `eval "$TEXT"; printf '%s\\0' "\${GONE-unset}" ${names}`;
      const out = execFileSync('sh', ['-c', script], {
        env: { ...process.env, TEXT: text, GONE: 'x' },
        encoding: 'utf8',
      });
      expect(out.split('\0').slice(0, -1)).toEqual(['unset', ...values]);
    }),
    { numRuns: 20 },
  );
});

test('detectShellName reads $SHELL, or on Windows the variables of its shells', () => {
  expect(detectShellName({ env: { SHELL: '/usr/bin/zsh' }, platform: 'linux' })).toBe('zsh');
  expect(detectShellName({ env: { SHELL: '/usr/bin/ksh' }, platform: 'linux' })).toBe('sh');
  expect(detectShellName({ env: {}, platform: 'linux' })).toBeUndefined();
  const detectOnWindows = (env: ShellSource['env']): string | undefined => detectShellName({ env, platform: 'win32' });
  expect(detectOnWindows({ SHELL: String.raw`C:\Program Files\Git\bin\bash.exe` })).toBe('bash');
  expect(detectOnWindows({})).toBe('cmd');
});

test('on Windows, PowerShell is known by its own folder of modules: each process has those of the system', () => {
  const system = String.raw`C:\Program Files\WindowsPowerShell\Modules;C:\WINDOWS\system32\WindowsPowerShell\v1.0\Modules`;
  const detect = (PSModulePath: string): string | undefined =>
    detectShellName({ env: { PSModulePath }, platform: 'win32' });
  expect(detect(system)).toBe('cmd');
  expect(detect(String.raw`${system};C:\Program Files (x86)\Microsoft SQL Server\150\Tools\PowerShell\Modules`)).toBe(
    'cmd',
  );
  expect(detect(String.raw`C:\Users\Ada B\Documents\WindowsPowerShell\Modules;${system}`)).toBe('powershell');
  expect(detect(String.raw`D:\Documents\PowerShell\Modules;c:\program files\powershell\7\Modules;${system}`)).toBe(
    'powershell',
  );
});

test('command lines have the quotes of the shell', () => {
  const argv = [
    'slipway',
    'create',
    'web',
    '--key',
    String.raw`C:\Users\Ada O'Neill\id`,
    'say "hi"',
    'a,b',
    '-a.b',
    '100%',
  ];
  const lines = ['bash', 'fish', 'powershell', 'cmd', 'tcsh', 'nu', 'unknown'].map(
    (shell) => `${shell}: ${formatCommandLineFor(shell, argv)}`,
  );
  expect(lines.join('\n')).toMatchInlineSnapshot(`
    "bash: slipway create web --key 'C:\\Users\\Ada O'\\''Neill\\id' 'say "hi"' a,b -a.b 100%
    fish: slipway create web --key 'C:\\\\Users\\\\Ada O\\'Neill\\\\id' 'say "hi"' a,b -a.b '100%'
    powershell: slipway create web --key 'C:\\Users\\Ada O''Neill\\id' 'say "hi"' 'a,b' '-a.b' '100%'
    cmd: slipway create web --key "C:\\Users\\Ada O'Neill\\id" "say \\"hi\\"" a,b -a.b "100%"
    tcsh: slipway create web --key 'C:\\Users\\Ada O'\\''Neill\\id' 'say "hi"' a,b -a.b 100%
    nu: slipway create web --key "C:\\\\Users\\\\Ada O'Neill\\\\id" "say \\"hi\\"" a,b -a.b 100%
    unknown: slipway create web --key 'C:\\Users\\Ada O'\\''Neill\\id' 'say "hi"' a,b -a.b 100%"
  `);
});

test('a hint names the command of the shell that reads it', () => {
  const sources: readonly ShellSource[] = [
    { env: { SHELL: '/bin/bash' }, platform: 'linux' },
    { env: { SHELL: '/usr/bin/fish' }, platform: 'darwin' },
    { env: {}, platform: 'linux' },
    { env: {}, platform: 'win32' },
    { env: { PSModulePath: String.raw`C:\Users\ada\Documents\PowerShell\Modules` }, platform: 'win32' },
    { env: { SHELL: '/usr/bin/bash', PSModulePath: 'C:' }, platform: 'win32' },
  ];
  expect(
    sources.flatMap((source) => [connectShellCommand('web', source), unsetVariableCommand('DOCKER_HOST', source)]),
  ).toEqual([
    'eval "$(slipway env web)"',
    'unset DOCKER_HOST',
    'slipway env web | source',
    'set -e DOCKER_HOST;',
    'eval "$(slipway env web)"',
    'unset DOCKER_HOST',
    '@FOR /f "tokens=*" %i IN (\'slipway env web\') DO @%i',
    'SET "DOCKER_HOST="',
    '& slipway env web | Out-String | Invoke-Expression',
    String.raw`Remove-Item -ErrorAction SilentlyContinue Env:\DOCKER_HOST`,
    'eval "$(slipway env web)"',
    'unset DOCKER_HOST',
  ]);
});

/** Splits a command line as programs of Windows do: the rules of Microsoft's C library. */
function splitAsWindows(line: string): readonly string[] {
  const words: string[] = [];
  let word = '';
  let isQuoted = false;
  for (let at = 0; at < line.length; at += 1) {
    const [slashes = ''] = /^\\*(?=")/.exec(line.slice(at)) ?? [];
    if (line[at + slashes.length] === '"') {
      word += '\\'.repeat(slashes.length / 2);
      if (slashes.length % 2 === 1) word += '"';
      else isQuoted = !isQuoted;
      at += slashes.length;
    } else if (line[at] === ' ' && !isQuoted) {
      words.push(word);
      word = '';
    } else word += line[at];
  }
  return [...words, word];
}

test('a program of Windows reads every quoted word as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyWord, fc.stringMatching(/^[\\" a]*$/)), { minLength: 1 }), (words) => {
      expect(splitAsWindows(words.map(quoteWindowsWord).join(' '))).toEqual(words);
    }),
  );
});
