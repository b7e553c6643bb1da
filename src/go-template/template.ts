import { executeTemplate } from './execute.ts';
import { dockerMachineFunctions, type TemplateFunctions } from './functions.ts';
import { tooMuchOutputError } from './template-error.ts';
import { parseNodes } from './parse.ts';
import { fromJson, type NumberMode } from './go-values.ts';

export type RenderOptions = {
  /** The type of the data's numbers; `float64` unless given. */
  readonly numbers?: NumberMode;
  /** Whether a field that the data itself does not have is an error; false unless given. */
  readonly strict?: boolean;
};

export type Template = {
  /** Returns the text. Throws TemplateError where the data does not fit the template. */
  render(data: unknown, options?: RenderOptions): string;
};

/**
 * Parses a template of Go's text/template: all of the language but `define`, `template`, `block` and `call`, which a
 * format of one line has no use for. Throws TemplateError.
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
