import { builtins, valueAt, type Functions } from './functions.ts';
import { LARGEST, located, TemplateError, tooMuch } from './mistake.ts';
import type { Command, Node, Operand, Pipe } from './parse.ts';
import { printed } from './print.ts';
import { isList, isMap, isNil, isTrue, sortedKeys, typeName, type GoMap, type Value } from './values.ts';

/** Ranges within ranges end, but not before the sun does. */
const MOST_STEPS = 1_000_000;

export type Execution = {
  readonly functions: Functions;
  readonly data: Value;
  /** A field that the data itself lacks is a mistake, as in a struct of Go, and not `<no value>`, as in a map. */
  readonly strict: boolean;
};

/** What a list of nodes ended with: a range goes by it. */
type Ended = 'end' | 'break' | 'continue';
type Variable = { readonly name: string; value: Value };
/** What a command got from the one in front of the bar; there may be none. */
type Final = readonly [Value] | readonly [];

export function executed(template: readonly Node[], { functions, data, strict }: Execution): string {
  const variables: Variable[] = [{ name: '$', value: data }];
  const out: string[] = [];
  let steps = 0;
  let made = 0;

  function step(): void {
    steps += 1;
    if (steps > MOST_STEPS) throw new TemplateError('it works for too long');
  }

  function spend(length: number): void {
    made += length;
    if (made > LARGEST) throw tooMuch();
  }

  function write(text: string): void {
    spend(text.length);
    out.push(text);
  }

  function walk(nodes: readonly Node[], dot: Value): Ended {
    for (const node of nodes) {
      step();
      const ended = walkNode(node, dot);
      if (ended !== 'end') return ended;
    }
    return 'end';
  }

  function walkNode(node: Node, dot: Value): Ended {
    if (node.kind === 'break' || node.kind === 'continue') return node.kind;
    if (node.kind !== 'text' && node.kind !== 'action') return scoped(() => walkControl(node, dot));
    if (node.kind === 'text') write(node.text);
    else walkAction(node.pipe, dot);
    return 'end';
  }

  function walkAction(pipe: Pipe, dot: Value): void {
    const value = pipeline(pipe, dot);
    if (pipe.variables.length === 0) write(isNil(value) ? '<no value>' : printed(value));
  }

  function scoped<T>(work: () => T): T {
    const { length } = variables;
    const result = work();
    variables.length = length;
    return result;
  }

  function walkControl(node: Extract<Node, { readonly body: unknown }>, dot: Value): Ended {
    if (node.kind === 'range') return walkRange(node, dot);
    const value = pipeline(node.pipe, dot);
    const inner = node.kind === 'with' ? value : dot;
    return isTrue(value) ? walk(node.body, inner) : walk(node.otherwise, dot);
  }

  function walkRange({ pipe, body, otherwise }: Extract<Node, { readonly body: unknown }>, dot: Value): Ended {
    const value = pipeline(pipe, dot);
    const all = entries(value, pipe.at);
    const { length } = variables;
    for (const [key, item] of all) {
      step();
      for (const [name, mine] of named(pipe.variables, key, item)) {
        if (pipe.assigns) assign(name, mine, pipe.at);
        else declare(name, mine);
      }
      const ended = walk(body, item);
      variables.length = length;
      if (ended === 'break') break;
    }
    return all.length > 0 ? 'end' : walk(otherwise, dot);
  }

  function declare(name: string, value: Value): void {
    variables.push({ name, value });
  }

  function assign(name: string, value: Value, at: number): void {
    variable(name, at).value = value;
  }

  function variable(name: string, at: number): Variable {
    const found = variables.findLast((candidate) => candidate.name === name);
    if (found) return found;
    throw new TemplateError(`${name} has no value here`, { at });
  }

  function pipeline({ commands, variables: names, assigns, at }: Pipe, dot: Value): Value {
    let final: Final = [];
    for (const each of commands) final = [command(each, dot, final) ?? undefined];
    const [value] = final;
    for (const name of names) {
      if (assigns) assign(name, value, at);
      else declare(name, value);
    }
    return value;
  }

  function command({ words: [first, ...args] }: Command, dot: Value, final: Final): Value {
    if (first === undefined) return undefined;
    if (first.kind === 'function') return call(first.name, args, dot, final, first.at);
    const given = args.length + final.length > 0;
    if (first.kind === 'nil') throw new TemplateError('nil alone says nothing', { at: first.at });
    if (first.kind === 'fields' || first.kind === 'chain' || first.kind === 'variable') {
      const value = operand({ ...first, names: first.names.slice(0, -1) } as Operand, dot);
      const last = first.names.at(-1);
      if (last !== undefined) return field(value, last, first.at, given);
      if (!given) return value;
    }
    if (given) throw new TemplateError('this is no function, and takes nothing', { at: first.at });
    return operand(first, dot);
  }

  function operand(word: Operand, dot: Value): Value {
    step();
    if (word.kind === 'literal') return word.value;
    if (word.kind === 'nil') return null;
    if (word.kind === 'dot') return dot;
    if (word.kind === 'function') return call(word.name, [], dot, [], word.at);
    if (word.kind === 'pipe') return pipeline(word.pipe, dot);
    return word.names.reduce<Value>((value, name) => field(value, name, word.at, false), beginning(word, dot));
  }

  function beginning(word: Extract<Operand, { readonly names: unknown }>, dot: Value): Value {
    if (word.kind === 'fields') return dot;
    return word.kind === 'variable' ? variable(word.name, word.at).value : operand(word.of, dot);
  }

  function field(value: Value, name: string, at: number, given: boolean): Value {
    if (value === undefined) return undefined;
    if (!isMap(value)) throw new TemplateError(`there is no field ${name} in ${described(value)}`, { at });
    if (given) throw new TemplateError(`.${name} is no function, and takes nothing`, { at });
    if (strict && value === data && !Object.hasOwn(value, name)) throw unknownField(value, name, at);
    return valueAt(value, name);
  }

  function call(name: string, args: readonly Operand[], dot: Value, final: Final, at: number): Value {
    const found = Object.hasOwn(functions, name) ? functions[name] : builtins[name];
    if (!found) throw new TemplateError(`there is no function ${name}`, { at });
    const { least, most, run } = found;
    const count = args.length + final.length;
    if (count < least || count > (most ?? Infinity)) throw wrongCount(name, least, most, count, at);
    if (name === 'and' || name === 'or') return decided(name === 'or', args, dot, final);
    const values = [...args.map((arg) => operand(arg, dot)), ...final];
    try {
      weigh(values);
      const result = run(values);
      weigh([result]);
      return result;
    } catch (error) {
      throw located(error, at);
    }
  }

  function decided(by: boolean, args: readonly Operand[], dot: Value, final: Final): Value {
    let value: Value;
    for (const arg of args) {
      value = operand(arg, dot);
      if (isTrue(value) === by) return value;
    }
    return final.length > 0 ? final[0] : value;
  }

  /** Texts alone grow; lists and maps are the data’s, or pieces of a text. */
  function weigh(values: readonly Value[]): void {
    for (const value of values) if (typeof value === 'string') spend(value.length);
  }

  walk(template, data);
  return out.join('');
}

