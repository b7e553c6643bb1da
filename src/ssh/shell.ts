/**
 * The only maker of command lines that a POSIX shell will read. Secrets never enter one: they travel over stdin.
 */

declare const brand: unique symbol;
/**
 * A command line in which every value is quoted. Only `sh` makes one, so a plain string does not compile as a command.
 */
export type Shell = string & { readonly [brand]: 'shell' };

/** Quotes one word for a POSIX shell; words that need no quotes stay readable. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** A command line to copy into a POSIX shell. */
export function toCommandLine(argv: readonly string[]): string {
  return argv.map(quote).join(' ');
}

/** sh`echo ${value}`: each value becomes one quoted word, an array becomes one word for each of its items. */
export function sh(strings: TemplateStringsArray, ...values: readonly (string | readonly string[])[]): Shell {
  const words = values.map((value) => (typeof value === 'string' ? quote(value) : value.map(quote).join(' ')));
  return String.raw({ raw: strings.raw }, ...words) as Shell;
}

/**
 * A file of `NAME='value'` lines for a script to read with the `.` command. Always quoted, so it survives any value.
 */
export function formatAssignments(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll("'", String.raw`'\''`)}'\n`)
    .join('');
}
