import type { Computer } from '../computer/computer.ts';
import { quote, quoteWindowsWord } from '../ssh/shell.ts';

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
  /** Quotes a word of a command, unless it needs no quotes. */
  readonly quoteWord: (word: string) => string;
};

const quotePosix = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const escapeDoubleQuoted = (text: string): string => text.replaceAll(/[\\"]/g, String.raw`\$&`);
const quoteFish = (text: string): string => `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
const quoteCsh = (text: string): string => quotePosix(text).replaceAll('!', String.raw`\!`);
// PowerShell treats typographic quotes as quotes too.
const quotePowershell = (text: string): string => `'${text.replaceAll(/['‘’‚‛]/g, '$&$&')}'`;
/** Returns a function that leaves a word as it is if the pattern matches it whole. */
const quoteUnless =
  (plain: RegExp, quoteText: (text: string) => string) =>
  (word: string): string =>
    plain.test(word) ? word : quoteText(word);

const posixSyntax: ShellSyntax = {
  set: (name, value) => `export ${name}=${quotePosix(value)}`,
  unset: (name) => `unset ${name}`,
  comment: '#',
  evalCommand: (command) => `eval "$(${command})"`,
  quoteWord: quote,
};
const powershellSyntax: ShellSyntax = {
  set: (name, value) => `$Env:${name} = ${quotePowershell(value)}`,
  unset: (name) => `Remove-Item -ErrorAction SilentlyContinue Env:\\${name}`,
  comment: '#',
  evalCommand: (command) => `& ${command} | Out-String | Invoke-Expression`,
  // A comma makes a list, and PowerShell splits a flag at its first dot.
  quoteWord: quoteUnless(/^(?:-[\w-]+(?:=[\w+:./\\=-]*)?|[\w+:./\\=][\w+:./\\=-]*)$/, quotePowershell),
};

const shellSyntaxes: Readonly<Record<ShellName, ShellSyntax>> = {
  bash: posixSyntax,
  zsh: posixSyntax,
  sh: posixSyntax,
  fish: {
    set: (name, value) => `set -gx ${name} ${quoteFish(value)};`,
    unset: (name) => `set -e ${name};`,
    comment: '#',
    evalCommand: (command) => `${command} | source`,
    quoteWord: quoteUnless(/^[\w@+=:,./-]+$/, quoteFish),
  },
  powershell: powershellSyntax,
  pwsh: powershellSyntax,
  cmd: {
    // In a quoted assignment, cmd reads & and | literally. Percent signs are doubled in batch files only.
    set: (name, value) => `SET "${name}=${value}"`,
    unset: (name) => `SET "${name}="`,
    comment: 'REM',
    evalCommand: (command) => `@FOR /f "tokens=*" %i IN ('${command}') DO @%i`,
    // As Node and other programs of Windows read their command line; cmd itself passes on all that is in quotes.
    quoteWord: quoteUnless(/^[\w@+=:,./\\-]+$/, quoteWindowsWord),
  },
  tcsh: {
    set: (name, value) => `setenv ${name} ${quoteCsh(value)};`,
    unset: (name) => `unsetenv ${name};`,
    comment: ':',
    evalCommand: (command) => `eval \`${command}\``,
    quoteWord: quoteUnless(/^[\w@%+=:,./-]+$/, quoteCsh),
  },
  emacs: {
    set: (name, value) => `(setenv "${name}" "${escapeDoubleQuoted(value)}")`,
    unset: (name) => `(setenv "${name}" nil)`,
    comment: ';;',
    evalCommand: (command) =>
      `(with-temp-buffer (shell-command "${escapeDoubleQuoted(command)}" (current-buffer)) (eval-buffer))`,
    quoteWord: quote,
  },
  nu: {
    set: (name, value) => `$env.${name} = "${escapeDoubleQuoted(value)}"`,
    unset: (name) => `hide-env --ignore-errors ${name}`,
    comment: '#',
    evalCommand: (command) => `${command} | save -f slipway-env.nu; source slipway-env.nu`,
    quoteWord: quoteUnless(/^[\w@%+=:,./-]+$/, (word) => `"${escapeDoubleQuoted(word)}"`),
  },
};

/** Returns the output of `slipway env`: the settings, and a comment with the line that applies them in the shell. */
export function formatShellEnv(shell: ShellName, settings: readonly EnvSetting[], argv: readonly string[]): string {
  const { set, unset, comment, evalCommand } = shellSyntaxes[shell];
  const command = formatCommandLineFor(shell, argv);
  const lines = settings.map(([name, value]) => (value === undefined ? unset(name) : set(name, value)));
  return [...lines, `${comment} Run this to configure your shell:`, `${comment} ${evalCommand(command)}`].join('\n');
}

/** What Slipway knows of the shell from which it was started. */
export type ShellSource = Pick<Computer, 'env' | 'platform'>;

/** Detects the user's shell from $SHELL, or on Windows from the variables that its shells set. */
export function detectShellName({ env, platform }: ShellSource): ShellName | undefined {
  const name = env.SHELL?.split(/[\\/]/)
    .at(-1)
    ?.replace(/\.exe$/, '');
  const knownShell = shells.find((shell) => shell === name);
  if (knownShell) return knownShell;
  if (name === undefined && platform === 'win32') return isPowershell(env) ? 'powershell' : 'cmd';
  return name === undefined ? undefined : 'sh';
}

/**
 * Returns whether the environment is that of a PowerShell. Each process of Windows has PSModulePath, with the folders
 * of the system; only PowerShell adds the user's own.
 */
export function isPowershell({ PSModulePath: folders = '' }: ShellSource['env']): boolean {
  return folders
    .split(';')
    .some(
      (folder) =>
        /[\\/](windows)?powershell[\\/]modules[\\/]?$/i.test(folder) &&
        !/^([a-z]:[\\/](program files( \(x86\))?|windows)|%\w+%)[\\/]/i.test(folder),
    );
}

/** Returns a command line that the user can paste into their shell. */
export function formatCommandLine(argv: readonly string[], source: ShellSource): string {
  return formatCommandLineFor(detectShellName(source) ?? 'sh', argv);
}

/** Returns a command line for a shell. An unknown shell gets the quotes of POSIX shells. */
export function formatCommandLineFor(name: string, argv: readonly string[]): string {
  const shell = shells.find((known) => known === name) ?? 'sh';
  return argv.map(shellSyntaxes[shell].quoteWord).join(' ');
}

/** Returns the line that connects the user's shell to a machine; undefined stands for any machine, `NAME`. */
export function connectShellCommand(name: string | undefined, source: ShellSource): string {
  return evalInShell(`slipway env ${name ?? 'NAME'}`, source);
}

/** Returns the line that makes the user's shell evaluate the output of a command. */
export function evalInShell(command: string, source: ShellSource): string {
  return shellSyntaxes[detectShellName(source) ?? 'sh'].evalCommand(command);
}

/** Returns the line that removes a variable from the user's shell. */
export function unsetVariableCommand(name: string, source: ShellSource): string {
  return shellSyntaxes[detectShellName(source) ?? 'sh'].unset(name);
}
