import { builtins, fieldOf, type TemplateFunctions } from './functions.ts';
import { MAX_OUTPUT_LENGTH, withPosition, TemplateError, tooMuchOutputError } from './template-error.ts';
import type { TemplateCommand, TemplateNode, TemplateOperand, Pipeline } from './parse.ts';
import { formatValue } from './printf.ts';
import { isList, isMap, isNil, isTruthy, sortedKeys, typeName, type GoMap, type GoValue } from './go-values.ts';

/** Ranges within ranges end, but not before the sun does. */
const MAX_STEPS = 1_000_000;

export type ExecutionInput = {
  readonly functions: TemplateFunctions;
  readonly data: GoValue;
  /** A field that the data itself lacks is a mistake, as in a struct of Go, and not `<no value>`, as in a map. */
  readonly strict: boolean;
};

/** What a list of nodes ended with: a range goes by it. */
type ControlFlow = 'end' | 'break' | 'continue';
type TemplateVariable = { readonly name: string; value: GoValue };
/** What a command got from the one in front of the bar; there may be none. */
type PipedValue = readonly [GoValue] | readonly [];

export function executeTemplate(
  template: readonly TemplateNode[],
  { functions, data, strict }: ExecutionInput,
): string {
  const variables: TemplateVariable[] = [{ name: '$', value: data }];
  const out: string[] = [];
  let steps = 0;
  let made = 0;

  function step(): void {
    steps += 1;
    if (steps > MAX_STEPS) throw new TemplateError('it works for too long');
  }

  function spend(length: number): void {
    made += length;
    if (made > MAX_OUTPUT_LENGTH) throw tooMuchOutputError();
  }

  function write(text: string): void {
    spend(text.length);
    out.push(text);
  }

  function walk(nodes: readonly TemplateNode[], dot: GoValue): ControlFlow {
    for (const node of nodes) {
      step();
      const ended = walkNode(node, dot);
      if (ended !== 'end') return ended;
    }
    return 'end';
  }

  function walkNode(node: TemplateNode, dot: GoValue): ControlFlow {
    if (node.kind === 'break' || node.kind === 'continue') return node.kind;
    if (node.kind !== 'text' && node.kind !== 'action') return scoped(() => walkControl(node, dot));
    if (node.kind === 'text') write(node.text);
    else walkAction(node.pipe, dot);
    return 'end';
  }

  function walkAction(pipe: Pipeline, dot: GoValue): void {
    const value = pipeline(pipe, dot);
    if (pipe.variables.length === 0) write(isNil(value) ? '<no value>' : formatValue(value));
  }

  function scoped<T>(work: () => T): T {
    const { length } = variables;
    const result = work();
    variables.length = length;
    return result;
  }

  function walkControl(node: Extract<TemplateNode, { readonly body: unknown }>, dot: GoValue): ControlFlow {
    if (node.kind === 'range') return walkRange(node, dot);
    const value = pipeline(node.pipe, dot);
    const inner = node.kind === 'with' ? value : dot;
    return isTruthy(value) ? walk(node.body, inner) : walk(node.otherwise, dot);
  }

  function walkRange(
    { pipe, body, otherwise }: Extract<TemplateNode, { readonly body: unknown }>,
    dot: GoValue,
  ): ControlFlow {
    const value = pipeline(pipe, dot);
    const all = entriesOf(value, pipe.at);
    const { length } = variables;
    for (const [key, item] of all) {
      step();
      for (const [name, mine] of bindVariables(pipe.variables, key, item)) {
        if (pipe.assigns) assign(name, mine, pipe.at);
        else declare(name, mine);
      }
      const ended = walk(body, item);
      variables.length = length;
      if (ended === 'break') break;
    }
    return all.length > 0 ? 'end' : walk(otherwise, dot);
  }

  function declare(name: string, value: GoValue): void {
    variables.push({ name, value });
  }

  function assign(name: string, value: GoValue, at: number): void {
    variable(name, at).value = value;
  }

  function variable(name: string, at: number): TemplateVariable {
    const found = variables.findLast((candidate) => candidate.name === name);
    if (found) return found;
    throw new TemplateError(`${name} has no value here`, { at });
  }

  function pipeline({ commands, variables: names, assigns, at }: Pipeline, dot: GoValue): GoValue {
    let final: PipedValue = [];
    for (const each of commands) final = [command(each, dot, final) ?? undefined];
    const [value] = final;
    for (const name of names) {
      if (assigns) assign(name, value, at);
      else declare(name, value);
    }
    return value;
  }

  function command({ words: [first, ...args] }: TemplateCommand, dot: GoValue, final: PipedValue): GoValue {
    if (first === undefined) return undefined;
    if (first.kind === 'function') return call(first.name, args, dot, final, first.at);
    const given = args.length + final.length > 0;
    if (first.kind === 'nil') throw new TemplateError('nil alone says nothing', { at: first.at });
    if (first.kind === 'fields' || first.kind === 'chain' || first.kind === 'variable') {
      const value = operand({ ...first, names: first.names.slice(0, -1) } as TemplateOperand, dot);
      const last = first.names.at(-1);
      if (last !== undefined) return field(value, last, first.at, given);
      if (!given) return value;
    }
    if (given) throw new TemplateError('this is no function, and takes nothing', { at: first.at });
    return operand(first, dot);
  }

  function operand(word: TemplateOperand, dot: GoValue): GoValue {
    step();
    if (word.kind === 'literal') return word.value;
    if (word.kind === 'nil') return null;
    if (word.kind === 'dot') return dot;
    if (word.kind === 'function') return call(word.name, [], dot, [], word.at);
    if (word.kind === 'pipe') return pipeline(word.pipe, dot);
    return word.names.reduce<GoValue>((value, name) => field(value, name, word.at, false), beginning(word, dot));
  }

  function beginning(word: Extract<TemplateOperand, { readonly names: unknown }>, dot: GoValue): GoValue {
    if (word.kind === 'fields') return dot;
    return word.kind === 'variable' ? variable(word.name, word.at).value : operand(word.of, dot);
  }

  function field(value: GoValue, name: string, at: number, given: boolean): GoValue {
    if (value === undefined) return undefined;
    if (!isMap(value)) throw new TemplateError(`there is no field ${name} in ${describeValue(value)}`, { at });
    if (given) throw new TemplateError(`.${name} is no function, and takes nothing`, { at });
    if (strict && value === data && !Object.hasOwn(value, name)) throw unknownFieldError(value, name, at);
    return fieldOf(value, name);
  }

  function call(name: string, args: readonly TemplateOperand[], dot: GoValue, final: PipedValue, at: number): GoValue {
    const found = Object.hasOwn(functions, name) ? functions[name] : builtins[name];
    if (!found) throw new TemplateError(`there is no function ${name}`, { at });
    const { minArgs, maxArgs, run } = found;
    const count = args.length + final.length;
    if (count < minArgs || count > (maxArgs ?? Infinity)) throw argumentCountError(name, minArgs, maxArgs, count, at);
    if (name === 'and' || name === 'or') return decided(name === 'or', args, dot, final);
    const values = [...args.map((arg) => operand(arg, dot)), ...final];
    try {
      weigh(values);
      const result = run(values);
      weigh([result]);
      return result;
    } catch (error) {
      throw withPosition(error, at);
    }
  }

  function decided(by: boolean, args: readonly TemplateOperand[], dot: GoValue, final: PipedValue): GoValue {
    let value: GoValue;
    for (const arg of args) {
      value = operand(arg, dot);
      if (isTruthy(value) === by) return value;
    }
    return final.length > 0 ? final[0] : value;
  }

  /** Texts alone grow; lists and maps are the data's, or pieces of a text. */
  function weigh(values: readonly GoValue[]): void {
    for (const value of values) if (typeof value === 'string') spend(value.length);
  }

  walk(template, data);
  return out.join('');
}

