import { executeTemplate } from './execute.ts';
import { dockerMachineFunctions, type TemplateFunctions } from './functions.ts';
import { tooMuchOutputError } from './template-error.ts';
import { parseNodes } from './parse.ts';
import { fromJson, type NumberMode } from './go-values.ts';

export type RenderOptions = {
  /** The type of the data's numbers; `float64` by default. */
  readonly numbers?: NumberMode;
  /** Whether an unknown field of the data is an error; false by default. */
  readonly strict?: boolean;
};

export type Template = {
  /** Returns the output. Throws TemplateError if the data does not fit the template. */
  render(data: unknown, options?: RenderOptions): string;
};

/**
 * Parses a template of Go's text/template. Supports the whole language except `define`, `template`, `block` and `call`,
 * which are not useful in a one-line format. Throws TemplateError.
 */
export function parseTemplate(text: string, functions: TemplateFunctions = dockerMachineFunctions): Template {
  const nodes = parseNodes(text, functions);
  return {
    render(data, { numbers = 'float64', strict = false } = {}) {
      try {
        return executeTemplate(nodes, { functions, data: fromJson(data, numbers), strict });
      } catch (error) {
        // JavaScript throws RangeError for texts longer than it supports, and for data nested deeper than its stack.
        if (error instanceof RangeError) throw tooMuchOutputError();
        throw error;
      }
    },
  };
}
