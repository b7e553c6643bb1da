import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatShellEnv, detectShellName, shells, type EnvSetting } from '../../src/profiles/shell-env.ts';
import { anyWord } from './awkward-words.ts';

const settings: readonly EnvSetting[] = [
  ['DOCKER_TLS_VERIFY', '1'],
  ['DOCKER_CERT_PATH', `/home/o'neill/a b/"$HOME"\\x!/’é`],
  ['DOCKER_CONTEXT', undefined],
];

test('formatShellEnv writes settings in the syntax of each shell', () => {
  const texts = shells.map((shell) => formatShellEnv(shell, settings, `slipway env web --shell ${shell}`));
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

test('a POSIX shell reads every value literally, and unsets variables without a value', () => {
  fc.assert(
    fc.property(fc.array(anyWord, { minLength: 1, maxLength: 60, size: 'max' }), (values) => {
      const set = values.map((value, index): EnvSetting => [`V${index}`, value]);
      const text = formatShellEnv('sh', [...set, ['GONE', undefined]], 'slipway env web');
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
  expect(detectShellName({ SHELL: '/usr/bin/zsh' }, 'linux')).toBe('zsh');
  expect(detectShellName({ SHELL: String.raw`C:\Program Files\Git\bin\bash.exe` }, 'win32')).toBe('bash');
  expect(detectShellName({ SHELL: '/usr/bin/ksh' }, 'linux')).toBe('sh');
  expect(detectShellName({ PSModulePath: 'x' }, 'win32')).toBe('powershell');
  expect(detectShellName({}, 'win32')).toBe('cmd');
  expect(detectShellName({}, 'linux')).toBeUndefined();
});