function entries(value: Value, at: number): readonly (readonly [Value, Value])[] {
  if (isNil(value)) return [];
  if (isList(value)) return value.map((item, index) => [BigInt(index), item]);
  if (isMap(value)) return sortedKeys(value).map((key) => [key, value[key]]);
  throw new TemplateError(`range walks through lists and maps, and this is ${described(value)}`, { at });
}

/** With two variables, the first is the place or the key. */
function named(names: readonly string[], key: Value, item: Value): readonly (readonly [string, Value])[] {
  const values = names.length > 1 ? [key, item] : [item];
  return names.map((name, index) => [name, values[index]]);
}

function described(value: Value): string {
  return isNil(value) ? 'nil' : `a ${typeName(value)}`;
}

function unknownField(data: GoMap, name: string, at: number): TemplateError {
  const known = Object.keys(data).map((key) => `.${key}`);
  return new TemplateError(`there is no field .${name}`, { at, known, word: `.${name}` });
}

function wrongCount(name: string, least: number, most: number | undefined, count: number, at: number): TemplateError {
  const wanted = most === undefined ? `${least} or more` : least === most ? String(least) : `${least} to ${most}`;
  return new TemplateError(`${name} takes ${wanted} ${wanted === '1' ? 'value' : 'values'}, and got ${count}`, { at });
}
