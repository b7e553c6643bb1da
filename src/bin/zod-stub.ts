/**
 * Replaces zod in the fast path (build.mjs swaps the import): reads the same declarations without the library, which
 * takes longer to load than Node takes to start. It validates nothing, so the fast path accepts only values that can't
 * be wrong.
 */
export class StubSchema {
  readonly kind: 'string' | 'int' | 'boolean' | 'choice' | 'list';
  readonly choices: readonly string[];
  /** Undefined if the option has no default: it is then required, or optional and absent. */
  defaultValue: unknown;
  acceptsUndefined = false;
  metadata: { readonly flag?: string; readonly short?: string; readonly env?: string } = {};

  constructor(kind: StubSchema['kind'], choices: readonly string[] = []) {
    this.kind = kind;
    this.choices = choices;
  }

  default(value: unknown): this {
    this.defaultValue = value;
    return this.optional();
  }

  optional(): this {
    this.acceptsUndefined = true;
    return this;
  }

  meta(metadata: StubSchema['metadata']): this {
    this.metadata = metadata;
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
