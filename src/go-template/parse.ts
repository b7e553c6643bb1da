import { builtins, type TemplateFunctions } from './functions.ts';
import { tokenize, type Token } from './lex.ts';
import { parseCharacter, parseNumber, parseString } from './literals.ts';
import { TemplateError } from './template-error.ts';
import type { GoValue } from './go-values.ts';

export type TemplateNode =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipe: Pipeline }
  | {
      readonly kind: 'if' | 'range' | 'with';
      readonly pipe: Pipeline;
      readonly body: readonly TemplateNode[];
      readonly otherwise: readonly TemplateNode[];
    }
  | { readonly kind: 'break' }
  | { readonly kind: 'continue' };

export type Pipeline = {
  readonly at: number;
  readonly variables: readonly string[];
  /** `=`, which sets what is there, and not `:=`. */
  readonly assigns: boolean;
  readonly commands: readonly TemplateCommand[];
};

/** The first word is what is done, the others are what it is done with. */
export type TemplateCommand = { readonly at: number; readonly words: readonly TemplateOperand[] };

export type TemplateOperand = { readonly at: number } & (
  | { readonly kind: 'literal'; readonly value: GoValue }
  | { readonly kind: 'nil' }
  | { readonly kind: 'dot' }
  | { readonly kind: 'function'; readonly name: string }
  | { readonly kind: 'fields'; readonly names: readonly string[] }
  | { readonly kind: 'variable'; readonly name: string; readonly names: readonly string[] }
  | { readonly kind: 'pipe'; readonly pipe: Pipeline }
  | { readonly kind: 'chain'; readonly of: TemplateOperand; readonly names: readonly string[] }
);

const KEYWORDS = ['break', 'continue', 'else', 'end', 'if', 'range', 'with'];
const UNSUPPORTED_KEYWORDS = ['block', 'define', 'template', 'call'];
const MAX_DEPTH = 100;

/** What ended a list of nodes. */
type BlockEnd = { readonly word: 'else' | 'end' | ''; readonly at: number };

