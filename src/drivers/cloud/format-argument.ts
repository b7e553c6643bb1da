/** Formats a value for a command that the user may paste: in quotes if a shell would interpret it. */
export function formatArgument(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", String.raw`'\''`)}'`;
}
