import { executeTemplate } from './execute.ts';
import { dockerMachineFunctions, type TemplateFunctions } from './functions.ts';
import { tooMuchOutputError } from './template-error.ts';
import { parseNodes } from './parse.ts';
import { fromJson, type NumberMode } from './go-values.ts';

export type RenderOptions = {
  /** What numbers of the data are; `float64` as Go decodes JSON. */
  readonly numbers?: NumberMode;
  /** Refuses fields that the data itself lacks. */
  readonly strict?: boolean;
};

export type Template = {
  /** Throws TemplateError where the data does not allow what is asked of it. */
  render(data: unknown, manner?: RenderOptions): string;
};

/**
 * A template of Go's text/template over plain data: all of the language but `define`, `template`, `block` and `call`, which a
 * format of one line has no use for. Throws TemplateError.
 */
export function parseTemplate(text: string, functions: TemplateFunctions = dockerMachineFunctions): Template {
  const nodes = parseNodes(text, functions);
  return {
    render(data, { numbers = 'float64', strict = false } = {}) {
      try {
        return executeTemplate(nodes, { functions, data: fromJson(data, numbers), strict });
      } catch (error) {
        // Texts longer than the engine has, and data that is nested deeper than its stack.
        if (error instanceof RangeError) throw tooMuchOutputError();
        throw error;
      }
    },
  };
}
