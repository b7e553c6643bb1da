/** An error of a template, or of what it asks of its data. Any other error that this folder throws is a bug. */
export class TemplateError extends Error {
  /** The position in the template, in characters from 0. */
  readonly at: number | undefined;
  /** The words that are known, where the error is an unknown one: the caller suggests the nearest. */
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

/** Returns the error with a position: a function does not know where in the template it was called. */
export function withPosition(error: unknown, at: number): unknown {
  if (!(error instanceof TemplateError) || error.at !== undefined) return error;
  return new TemplateError(error.message, {
    at,
    known: error.known,
    ...(error.word === undefined ? {} : { word: error.word }),
  });
}

/**
 * In characters: far more than any format prints, and little enough to stop a template that doubles a text in a loop.
 */
export const MAX_OUTPUT_LENGTH = 2 ** 24;

export function tooMuchOutputError(): TemplateError {
  return new TemplateError('it makes more text than any machine has to tell');
}
