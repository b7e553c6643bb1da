/** Parses templates: text, actions and control structures. parse-pipeline.ts parses the pipelines in them. */
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

/** Parses a template. Throws TemplateError if it is invalid. */
export function parseNodes(template: string, functions: TemplateFunctions): readonly TemplateNode[] {
  const { nodes, end } = parseBlock(startParsing(template, functions));
  if (end.word !== '') throw new TemplateError(`unexpected {{${end.word}}}`, { at: end.at });
  return nodes;
}

/** Parses nodes up to the `else` or `end` that closes them, and moves past that word. */
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

/** Parses an action after its `{{`. `first` is the next token. */
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
  if (state.loops === 0) throw new TemplateError(`${kind} is allowed only in a range`, { at });
  requireClose(state);
  return { kind };
}

/** Parses a control structure from its keyword to its `end`. Its variables are unknown after it. */
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

/** Parses the part after `else`: nodes and an `end`, or another `if`, which shares its `end` with this structure. */
function parseElse(state: ParserState, kind: ControlKeyword, at: number): readonly TemplateNode[] {
  skipSpace(state);
  const word = peekToken(state);
  if (kind === 'if' && isToken(word, 'word', 'if')) {
    takeToken(state);
    return [parseNested(state, at, () => parseControl(state, 'if', word.at))];
  }
  requireClose(state);
  const { nodes, end } = parseBlock(state);
  if (end.word === 'else') throw new TemplateError(`this ${kind} already has an else`, { at: end.at });
  requireEnd(state, end, kind, at);
  return nodes;
}

function requireEnd(state: ParserState, { word }: BlockEnd, kind: ControlKeyword, at: number): void {
  if (word === '') throw new TemplateError(`this ${kind} is not closed: {{end}} is missing`, { at });
  requireClose(state);
}
