/** An error in a template, or in its use of the data. Any other error from this folder is a bug. */
export class TemplateError extends Error {
  /** The position in the template, in characters from 0. */
  readonly at: number | undefined;
  /** If the error is an unknown word, the known words: the caller suggests the nearest one. */
  readonly known: readonly string[];
  /** The unknown word. */
  readonly word: string | undefined;

  constructor(
    message: string,
    details: { readonly at?: number; readonly known?: readonly string[]; readonly word?: string } = {},
  ) {
    super(message);
    this.name = 'TemplateError';
    this.at = details.at;
    this.known = details.known ?? [];
    this.word = details.word;
  }
}

/** Adds a position to an error from a function, which does not know its position in the template. */
export function withPosition(error: unknown, at: number): unknown {
  if (!(error instanceof TemplateError) || error.at !== undefined) return error;
  return new TemplateError(error.message, {
    at,
    known: error.known,
    ...(error.word === undefined ? {} : { word: error.word }),
  });
}

/**
 * Limits the output, in characters. No format prints that much; a template that doubles a string in a loop exceeds it.
 */
export const MAX_OUTPUT_LENGTH = 2 ** 24;

export function tooMuchOutputError(): TemplateError {
  return new TemplateError('the output is too long');
}
