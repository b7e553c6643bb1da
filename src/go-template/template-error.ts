/** What is wrong with a template, or with what it asks of its data. Anything else thrown by this room is a bug. */
export class TemplateError extends Error {
  /** Where in the template, counted in characters from 0. */
  readonly at: number | undefined;
  /** Words of which one was meant, where it is such a mistake. */
  readonly known: readonly string[];
  /** The word that was written in the place of one of them. */
  readonly word: string | undefined;

  constructor(
    message: string,
    more: { readonly at?: number; readonly known?: readonly string[]; readonly word?: string } = {},
  ) {
    super(message);
    this.name = 'TemplateError';
    this.at = more.at;
    this.known = more.known ?? [];
    this.word = more.word;
  }
}

/** The same mistake, at the place of the template from which the work was asked for that found it. */
export function withPosition(error: unknown, at: number): unknown {
  if (!(error instanceof TemplateError) || error.at !== undefined) return error;
  return new TemplateError(error.message, {
    at,
    known: error.known,
    ...(error.word === undefined ? {} : { word: error.word }),
  });
}

/** Nobody asks for more, and who makes more of it by doubling is stopped in time. */
export const MAX_OUTPUT_LENGTH = 2 ** 24;

export function tooMuchOutputError(): TemplateError {
  return new TemplateError('it makes more text than any machine has to tell');
}
