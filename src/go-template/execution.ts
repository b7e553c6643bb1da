import type { TemplateFunctions } from './functions.ts';
import { isMap, type GoMap, type GoValue } from './go-values.ts';
import { MAX_OUTPUT_LENGTH, TemplateError, tooMuchOutputError } from './template-error.ts';

/** Limits the steps of a template, since nested ranges can take years. */
const MAX_STEPS = 1_000_000;

export type ExecutionInput = {
  readonly functions: TemplateFunctions;
  readonly data: GoValue;
  /** Whether an unknown field of `data` is an error, as in Go's structs; otherwise it is `<no value>`, as in maps. */
  readonly strict: boolean;
};

type TemplateVariable = { readonly name: string; value: GoValue };

/** The state of a running template: its data, its variables, and how much of its limits it has used. */
export type Execution = ExecutionInput & {
  /** The innermost variable is last. */
  readonly variables: TemplateVariable[];
  readonly output: string[];
  steps: number;
  /** The number of characters in the output and in intermediate strings. */
  spentLength: number;
};

export function startExecution(input: ExecutionInput): Execution {
  return { ...input, variables: [{ name: '$', value: input.data }], output: [], steps: 0, spentLength: 0 };
}

/** Counts a step. Throws TemplateError at the limit. */
export function countStep(run: Execution): void {
  run.steps += 1;
  if (run.steps > MAX_STEPS) throw new TemplateError('the template takes too many steps');
}

/**
 * Counts the characters of strings. Only strings can grow: lists and maps come from the data, or from split strings.
 */
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
  throw new TemplateError(`${name} is not set here`, { at });
}

/** Assigns to an existing variable (`assigns`), or declares a new one. */
export function setVariable(
  run: Execution,
  { name, value, assigns, at }: { name: string; value: GoValue; assigns: boolean; at: number },
): void {
  if (assigns) findVariable(run, name, at).value = value;
  else declareVariable(run, name, value);
}

/** Runs `work` and removes the variables that it declared. */
export function runInScope<T>({ variables }: Execution, work: () => T): T {
  const { length } = variables;
  const result = work();
  variables.length = length;
  return result;
}

/** Returns whether an unknown field of this value is an error. */
export function isStrictMap({ data, strict }: Execution, value: GoValue): value is GoMap {
  return strict && value === data && isMap(value);
}
