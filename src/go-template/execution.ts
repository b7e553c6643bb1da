import type { TemplateFunctions } from './functions.ts';
import { isMap, type GoMap, type GoValue } from './go-values.ts';
import { MAX_OUTPUT_LENGTH, TemplateError, tooMuchOutputError } from './template-error.ts';

/** Ranges within ranges end, but some only after years: a template that takes more steps is refused. */
const MAX_STEPS = 1_000_000;

export type ExecutionInput = {
  readonly functions: TemplateFunctions;
  readonly data: GoValue;
  /**
   * Whether a field that the data itself does not have is an error, as in a struct of Go; else it is `<no value>`, as
   * in a map.
   */
  readonly strict: boolean;
};

type TemplateVariable = { readonly name: string; value: GoValue };

/** What a running template has: its data, its variables and how much of its limits it has used. */
export type Execution = ExecutionInput & {
  /** The innermost variable is last. */
  readonly variables: TemplateVariable[];
  readonly output: string[];
  steps: number;
  /** Characters that were written, or made on the way. */
  spentLength: number;
};

export function startExecution(input: ExecutionInput): Execution {
  return { ...input, variables: [{ name: '$', value: input.data }], output: [], steps: 0, spentLength: 0 };
}

/** Counts a step. Throws where the template has taken too many. */
export function countStep(run: Execution): void {
  run.steps += 1;
  if (run.steps > MAX_STEPS) throw new TemplateError('it works for too long');
}

/** Counts the texts among these values. Only texts grow: lists and maps are the data's, or pieces of a text. */
export function countTexts(run: Execution, values: readonly GoValue[]): void {
  for (const value of values) if (typeof value === 'string') countLength(run, value.length);
}

function countLength(run: Execution, length: number): void {
  run.spentLength += length;
  if (run.spentLength > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
}

export function writeText(run: Execution, text: string): void {
  countLength(run, text.length);
  run.output.push(text);
}

export function declareVariable({ variables }: Execution, name: string, value: GoValue): void {
  variables.push({ name, value });
}

export function findVariable({ variables }: Execution, name: string, at: number): TemplateVariable {
  const variable = variables.findLast((candidate) => candidate.name === name);
  if (variable) return variable;
  throw new TemplateError(`${name} has no value here`, { at });
}

/** Sets a variable that exists (`assigns`), or declares a new one. */
export function setVariable(
  run: Execution,
  { name, value, assigns, at }: { name: string; value: GoValue; assigns: boolean; at: number },
): void {
  if (assigns) findVariable(run, name, at).value = value;
  else declareVariable(run, name, value);
}

/** Runs `work`, and forgets the variables that it declared. */
export function runInScope<T>({ variables }: Execution, work: () => T): T {
  const { length } = variables;
  const result = work();
  variables.length = length;
  return result;
}

/** Whether a field that this map does not have is an error. */
export function isStrictMap({ data, strict }: Execution, value: GoValue): value is GoMap {
  return strict && value === data && isMap(value);
}
