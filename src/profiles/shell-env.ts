export const shells = ['bash', 'zsh', 'sh', 'fish', 'powershell', 'pwsh', 'cmd', 'tcsh', 'emacs', 'nu'] as const;
export type ShellName = (typeof shells)[number];

/** A variable to set, or with `undefined` to unset. */
export type Setting = readonly [name: string, value: string | undefined];

type Grammar = {
  readonly set: (name: string, value: string) => string;
  readonly unset: (name: string) => string;
  readonly comment: string;
  /** How this shell takes up what a command prints. */
  readonly use: (command: string) => string;
};

const posixQuote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const doubled = (text: string): string => text.replaceAll(/[\\"]/g, String.raw`\$&`);

const posix: Grammar = {
  set: (name, value) => `export ${name}=${posixQuote(value)}`,
  unset: (name) => `unset ${name}`,
  comment: '#',
  use: (command) => `eval "$(${command})"`,
};
const powershell: Grammar = {
  // PowerShell takes typographic quotes for quotes as well.
  set: (name, value) => `$Env:${name} = '${value.replaceAll(/['‘’‚‛]/g, '$&$&')}'`,
  unset: (name) => `Remove-Item -ErrorAction SilentlyContinue Env:\\${name}`,
  comment: '#',
  use: (command) => `& ${command} | Out-String | Invoke-Expression`,
};

const grammars: Readonly<Record<ShellName, Grammar>> = {
  bash: posix,
  zsh: posix,
  sh: posix,
  fish: {
    set: (name, value) => `set -gx ${name} '${value.replaceAll(/[\\']/g, String.raw`\$&`)}';`,
    unset: (name) => `set -e ${name};`,
    comment: '#',
    use: (command) => `${command} | source`,
  },
  powershell,
  pwsh: powershell,
  cmd: {
    // Quoted as a whole, cmd takes & and | in the value as they are; percent signs double in a batch file only.
    set: (name, value) => `SET "${name}=${value}"`,
    unset: (name) => `SET "${name}="`,
    comment: 'REM',
    use: (command) => `@FOR /f "tokens=*" %i IN ('${command}') DO @%i`,
  },
  tcsh: {
    set: (name, value) => `setenv ${name} ${posixQuote(value).replaceAll('!', String.raw`\!`)};`,
    unset: (name) => `unsetenv ${name};`,
    comment: ':',
    use: (command) => `eval \`${command}\``,
  },
  emacs: {
    set: (name, value) => `(setenv "${name}" "${doubled(value)}")`,
    unset: (name) => `(setenv "${name}" nil)`,
    comment: ';;',
    use: (command) => `(with-temp-buffer (shell-command "${doubled(command)}" (current-buffer)) (eval-buffer))`,
  },
  nu: {
    set: (name, value) => `$env.${name} = "${doubled(value)}"`,
    unset: (name) => `hide-env --ignore-errors ${name}`,
    comment: '#',
    use: (command) => `${command} | save -f slipway-env.nu; source slipway-env.nu`,
  },
};

/** The text that `slipway env` prints: settings, then how to let the shell take them up. */
export function shellEnv(shell: ShellName, settings: readonly Setting[], command: string): string {
  const { set, unset, comment, use } = grammars[shell];
  const lines = settings.map(([name, value]) => (value === undefined ? unset(name) : set(name, value)));
  return [...lines, `${comment} Run this to configure your shell:`, `${comment} ${use(command)}`].join('\n');
}

/** From $SHELL, or what the system is known to have. */
export function shellFrom(env: Readonly<Record<string, string | undefined>>, platform: string): ShellName | undefined {
  const name = env.SHELL?.split(/[\\/]/)
    .at(-1)
    ?.replace(/\.exe$/, '');
  const found = shells.find((shell) => shell === name);
  if (found) return found;
  if (name === undefined && platform === 'win32') return env.PSModulePath === undefined ? 'cmd' : 'powershell';
  return name === undefined ? undefined : 'sh';
}