function entriesOf(value: GoValue, at: number): readonly (readonly [GoValue, GoValue])[] {
  if (isNil(value)) return [];
  if (isList(value)) return value.map((item, index) => [BigInt(index), item]);
  if (isMap(value)) return sortedKeys(value).map((key) => [key, value[key]]);
  throw new TemplateError(`range walks through lists and maps, and this is ${describeValue(value)}`, { at });
}

/** With two variables, the first is the place or the key. */
function bindVariables(names: readonly string[], key: GoValue, item: GoValue): readonly (readonly [string, GoValue])[] {
  const values = names.length > 1 ? [key, item] : [item];
  return names.map((name, index) => [name, values[index]]);
}

function describeValue(value: GoValue): string {
  return isNil(value) ? 'nil' : `a ${typeName(value)}`;
}

function unknownFieldError(data: GoMap, name: string, at: number): TemplateError {
  const known = Object.keys(data).map((key) => `.${key}`);
  return new TemplateError(`there is no field .${name}`, { at, known, word: `.${name}` });
}

function argumentCountError(
  name: string,
  least: number,
  most: number | undefined,
  count: number,
  at: number,
): TemplateError {
  const wanted = most === undefined ? `${least} or more` : least === most ? String(least) : `${least} to ${most}`;
  return new TemplateError(`${name} takes ${wanted} ${wanted === '1' ? 'value' : 'values'}, and got ${count}`, { at });
}
