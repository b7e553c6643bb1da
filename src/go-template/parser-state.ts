import type { TemplateFunctions } from './functions.ts';
import { tokenize, type Token } from './lex.ts';
import { TemplateError } from './template-error.ts';

/** How deep parentheses and control structures may nest: the parser and the executor recurse. */
const MAX_DEPTH = 100;

/** Where the parser is. Its functions move `position` forward and keep the rest up to date. */
export type ParserState = {
  readonly tokens: readonly Token[];
  readonly functions: TemplateFunctions;
  position: number;
  depth: number;
  /** How many `range` the position is inside of. */
  loops: number;
  /** The variables that are declared at the position. */
  variables: readonly string[];
};

export function startParsing(template: string, functions: TemplateFunctions): ParserState {
  return { tokens: tokenize(template), functions, position: 0, depth: 0, loops: 0, variables: ['$'] };
}

/** Returns the next token; behind the last one it is still the last one, of type `end`. */
export function peekToken({ tokens, position }: ParserState): Token {
  return tokens[position] ?? (tokens.at(-1) as Token);
}

/** Returns the next token and moves behind it. */
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

/** Moves behind the `}}` that must come next. */
export function requireClose(state: ParserState): void {
  skipSpace(state);
  const token = takeToken(state);
  if (token.type !== 'close') throw unexpectedTokenError(token);
}

/** Runs `work` one level deeper. */
export function parseNested<T>(state: ParserState, at: number, work: () => T): T {
  state.depth += 1;
  if (state.depth > MAX_DEPTH) throw new TemplateError('nothing stands so deep within other things', { at });
  const result = work();
  state.depth -= 1;
  return result;
}

export function unexpectedTokenError({ type, text, at }: Token): TemplateError {
  const what = type === 'close' ? 'the end of the action' : JSON.stringify(text);
  return new TemplateError(`${what} can't stand here`, { at });
}
