/**
 * The parser of templates: text, actions and control structures. What stands in an action is parsed by
 * parse-pipeline.ts.
 */
import type { TemplateFunctions } from './functions.ts';
import type { Token } from './lex.ts';
import { parsePipeline, UNSUPPORTED_KEYWORDS, unsupportedKeywordError } from './parse-pipeline.ts';
import {
  isToken,
  parseNested,
  peekToken,
  requireClose,
  skipSpace,
  startParsing,
  takeToken,
  type ParserState,
} from './parser-state.ts';
import { TemplateError } from './template-error.ts';
import type { ControlKeyword, TemplateNode } from './template-nodes.ts';

/** The keyword that ended a list of nodes; '' at the end of the template. */
type BlockEnd = { readonly word: 'else' | 'end' | ''; readonly at: number };
type Block = { readonly nodes: readonly TemplateNode[]; readonly end: BlockEnd };

/** Parses a template. Throws TemplateError where it is invalid. */
export function parseNodes(template: string, functions: TemplateFunctions): readonly TemplateNode[] {
  const { nodes, end } = parseBlock(startParsing(template, functions));
  if (end.word !== '') throw new TemplateError(`this ${end.word} belongs to nothing`, { at: end.at });
  return nodes;
}

/** Parses nodes up to the `else` or `end` that closes them, and moves behind that word. */
function parseBlock(state: ParserState): Block {
  const nodes: TemplateNode[] = [];
  for (;;) {
    const token = takeToken(state);
    if (token.type === 'end') return { nodes, end: { word: '', at: token.at } };
    if (token.type === 'text') {
      nodes.push({ kind: 'text', text: token.text });
      continue;
    }
    skipSpace(state);
    const first = peekToken(state);
    if (first.type === 'word' && (first.text === 'else' || first.text === 'end')) {
      takeToken(state);
      return { nodes, end: { word: first.text, at: first.at } };
    }
    nodes.push(parseAction(state, first));
  }
}

/** Parses what stands between `{{` and `}}`; `first` is the token that comes next. */
function parseAction(state: ParserState, first: Token): TemplateNode {
  const { type, text, at } = first;
  if (type !== 'word') return { kind: 'action', pipe: parsePipeline(state, { until: 'close', at }) };
  if (UNSUPPORTED_KEYWORDS.includes(text)) throw unsupportedKeywordError(first, state.functions);
  if (text === 'if' || text === 'range' || text === 'with') {
    takeToken(state);
    return parseNested(state, at, () => parseControl(state, text, at));
  }
  if (text === 'break' || text === 'continue') return parseJump(state, text, at);
  return { kind: 'action', pipe: parsePipeline(state, { until: 'close', at }) };
}

function parseJump(state: ParserState, kind: 'break' | 'continue', at: number): TemplateNode {
  takeToken(state);
  if (state.loops === 0) throw new TemplateError(`${kind} stands outside of a range`, { at });
  requireClose(state);
  return { kind };
}

/** Parses a control structure behind its keyword, with its `end`. Its variables are unknown behind it. */
function parseControl(state: ParserState, kind: ControlKeyword, at: number): TemplateNode {
  const outerVariables = state.variables;
  const pipe = parsePipeline(state, { until: 'close', at, keyword: kind });
  if (kind === 'range') state.loops += 1;
  const { nodes: body, end } = parseBlock(state);
  if (kind === 'range') state.loops -= 1;
  if (end.word !== 'else') requireEnd(state, end, kind, at);
  const otherwise = end.word === 'else' ? parseElse(state, kind, at) : [];
  state.variables = outerVariables;
  return { kind, pipe, body, otherwise };
}

/** Parses what follows `else`: nodes and an `end`, or another `if`, whose `end` is also this one's. */
function parseElse(state: ParserState, kind: ControlKeyword, at: number): readonly TemplateNode[] {
  skipSpace(state);
  const word = peekToken(state);
  if (kind === 'if' && isToken(word, 'word', 'if')) {
    takeToken(state);
    return [parseNested(state, at, () => parseControl(state, 'if', word.at))];
  }
  requireClose(state);
  const { nodes, end } = parseBlock(state);
  if (end.word === 'else') throw new TemplateError('there is an else already', { at: end.at });
  requireEnd(state, end, kind, at);
  return nodes;
}

function requireEnd(state: ParserState, { word }: BlockEnd, kind: ControlKeyword, at: number): void {
  if (word === '') throw new TemplateError(`{{end}} is missing for this ${kind}`, { at });
  requireClose(state);
}
