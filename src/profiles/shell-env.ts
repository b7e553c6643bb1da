export const shells = ['bash', 'zsh', 'sh', 'fish', 'powershell', 'pwsh', 'cmd', 'tcsh', 'emacs', 'nu'] as const;
export type ShellName = (typeof shells)[number];

/** A variable to set, or to unset if the value is undefined. */
export type EnvSetting = readonly [name: string, value: string | undefined];

type ShellSyntax = {
  readonly set: (name: string, value: string) => string;
  readonly unset: (name: string) => string;
  readonly comment: string;
  /** Returns the line that makes this shell evaluate the output of a command. */
  readonly evalCommand: (command: string) => string;
};

const quotePosix = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const escapeDoubleQuoted = (text: string): string => text.replaceAll(/[\\"]/g, String.raw`\$&`);

const posixSyntax: ShellSyntax = {
  set: (name, value) => `export ${name}=${quotePosix(value)}`,
  unset: (name) => `unset ${name}`,
  comment: '#',
  evalCommand: (command) => `eval "$(${command})"`,
};
const powershellSyntax: ShellSyntax = {
  // PowerShell treats typographic quotes as quotes too.
  set: (name, value) => `$Env:${name} = '${value.replaceAll(/['‘’‚‛]/g, '$&$&')}'`,
  unset: (name) => `Remove-Item -ErrorAction SilentlyContinue Env:\\${name}`,
  comment: '#',
  evalCommand: (command) => `& ${command} | Out-String | Invoke-Expression`,
};

const shellSyntaxes: Readonly<Record<ShellName, ShellSyntax>> = {
  bash: posixSyntax,
  zsh: posixSyntax,
  sh: posixSyntax,
  fish: {
    set: (name, value) => `set -gx ${name} '${value.replaceAll(/[\\']/g, String.raw`\$&`)}';`,
    unset: (name) => `set -e ${name};`,
    comment: '#',
    evalCommand: (command) => `${command} | source`,
  },
  powershell: powershellSyntax,
  pwsh: powershellSyntax,
  cmd: {
    // In a quoted assignment, cmd reads & and | literally. Percent signs are doubled in batch files only.
    set: (name, value) => `SET "${name}=${value}"`,
    unset: (name) => `SET "${name}="`,
    comment: 'REM',
    evalCommand: (command) => `@FOR /f "tokens=*" %i IN ('${command}') DO @%i`,
  },
  tcsh: {
    set: (name, value) => `setenv ${name} ${quotePosix(value).replaceAll('!', String.raw`\!`)};`,
    unset: (name) => `unsetenv ${name};`,
    comment: ':',
    evalCommand: (command) => `eval \`${command}\``,
  },
  emacs: {
    set: (name, value) => `(setenv "${name}" "${escapeDoubleQuoted(value)}")`,
    unset: (name) => `(setenv "${name}" nil)`,
    comment: ';;',
    evalCommand: (command) =>
      `(with-temp-buffer (shell-command "${escapeDoubleQuoted(command)}" (current-buffer)) (eval-buffer))`,
  },
  nu: {
    set: (name, value) => `$env.${name} = "${escapeDoubleQuoted(value)}"`,
    unset: (name) => `hide-env --ignore-errors ${name}`,
    comment: '#',
    evalCommand: (command) => `${command} | save -f slipway-env.nu; source slipway-env.nu`,
  },
};

/** Returns the output of `slipway env`: the settings, and a comment with the line that applies them in the shell. */
export function formatShellEnv(shell: ShellName, settings: readonly EnvSetting[], command: string): string {
  const { set, unset, comment, evalCommand } = shellSyntaxes[shell];
  const lines = settings.map(([name, value]) => (value === undefined ? unset(name) : set(name, value)));
  return [...lines, `${comment} Run this to configure your shell:`, `${comment} ${evalCommand(command)}`].join('\n');
}

/** Detects the user's shell from $SHELL, or on Windows from the variables that its shells set. */
export function detectShellName(
  env: Readonly<Record<string, string | undefined>>,
  platform: string,
): ShellName | undefined {
  const name = env.SHELL?.split(/[\\/]/)
    .at(-1)
    ?.replace(/\.exe$/, '');
  const knownShell = shells.find((shell) => shell === name);
  if (knownShell) return knownShell;
  if (name === undefined && platform === 'win32') return env.PSModulePath === undefined ? 'cmd' : 'powershell';
  return name === undefined ? undefined : 'sh';
}
