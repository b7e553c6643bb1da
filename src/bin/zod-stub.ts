/**
 * What stands for zod in the quick answers (`quick.ts`, by build.mjs): declarations as they are written, read without
 * the library, which takes longer to load than Node takes to start. It checks nothing, so only values that can't be
 * wrong are read by it.
 */
export class StubSchema {
  readonly kind: 'string' | 'int' | 'boolean' | 'choice' | 'list';
  readonly choices: readonly string[];
  /** Without a default an option has to be given, or is undefined where it is optional. */
  defaultValue: unknown;
  acceptsUndefined = false;
  metadata: { readonly flag?: string; readonly short?: string; readonly env?: string } = {};

  constructor(kind: StubSchema['kind'], choices: readonly string[] = []) {
    this.kind = kind;
    this.choices = choices;
  }

  default(initial: unknown): this {
    this.defaultValue = initial;
    return this.optional();
  }

  optional(): this {
    this.acceptsUndefined = true;
    return this;
  }

  meta(said: StubSchema['metadata']): this {
    this.metadata = said;
    return this;
  }

  min(): this {
    return this;
  }

  max(): this {
    return this;
  }
}

export type StubObject = { readonly shape: Readonly<Record<string, StubSchema>> };

export const z = {
  object: (shape: StubObject['shape']): StubObject => ({ shape }),
  string: (): StubSchema => new StubSchema('string'),
  int: (): StubSchema => new StubSchema('int'),
  boolean: (): StubSchema => new StubSchema('boolean'),
  enum: (choices: readonly string[]): StubSchema => new StubSchema('choice', choices),
  array: (): StubSchema => new StubSchema('list'),
};
