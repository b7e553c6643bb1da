/**
 * Builds the command lines that a POSIX shell runs; no other file does. Command lines never contain secrets, which
 * travel over stdin. The quotes of other shells are in profiles/shell-env.ts.
 */

declare const brand: unique symbol;
/** A command line in which every value is quoted. Only `sh` returns one, so a plain string is a type error. */
export type Shell = string & { readonly [brand]: 'shell' };

/** Quotes a word for a POSIX shell, unless it needs no quotes. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Quotes a word as the programs of Windows read it: a quote needs a backslash, and so do the backslashes before it. */
export function quoteWindowsWord(word: string): string {
  return `"${word.replaceAll(/(\\*)"/g, String.raw`$1$1\"`).replace(/(\\+)$/, '$1$1')}"`;
}

/** Returns a command line that the user can paste into a POSIX shell. */
export function toCommandLine(argv: readonly string[]): string {
  return argv.map(quote).join(' ');
}

/** Builds a command: sh`echo ${value}`. A value becomes one quoted word; an array, one quoted word for each item. */
export function sh(strings: TemplateStringsArray, ...values: readonly (string | readonly string[])[]): Shell {
  const words = values.map((value) => (typeof value === 'string' ? quote(value) : value.map(quote).join(' ')));
  return String.raw({ raw: strings.raw }, ...words) as Shell;
}

/** Returns `NAME='value'` lines that a script can read with the `.` command. Quotes every value, so any is safe. */
export function formatAssignments(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", String.raw`'\''`)}'\n`)
    .join('');
}
