import { executed } from './execute.ts';
import { oldFunctions, type Functions } from './functions.ts';
import { tooMuch } from './mistake.ts';
import { parsed } from './parse.ts';
import { fromJson, type Numbers } from './values.ts';

export type RenderManner = {
  /** What numbers of the data are; `float64` as Go decodes JSON. */
  readonly numbers?: Numbers;
  /** Refuses fields that the data itself lacks. */
  readonly strict?: boolean;
};

export type Template = {
  /** Throws TemplateError where the data does not allow what is asked of it. */
  render(data: unknown, manner?: RenderManner): string;
};

/**
 * A template of Go's text/template over plain data: all of the language but `define`, `template`, `block` and `call`, which a
 * format of one line has no use for. Throws TemplateError.
 */
export function parseTemplate(text: string, functions: Functions = oldFunctions): Template {
  const nodes = parsed(text, functions);
  return {
    render(data, { numbers = 'float64', strict = false } = {}) {
      try {
        return executed(nodes, { functions, data: fromJson(data, numbers), strict });
      } catch (error) {
        // Texts longer than the engine has, and data that is nested deeper than its stack.
        if (error instanceof RangeError) throw tooMuch();
        throw error;
      }
    },
  };
}
