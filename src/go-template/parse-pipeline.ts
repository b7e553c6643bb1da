/** Parses pipelines: `$x := command | command`. A command is a function or a value, with arguments. */
import { builtins, type TemplateFunctions } from './functions.ts';
import type { Token } from './lex.ts';
import { parseCharacter, parseNumber, parseString } from './literals.ts';
import {
  isToken,
  parseNested,
  peekToken,
  skipSpace,
  takeToken,
  unexpectedTokenError,
  type ParserState,
} from './parser-state.ts';
import { TemplateError } from './template-error.ts';
import type { ControlKeyword, Pipeline, TemplateCommand, TemplateOperand } from './template-nodes.ts';

const KEYWORDS = ['break', 'continue', 'else', 'end', 'if', 'range', 'with'];
/** Keywords of Go's template language that are not useful in a one-line format. */
export const UNSUPPORTED_KEYWORDS: readonly string[] = ['block', 'define', 'template', 'call'];

type PipelineContext = {
  /** The token that ends the pipeline: `}}` or `)`. */
  readonly until: 'close' | ')';
  readonly at: number;
  /** The keyword before the pipeline. */
  readonly keyword?: ControlKeyword;
};

/** Parses a pipeline, and moves past the token that ends it. */
export function parsePipeline(state: ParserState, { until, at, keyword }: PipelineContext): Pipeline {
  const declaration = parseDeclaration(state, keyword);
  const commands: TemplateCommand[] = [];
  for (;;) {
    skipSpace(state);
    const token = peekToken(state);
    if (until === ')' ? isToken(token, 'mark', ')') : token.type === 'close') break;
    commands.push(parseCommand(state));
  }
  takeToken(state);
  if (commands.length === 0) throw new TemplateError('the pipeline is empty', { at });
  for (const command of commands.slice(1)) requireFunction(command);
  return { at, ...declaration, commands };
}

/** Throws TemplateError if a command after `|` is not a function, since it gets a value as its last argument. */
function requireFunction({ words, at }: TemplateCommand): void {
  if (['literal', 'nil', 'dot'].includes(words[0]?.kind ?? ''))
    throw new TemplateError('only a function can follow |', { at });
}

/** Parses `$x :=`, `$x =` and, in a `range`, `$i, $x :=`. Does not move if there is no declaration. */
function parseDeclaration(
  state: ParserState,
  keyword: ControlKeyword | undefined,
): Pick<Pipeline, 'variables' | 'assigns'> {
  skipSpace(state);
  const start = state.position;
  const names: string[] = [];
  while (peekToken(state).type === 'variable') {
    names.push(takeToken(state).text);
    skipSpace(state);
    const mark = peekToken(state);
    if (isToken(mark, 'mark', ':=') || isToken(mark, 'mark', '=')) {
      takeToken(state);
      state.variables = [...state.variables, ...names];
      return { variables: names, assigns: mark.text === '=' };
    }
    if (!isToken(mark, 'mark', ',')) break;
    if (keyword !== 'range' || names.length > 1)
      throw new TemplateError('only range can set two variables, and no more than two', { at: mark.at });
    takeToken(state);
    skipSpace(state);
  }
  state.position = start;
  return { variables: [], assigns: false };
}

/** Parses a command, and moves past the `|` after it, if there is one. */
function parseCommand(state: ParserState): TemplateCommand {
  const { at } = peekToken(state);
  const words: TemplateOperand[] = [];
  for (;;) {
    skipSpace(state);
    const word = parseOperand(state);
    if (word) words.push(word);
    const token = peekToken(state);
    if (token.type === 'space') continue;
    if (token.type === 'close' || isToken(token, 'mark', ')')) break;
    if (!isToken(token, 'mark', '|')) throw unexpectedTokenError(token);
    takeToken(state);
    break;
  }
  if (words.length === 0) throw new TemplateError('a command is empty', { at });
  return { at, words };
}

/** Parses a term with the fields that follow it; undefined if no operand starts here. */
function parseOperand(state: ParserState): TemplateOperand | undefined {
  const term = parseTerm(state, peekToken(state));
  if (term === undefined) return undefined;
  const names: string[] = [];
  while (peekToken(state).type === 'field') names.push(takeToken(state).text.slice(1));
  if (names.length === 0) return term;
  if (term.kind === 'fields' || term.kind === 'variable') return { ...term, names: [...term.names, ...names] };
  if (term.kind === 'pipe' || term.kind === 'function') return { kind: 'chain', at: term.at, of: term, names };
  throw new TemplateError('this value has no fields', { at: term.at });
}

function parseTerm(state: ParserState, token: Token): TemplateOperand | undefined {
  const { at } = token;
  if (isToken(token, 'mark', '(')) {
    takeToken(state);
    return { kind: 'pipe', at, pipe: parseNested(state, at, () => parsePipeline(state, { until: ')', at })) };
  }
  const term = toTerm(state, token);
  if (term) takeToken(state);
  return term;
}

/** Converts a token to a term; undefined if the token is not a term. */
function toTerm({ functions, variables }: ParserState, { type, text, at }: Token): TemplateOperand | undefined {
  if (type === 'dot') return { kind: 'dot', at };
  if (type === 'field') return { kind: 'fields', at, names: [text.slice(1)] };
  if (type === 'number') return { kind: 'literal', at, value: parseNumber(text, at) };
  if (type === 'string') return { kind: 'literal', at, value: parseString(text, at) };
  if (type === 'character') return { kind: 'literal', at, value: parseCharacter(text, at) };
  if (type === 'variable') return toVariable(text, at, variables);
  return type === 'word' ? toWordTerm(text, at, functions) : undefined;
}

function toVariable(name: string, at: number, variables: readonly string[]): TemplateOperand {
  if (variables.includes(name)) return { kind: 'variable', at, name, names: [] };
  throw new TemplateError(`unknown variable ${name}`, { at, known: variables, word: name });
}

function toWordTerm(text: string, at: number, functions: TemplateFunctions): TemplateOperand {
  if (text === 'true' || text === 'false') return { kind: 'literal', at, value: text === 'true' };
  if (text === 'nil') return { kind: 'nil', at };
  if (KEYWORDS.includes(text)) throw new TemplateError(`unexpected ${text}`, { at });
  if (UNSUPPORTED_KEYWORDS.includes(text)) throw unsupportedKeywordError({ text, at }, functions);
  const known = functionNames(functions);
  if (known.includes(text)) return { kind: 'function', at, name: text };
  throw new TemplateError(`unknown function ${text}`, { at, known, word: text });
}

export function unsupportedKeywordError(
  { text, at }: Pick<Token, 'text' | 'at'>,
  functions: TemplateFunctions,
): TemplateError {
  const known = [...KEYWORDS, ...functionNames(functions)];
  return new TemplateError(`${text} is not supported`, { at, known });
}

function functionNames(functions: TemplateFunctions): readonly string[] {
  return [...Object.keys(functions), ...Object.keys(builtins)];
}
