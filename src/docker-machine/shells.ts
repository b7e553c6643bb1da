/** The settings of `env` as the old tool wrote them: what scripts read line by line. Values in them can't break out of their quotes. */
export type Shell = {
  readonly set: (name: string, value: string) => string;
  readonly unset: (name: string) => string;
  readonly comment: string;
  readonly use: (command: string) => string;
};

const posix: Shell = {
  set: (name, value) => `export ${name}="${value.replaceAll(/[\\"$`]/g, String.raw`\$&`)}"`,
  unset: (name) => `unset ${name}`,
  comment: '#',
  use: (command) => `eval $(${command})`,
};

const SHELLS: Readonly<Record<string, Shell>> = {
  fish: {
    set: (name, value) => `set -gx ${name} "${value.replaceAll(/[\\"$]/g, String.raw`\$&`)}";`,
    unset: (name) => `set -e ${name};`,
    comment: '#',
    use: (command) => `eval (${command})`,
  },
  powershell: {
    set: (name, value) => `$Env:${name} = "${value.replaceAll(/["`$“”„]/g, '`$&')}"`,
    unset: (name) => String.raw`Remove-Item Env:\\${name}`,
    comment: '#',
    use: (command) => `& ${command} | Invoke-Expression`,
  },
  cmd: {
    set: (name, value) => `SET ${name}=${value.replaceAll(/[&|<>^]/g, '^$&')}`,
    unset: (name) => `SET ${name}=`,
    comment: 'REM',
    use: (command) => `\t@FOR /f "tokens=*" %i IN ('${command}') DO @%i`,
  },
  tcsh: {
    set: (name, value) => `setenv ${name} ${csh(value)};`,
    unset: (name) => `unsetenv ${name};`,
    comment: ':',
    use: (command) => `eval \`${command}\``,
  },
  emacs: {
    set: (name, value) => `(setenv "${name}" "${value.replaceAll(/[\\"]/g, String.raw`\$&`)}")`,
    unset: (name) => `(setenv "${name}" nil)`,
    comment: ';;',
    use: (command) => `(with-temp-buffer (shell-command "${command}" (current-buffer)) (eval-buffer))`,
  },
};

/** In double quotes as the old tool has them, unless something in there would be taken for more than itself: csh knows no way out of that. */
function csh(value: string): string {
  if (!/["$`!\\]/.test(value)) return `"${value}"`;
  return `'${value.replaceAll("'", String.raw`'\''`).replaceAll('!', String.raw`\!`)}'`;
}

/** Whatever is unknown gets the settings of POSIX shells. */
export function shellNamed(name: string): Shell {
  return (Object.hasOwn(SHELLS, name) ? SHELLS[name] : undefined) ?? posix;
}
