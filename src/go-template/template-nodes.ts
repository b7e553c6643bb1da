/** The nodes of a parsed template. `at` is a position in the template's text, from 0. */
import type { GoValue } from './go-values.ts';

export type TemplateNode =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipe: Pipeline }
  | ControlNode
  | { readonly kind: 'break' }
  | { readonly kind: 'continue' };

export type ControlKeyword = 'if' | 'range' | 'with';

export type ControlNode = {
  readonly kind: ControlKeyword;
  readonly pipe: Pipeline;
  readonly body: readonly TemplateNode[];
  /** The nodes after `else`. */
  readonly otherwise: readonly TemplateNode[];
};

export type Pipeline = {
  readonly at: number;
  /** The variables that are set to the pipeline's value. */
  readonly variables: readonly string[];
  /** Whether the variables already exist (`=`); `:=` declares new ones. */
  readonly assigns: boolean;
  readonly commands: readonly TemplateCommand[];
};

/** The first word is the function or the value, the others are its arguments. */
export type TemplateCommand = { readonly at: number; readonly words: readonly TemplateOperand[] };

export type TemplateOperand = { readonly at: number } & (
  | { readonly kind: 'literal'; readonly value: GoValue }
  | { readonly kind: 'nil' }
  | { readonly kind: 'dot' }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'pipe'; readonly pipe: Pipeline }
  | FieldAccess
);

/** `.a.b`, `$x.a.b` or `(…).a.b`: `names` are the fields, `a` and `b`. */
export type FieldAccess =
  | { readonly kind: 'fields'; readonly names: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly names: readonly string[] }
  | { readonly kind: 'chain'; readonly of: TemplateOperand; readonly names: readonly string[] };