export function parseNodes(template: string, functions: TemplateFunctions): readonly TemplateNode[] {
  const tokens = tokenize(template);
  let position = 0;
  let depth = 0;
  let loops = 0;
  let variables: readonly string[] = ['$'];

  const end: Token = { type: 'end', text: '', at: template.length };
  const peek = (): Token => tokens[position] ?? end;
  const next = (): Token => tokens[position++] ?? end;
  const skipSpace = (): void => {
    if (peek().type === 'space') position += 1;
  };
  const is = (token: Token, type: Token['type'], text = token.text): boolean =>
    token.type === type && token.text === text;

  function deeper<T>(at: number, work: () => T): T {
    depth += 1;
    if (depth > MAX_DEPTH) throw new TemplateError('nothing stands so deep within other things', { at });
    const result = work();
    depth -= 1;
    return result;
  }

  function nodes(): { readonly list: readonly TemplateNode[]; readonly stop: BlockEnd } {
    const list: TemplateNode[] = [];
    for (;;) {
      const token = next();
      if (token.type === 'end') return { list, stop: { word: '', at: token.at } };
      if (token.type === 'text') {
        list.push({ kind: 'text', text: token.text });
        continue;
      }
      skipSpace();
      const word = peek();
      if (word.type === 'word' && (word.text === 'else' || word.text === 'end')) {
        next();
        return { list, stop: { word: word.text, at: word.at } };
      }
      list.push(action(word));
    }
  }

  function action(word: Token): TemplateNode {
    if (word.type !== 'word') return { kind: 'action', pipe: pipeline('close', word.at) };
    if (UNSUPPORTED_KEYWORDS.includes(word.text)) throw refused(word);
    if (word.text === 'if' || word.text === 'range' || word.text === 'with') {
      next();
      return deeper(word.at, () => control(word.text as 'if', word.at));
    }
    if (word.text === 'break' || word.text === 'continue') {
      next();
      if (loops === 0) throw new TemplateError(`${word.text} stands outside of a range`, { at: word.at });
      close();
      return { kind: word.text };
    }
    return { kind: 'action', pipe: pipeline('close', word.at) };
  }

  function close(): void {
    skipSpace();
    const token = next();
    if (token.type !== 'close') throw unexpectedTokenError(token);
  }

  function control(kind: 'if' | 'range' | 'with', at: number): TemplateNode {
    const outer = variables;
    const pipe = pipeline('close', at, kind);
    if (kind === 'range') loops += 1;
    const { list: body, stop } = nodes();
    if (kind === 'range') loops -= 1;
    const otherwise = stop.word === 'else' ? alternative(kind, at) : closed(stop, kind, at);
    variables = outer;
    return { kind, pipe, body, otherwise };
  }

  /** Behind `else`: another condition, whose `end` is this one's too, or what is left. */
  function alternative(kind: string, at: number): readonly TemplateNode[] {
    skipSpace();
    const word = peek();
    if (kind === 'if' && is(word, 'word', 'if')) {
      next();
      return [deeper(at, () => control('if', word.at))];
    }
    close();
    const { list, stop } = nodes();
    if (stop.word === 'else') throw new TemplateError('there is an else already', { at: stop.at });
    closed(stop, kind, at);
    return list;
  }

  function closed(stop: BlockEnd, kind: string, at: number): readonly TemplateNode[] {
    if (stop.word === '') throw new TemplateError(`{{end}} is missing for this ${kind}`, { at });
    close();
    return [];
  }

  function pipeline(until: 'close' | ')', at: number, kind = ''): Pipeline {
    const { names, assigns } = declared(kind);
    const commands: TemplateCommand[] = [];
    for (;;) {
      skipSpace();
      const token = peek();
      if (until === ')' ? is(token, 'mark', ')') : token.type === 'close') break;
      commands.push(command());
    }
    next();
    if (commands.length === 0) throw new TemplateError('there is nothing to work with', { at });
    for (const { words, at } of commands.slice(1)) {
      if (['literal', 'nil', 'dot'].includes(words[0]?.kind ?? ''))
        throw new TemplateError('what stands behind | must be a function', { at });
    }
    return { at, variables: names, assigns, commands };
  }

  /** `$x :=`, `$x =` and, in a range, `$i, $x :=`. */
  function declared(kind: string): { readonly names: readonly string[]; readonly assigns: boolean } {
    skipSpace();
    const start = position;
    const names: string[] = [];
    while (peek().type === 'variable') {
      names.push(next().text);
      skipSpace();
      const mark = peek();
      if (is(mark, 'mark', ':=') || is(mark, 'mark', '=')) {
        next();
        variables = [...variables, ...names];
        return { names, assigns: mark.text === '=' };
      }
      if (!is(mark, 'mark', ',')) break;
      if (kind !== 'range' || names.length > 1)
        throw new TemplateError('so many variables stand in a range only, two at most', { at: mark.at });
      next();
      skipSpace();
    }
    position = start;
    return { names: [], assigns: false };
  }

  function command(): TemplateCommand {
    const { at } = peek();
    const words: TemplateOperand[] = [];
    for (;;) {
      skipSpace();
      const word = operand();
      if (word) words.push(word);
      const token = peek();
      if (token.type === 'space') continue;
      if (token.type === 'close' || is(token, 'mark', ')')) break;
      if (!is(token, 'mark', '|')) throw unexpectedTokenError(token);
      next();
      break;
    }
    if (words.length === 0) throw new TemplateError('a command is empty', { at });
    return { at, words };
  }

  function operand(): TemplateOperand | undefined {
    const term = termOf(peek());
    if (term === undefined) return undefined;
    const names: string[] = [];
    while (peek().type === 'field') names.push(next().text.slice(1));
    if (names.length === 0) return term;
    if (term.kind === 'fields' || term.kind === 'variable') return { ...term, names: [...term.names, ...names] };
    if (term.kind === 'pipe' || term.kind === 'function') return { kind: 'chain', at: term.at, of: term, names };
    throw new TemplateError('this has no fields', { at: term.at });
  }

  function termOf(token: Token): TemplateOperand | undefined {
    const { type, text, at } = token;
    if (type === 'mark' && text === '(') {
      next();
      return { kind: 'pipe', at, pipe: deeper(at, () => pipeline(')', at)) };
    }
    const term = simpleTerm(type, text, at);
    if (term) next();
    return term;
  }

  function simpleTerm(type: Token['type'], text: string, at: number): TemplateOperand | undefined {
    if (type === 'dot') return { kind: 'dot', at };
    if (type === 'field') return { kind: 'fields', at, names: [text.slice(1)] };
    if (type === 'number') return { kind: 'literal', at, value: parseNumber(text, at) };
    if (type === 'string') return { kind: 'literal', at, value: parseString(text, at) };
    if (type === 'character') return { kind: 'literal', at, value: parseCharacter(text, at) };
    if (type === 'variable') return variable(text, at);
    return type === 'word' ? wordTerm(text, at) : undefined;
  }

  function variable(name: string, at: number): TemplateOperand {
    if (variables.includes(name)) return { kind: 'variable', at, name, names: [] };
    throw new TemplateError(`there is no variable ${name}`, { at, known: variables, word: name });
  }

  function wordTerm(text: string, at: number): TemplateOperand {
    if (text === 'true' || text === 'false') return { kind: 'literal', at, value: text === 'true' };
    if (text === 'nil') return { kind: 'nil', at };
    if (KEYWORDS.includes(text)) throw new TemplateError(`${text} can't stand here`, { at });
    if (UNSUPPORTED_KEYWORDS.includes(text)) throw refused({ type: 'word', text, at });
    if (Object.hasOwn(functions, text) || Object.hasOwn(builtins, text)) return { kind: 'function', at, name: text };
    const known = [...Object.keys(functions), ...Object.keys(builtins)];
    throw new TemplateError(`there is no function ${text}`, { at, known, word: text });
  }

  function refused({ text, at }: Token): TemplateError {
    const known = [...KEYWORDS, ...Object.keys(functions), ...Object.keys(builtins)];
    return new TemplateError(`${text} is left out here`, { at, known });
  }

  const { list, stop } = nodes();
  if (stop.word !== '') throw new TemplateError(`this ${stop.word} belongs to nothing`, { at: stop.at });
  return list;
}

function unexpectedTokenError({ type, text, at }: Token): TemplateError {
  const what = type === 'close' ? 'the end of the action' : JSON.stringify(text);
  return new TemplateError(`${what} can't stand here`, { at });
}
