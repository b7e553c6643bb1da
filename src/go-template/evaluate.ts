/** Evaluates pipelines, commands and operands. `dot` is the value of `.`. */
import { countStep, countTexts, findVariable, isStrictMap, setVariable, type Execution } from './execution.ts';
import { builtins, fieldOf } from './functions.ts';
import { isMap, isNil, isTruthy, typeName, type GoMap, type GoValue } from './go-values.ts';
import { TemplateError, withPosition } from './template-error.ts';
import type { FieldAccess, Pipeline, TemplateCommand, TemplateOperand } from './template-nodes.ts';

/** The value of the command before `|`, which the next command gets as its last argument; empty for the first one. */
type PipedValue = readonly [GoValue] | readonly [];

type FunctionCall = {
  readonly name: string;
  readonly at: number;
  readonly args: readonly TemplateOperand[];
  readonly piped: PipedValue;
};

export function evaluatePipeline(run: Execution, pipeline: Pipeline, dot: GoValue): GoValue {
  const { commands, variables, assigns, at } = pipeline;
  let piped: PipedValue = [];
  for (const command of commands) piped = [evaluateCommand(run, command, dot, piped) ?? undefined];
  const [value] = piped;
  for (const name of variables) setVariable(run, { name, value, assigns, at });
  return value;
}

function evaluateCommand(run: Execution, { words }: TemplateCommand, dot: GoValue, piped: PipedValue): GoValue {
  const [first, ...args] = words;
  if (first === undefined) return undefined;
  const { at } = first;
  if (first.kind === 'function') return callFunction(run, { name: first.name, at, args, piped }, dot);
  const hasArguments = args.length + piped.length > 0;
  if (first.kind === 'nil') throw new TemplateError('nil is not a command', { at });
  if (first.kind === 'fields' || first.kind === 'chain' || first.kind === 'variable') {
    const value = evaluateOperand(run, { ...first, names: first.names.slice(0, -1) } as TemplateOperand, dot);
    const last = first.names.at(-1);
    if (last !== undefined) return evaluateField(run, value, { name: last, at, hasArguments });
    if (!hasArguments) return value;
  }
  if (hasArguments) throw new TemplateError('this is not a function, so it takes no arguments', { at });
  return evaluateOperand(run, first, dot);
}

function evaluateOperand(run: Execution, word: TemplateOperand, dot: GoValue): GoValue {
  countStep(run);
  const { at } = word;
  if (word.kind === 'literal') return word.value;
  if (word.kind === 'nil') return null;
  if (word.kind === 'dot') return dot;
  if (word.kind === 'function') return callFunction(run, { name: word.name, at, args: [], piped: [] }, dot);
  if (word.kind === 'pipe') return evaluatePipeline(run, word.pipe, dot);
  const start = evaluateStart(run, word, dot);
  return word.names.reduce<GoValue>(
    (value, name) => evaluateField(run, value, { name, at, hasArguments: false }),
    start,
  );
}

/** Returns the value on which the first field is looked up. */
function evaluateStart(run: Execution, word: FieldAccess & { readonly at: number }, dot: GoValue): GoValue {
  if (word.kind === 'fields') return dot;
  return word.kind === 'variable' ? findVariable(run, word.name, word.at).value : evaluateOperand(run, word.of, dot);
}

function evaluateField(
  run: Execution,
  value: GoValue,
  { name, at, hasArguments }: { readonly name: string; readonly at: number; readonly hasArguments: boolean },
): GoValue {
  if (value === undefined) return undefined;
  if (!isMap(value)) throw new TemplateError(`${describeValue(value)} has no field ${name}`, { at });
  if (hasArguments) throw new TemplateError(`.${name} is not a function, so it takes no arguments`, { at });
  if (isStrictMap(run, value) && !Object.hasOwn(value, name)) throw unknownFieldError(value, name, at);
  return fieldOf(value, name);
}

function callFunction(run: Execution, call: FunctionCall, dot: GoValue): GoValue {
  const { name, at, args, piped } = call;
  const { functions } = run;
  const definition = Object.hasOwn(functions, name) ? functions[name] : builtins[name];
  if (!definition) throw new TemplateError(`unknown function ${name}`, { at });
  const count = args.length + piped.length;
  if (count < definition.minArgs || count > (definition.maxArgs ?? Infinity))
    throw argumentCountError(call, definition, count);
  if (name === 'and' || name === 'or') return evaluateLogic(run, call, dot);
  const values = [...args.map((arg) => evaluateOperand(run, arg, dot)), ...piped];
  try {
    countTexts(run, values);
    const result = definition.run(values);
    countTexts(run, [result]);
    return result;
  } catch (error) {
    throw withPosition(error, at);
  }
}

/**
 * Evaluates `and` or `or`: returns the first argument that decides the result, without evaluating the others. If none
 * does, returns the last one.
 */
function evaluateLogic(run: Execution, { name, args, piped }: FunctionCall, dot: GoValue): GoValue {
  const decisiveValue = name === 'or';
  let value: GoValue;
  for (const arg of args) {
    value = evaluateOperand(run, arg, dot);
    if (isTruthy(value) === decisiveValue) return value;
  }
  return piped.length > 0 ? piped[0] : value;
}

/** Describes a value's type for a message: `nil`, `a string`. */
export function describeValue(value: GoValue): string {
  return isNil(value) ? 'nil' : `a ${typeName(value)}`;
}

function unknownFieldError(data: GoMap, name: string, at: number): TemplateError {
  const known = Object.keys(data).map((key) => `.${key}`);
  return new TemplateError(`unknown field .${name}`, { at, known, word: `.${name}` });
}

function argumentCountError(
  { name, at }: FunctionCall,
  { minArgs, maxArgs }: { readonly minArgs: number; readonly maxArgs: number | undefined },
  count: number,
): TemplateError {
  const expected =
    maxArgs === undefined ? `${minArgs} or more` : minArgs === maxArgs ? String(minArgs) : `${minArgs} to ${maxArgs}`;
  const noun = expected === '1' ? 'argument' : 'arguments';
  return new TemplateError(`${name} takes ${expected} ${noun}, got ${count}`, { at });
}
