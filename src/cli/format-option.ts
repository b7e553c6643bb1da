/** How a command declares it, with what one would write in the braces there. */
export function formatOptionMeta(example: string): {
  readonly description: string;
  readonly short: string;
  readonly value: string;
} {
  return { description: `Print by a Go template instead: {{${example}}}`, short: 'f', value: 'template' };
}
