/**
 * How `env` prints settings for a shell: each line as Docker Machine writes it, since scripts read them. Values can't
 * break out of their quotes.
 */
export type EnvSyntax = {
  readonly set: (name: string, value: string) => string;
  readonly unset: (name: string) => string;
  readonly comment: string;
  readonly evalHint: (command: string) => string;
};

const POSIX_SYNTAX: EnvSyntax = {
  set: (name, value) => `export ${name}="${value.replaceAll(/[\\"$`]/g, String.raw`\$&`)}"`,
  unset: (name) => `unset ${name}`,
  comment: '#',
  evalHint: (command) => `eval $(${command})`,
};

const SHELL_SYNTAXES: Readonly<Record<string, EnvSyntax>> = {
  fish: {
    set: (name, value) => `set -gx ${name} "${value.replaceAll(/[\\"$]/g, String.raw`\$&`)}";`,
    unset: (name) => `set -e ${name};`,
    comment: '#',
    evalHint: (command) => `eval (${command})`,
  },
  powershell: {
    set: (name, value) => `$Env:${name} = "${value.replaceAll(/["`$“”„]/g, '`$&')}"`,
    unset: (name) => String.raw`Remove-Item Env:\\${name}`,
    comment: '#',
    evalHint: (command) => `& ${command} | Invoke-Expression`,
  },
  cmd: {
    set: (name, value) => `SET ${name}=${value.replaceAll(/[&|<>^]/g, '^$&')}`,
    unset: (name) => `SET ${name}=`,
    comment: 'REM',
    evalHint: (command) => `\t@FOR /f "tokens=*" %i IN ('${command}') DO @%i`,
  },
  tcsh: {
    set: (name, value) => `setenv ${name} ${quoteForCsh(value)};`,
    unset: (name) => `unsetenv ${name};`,
    comment: ':',
    evalHint: (command) => `eval \`${command}\``,
  },
  emacs: {
    set: (name, value) => `(setenv "${name}" "${value.replaceAll(/[\\"]/g, String.raw`\$&`)}")`,
    unset: (name) => `(setenv "${name}" nil)`,
    comment: ';;',
    evalHint: (command) => `(with-temp-buffer (shell-command "${command}" (current-buffer)) (eval-buffer))`,
  },
};

/**
 * Quotes with double quotes, as Docker Machine does, unless the value contains a character that csh interprets in them:
 * csh has no escapes within double quotes.
 */
function quoteForCsh(value: string): string {
  if (!/["$`!\\]/.test(value)) return `"${value}"`;
  return `'${value.replaceAll("'", String.raw`'\''`).replaceAll('!', String.raw`\!`)}'`;
}

/** Returns the syntax of a shell. An unknown shell gets that of POSIX shells. */
export function envSyntaxFor(name: string): EnvSyntax {
  return (Object.hasOwn(SHELL_SYNTAXES, name) ? SHELL_SYNTAXES[name] : undefined) ?? POSIX_SYNTAX;
}
