import type { TemplateFunctions } from './functions.ts';
import { tokenize, type Token } from './lex.ts';
import { TemplateError } from './template-error.ts';

/** Limits the nesting of parentheses and control structures, since the parser and the executor are recursive. */
const MAX_DEPTH = 100;

/** The state of the parser. Its functions move `position` forward and update the rest. */
export type ParserState = {
  readonly tokens: readonly Token[];
  readonly functions: TemplateFunctions;
  position: number;
  depth: number;
  /** The number of `range` blocks around the position. */
  loops: number;
  /** The variables that are declared at the position. */
  variables: readonly string[];
};

export function startParsing(template: string, functions: TemplateFunctions): ParserState {
  return { tokens: tokenize(template), functions, position: 0, depth: 0, loops: 0, variables: ['$'] };
}

/** Returns the next token. At the end, it is always the last token, of type `end`. */
export function peekToken({ tokens, position }: ParserState): Token {
  return tokens[position] ?? (tokens.at(-1) as Token);
}

/** Returns the next token and moves past it. */
export function takeToken(state: ParserState): Token {
  const token = peekToken(state);
  state.position += 1;
  return token;
}

export function skipSpace(state: ParserState): void {
  if (peekToken(state).type === 'space') state.position += 1;
}

export function isToken(token: Token, type: Token['type'], text: string): boolean {
  return token.type === type && token.text === text;
}

/** Moves past `}}`. Throws TemplateError if another token comes next. */
export function requireClose(state: ParserState): void {
  skipSpace(state);
  const token = takeToken(state);
  if (token.type !== 'close') throw unexpectedTokenError(token);
}

/** Runs `work` one level deeper. */
export function parseNested<T>(state: ParserState, at: number, work: () => T): T {
  state.depth += 1;
  if (state.depth > MAX_DEPTH) throw new TemplateError('the template is nested too deeply', { at });
  const result = work();
  state.depth -= 1;
  return result;
}

export function unexpectedTokenError({ type, text, at }: Token): TemplateError {
  const what = type === 'close' ? 'end of the action' : JSON.stringify(text);
  return new TemplateError(`unexpected ${what}`, { at });
}
