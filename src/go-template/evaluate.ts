/** The values of pipelines, commands and operands. `dot` is the value that `.` stands for. */
import { countStep, countTexts, findVariable, isStrictMap, setVariable, type Execution } from './execution.ts';
import { builtins, fieldOf } from './functions.ts';
import { isMap, isNil, isTruthy, typeName, type GoMap, type GoValue } from './go-values.ts';
import { TemplateError, withPosition } from './template-error.ts';
import type { FieldAccess, Pipeline, TemplateCommand, TemplateOperand } from './template-nodes.ts';

/** The value that a command gets from the one in front of `|`, if there is one. */
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
  if (first.kind === 'nil') throw new TemplateError('nil alone says nothing', { at });
  if (first.kind === 'fields' || first.kind === 'chain' || first.kind === 'variable') {
    const value = evaluateOperand(run, { ...first, names: first.names.slice(0, -1) } as TemplateOperand, dot);
    const last = first.names.at(-1);
    if (last !== undefined) return evaluateField(run, value, { name: last, at, hasArguments });
    if (!hasArguments) return value;
  }
  if (hasArguments) throw new TemplateError('this is no function, and takes nothing', { at });
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

/** Returns the value that the first field is taken from. */
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
  if (!isMap(value)) throw new TemplateError(`there is no field ${name} in ${describeValue(value)}`, { at });
  if (hasArguments) throw new TemplateError(`.${name} is no function, and takes nothing`, { at });
  if (isStrictMap(run, value) && !Object.hasOwn(value, name)) throw unknownFieldError(value, name, at);
  return fieldOf(value, name);
}

function callFunction(run: Execution, call: FunctionCall, dot: GoValue): GoValue {
  const { name, at, args, piped } = call;
  const { functions } = run;
  const called = Object.hasOwn(functions, name) ? functions[name] : builtins[name];
  if (!called) throw new TemplateError(`there is no function ${name}`, { at });
  const count = args.length + piped.length;
  if (count < called.minArgs || count > (called.maxArgs ?? Infinity)) throw argumentCountError(call, called, count);
  if (name === 'and' || name === 'or') return evaluateLogic(run, call, dot);
  const values = [...args.map((arg) => evaluateOperand(run, arg, dot)), ...piped];
  try {
    countTexts(run, values);
    const result = called.run(values);
    countTexts(run, [result]);
    return result;
  } catch (error) {
    throw withPosition(error, at);
  }
}

/**
 * `and` and `or`: returns the first argument that decides the result, without a look at the others, or else the last
 * one.
 */
function evaluateLogic(run: Execution, { name, args, piped }: FunctionCall, dot: GoValue): GoValue {
  const deciding = name === 'or';
  let value: GoValue;
  for (const arg of args) {
    value = evaluateOperand(run, arg, dot);
    if (isTruthy(value) === deciding) return value;
  }
  return piped.length > 0 ? piped[0] : value;
}

/** Names the kind of a value for a message. */
export function describeValue(value: GoValue): string {
  return isNil(value) ? 'nil' : `a ${typeName(value)}`;
}

function unknownFieldError(data: GoMap, name: string, at: number): TemplateError {
  const known = Object.keys(data).map((key) => `.${key}`);
  return new TemplateError(`there is no field .${name}`, { at, known, word: `.${name}` });
}

function argumentCountError(
  { name, at }: FunctionCall,
  { minArgs, maxArgs }: { readonly minArgs: number; readonly maxArgs: number | undefined },
  count: number,
): TemplateError {
  const expected =
    maxArgs === undefined ? `${minArgs} or more` : minArgs === maxArgs ? String(minArgs) : `${minArgs} to ${maxArgs}`;
  const noun = expected === '1' ? 'value' : 'values';
  return new TemplateError(`${name} takes ${expected} ${noun}, and got ${count}`, { at });
}
