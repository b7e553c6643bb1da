/**
 * What stands for zod in the quick answers (`quick.ts`, by build.mjs): declarations as they are written, read without the library, which
 * takes longer to load than Node takes to start. It checks nothing, so only values that can't be wrong are read by it.
 */
export class Declared {
  readonly kind: 'string' | 'int' | 'boolean' | 'choice' | 'list';
  readonly choices: readonly string[];
  /** Without a default an option has to be given, or is undefined where it is optional. */
  initial: unknown;
  mayLack = false;
  said: { readonly flag?: string; readonly short?: string; readonly env?: string } = {};

  constructor(kind: Declared['kind'], choices: readonly string[] = []) {
    this.kind = kind;
    this.choices = choices;
  }

  default(initial: unknown): this {
    this.initial = initial;
    return this.optional();
  }

  optional(): this {
    this.mayLack = true;
    return this;
  }

  meta(said: Declared['said']): this {
    this.said = said;
    return this;
  }

  min(): this {
    return this;
  }

  max(): this {
    return this;
  }
}

export type DeclaredObject = { readonly shape: Readonly<Record<string, Declared>> };

export const z = {
  object: (shape: DeclaredObject['shape']): DeclaredObject => ({ shape }),
  string: (): Declared => new Declared('string'),
  int: (): Declared => new Declared('int'),
  boolean: (): Declared => new Declared('boolean'),
  enum: (choices: readonly string[]): Declared => new Declared('choice', choices),
  array: (): Declared => new Declared('list'),
};
