/** Returns the declaration of --format; `example` is a field of the command's own documents. */
export function formatOptionMeta(example: string): {
  readonly description: string;
  readonly short: string;
  readonly value: string;
} {
  return { description: `Format the output with a Go template: {{${example}}}`, short: 'f', value: 'template' };
}
