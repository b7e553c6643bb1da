import { describeValue, evaluatePipeline } from './evaluate.ts';
import {
  countStep,
  runInScope,
  setVariable,
  startExecution,
  writeText,
  type Execution,
  type ExecutionInput,
} from './execution.ts';
import { isList, isMap, isNil, isTruthy, sortedKeys, type GoValue } from './go-values.ts';
import { formatValue } from './printf.ts';
import { TemplateError } from './template-error.ts';
import type { ControlNode, Pipeline, TemplateNode } from './template-nodes.ts';

/** How the execution of nodes ended. A `range` stops at `break` and goes to its next item at `continue`. */
type ControlFlow = 'end' | 'break' | 'continue';

/** Executes a template and returns its output. Throws TemplateError if the data does not fit or a limit is exceeded. */
export function executeTemplate(template: readonly TemplateNode[], input: ExecutionInput): string {
  const run = startExecution(input);
  executeNodes(run, template, input.data);
  return run.output.join('');
}

function executeNodes(run: Execution, nodes: readonly TemplateNode[], dot: GoValue): ControlFlow {
  for (const node of nodes) {
    countStep(run);
    const flow = executeNode(run, node, dot);
    if (flow !== 'end') return flow;
  }
  return 'end';
}

function executeNode(run: Execution, node: TemplateNode, dot: GoValue): ControlFlow {
  if (node.kind === 'break' || node.kind === 'continue') return node.kind;
  if (node.kind !== 'text' && node.kind !== 'action') return runInScope(run, () => executeControl(run, node, dot));
  if (node.kind === 'text') writeText(run, node.text);
  else executeAction(run, node.pipe, dot);
  return 'end';
}

/** Writes the value of a pipeline, unless the pipeline sets a variable. */
function executeAction(run: Execution, pipe: Pipeline, dot: GoValue): void {
  const value = evaluatePipeline(run, pipe, dot);
  if (pipe.variables.length === 0) writeText(run, isNil(value) ? '<no value>' : formatValue(value));
}

function executeControl(run: Execution, node: ControlNode, dot: GoValue): ControlFlow {
  if (node.kind === 'range') return executeRange(run, node, dot);
  const value = evaluatePipeline(run, node.pipe, dot);
  const innerDot = node.kind === 'with' ? value : dot;
  return isTruthy(value) ? executeNodes(run, node.body, innerDot) : executeNodes(run, node.otherwise, dot);
}

function executeRange(run: Execution, { pipe, body, otherwise }: ControlNode, dot: GoValue): ControlFlow {
  const { assigns, at } = pipe;
  const entries = entriesOf(evaluatePipeline(run, pipe, dot), at);
  for (const [key, item] of entries) {
    const flow = runInScope(run, () => {
      countStep(run);
      for (const [name, value] of bindVariables(pipe.variables, key, item))
        setVariable(run, { name, value, assigns, at });
      return executeNodes(run, body, item);
    });
    if (flow === 'break') break;
  }
  return entries.length > 0 ? 'end' : executeNodes(run, otherwise, dot);
}

/** Returns the items of a list with their indexes, or the values of a map with their keys. */
function entriesOf(value: GoValue, at: number): readonly (readonly [GoValue, GoValue])[] {
  if (isNil(value)) return [];
  if (isList(value)) return value.map((item, index) => [BigInt(index), item]);
  if (isMap(value)) return sortedKeys(value).map((key) => [key, value[key]]);
  throw new TemplateError(`range requires a list or a map, got ${describeValue(value)}`, { at });
}

/** Returns the variables of a `range` with their values. If there are two, the first is the index or the key. */
function bindVariables(names: readonly string[], key: GoValue, item: GoValue): readonly (readonly [string, GoValue])[] {
  const values = names.length > 1 ? [key, item] : [item];
  return names.map((name, index) => [name, values[index]]);
}
