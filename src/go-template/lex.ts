import { TemplateError } from './template-error.ts';

export type Token = {
  readonly type:
    | 'text'
    | 'open'
    | 'close'
    | 'space'
    | 'word'
    | 'dot'
    | 'field'
    | 'variable'
    | 'number'
    | 'character'
    | 'string'
    | 'mark'
    | 'end';
  readonly text: string;
  readonly at: number;
};

const SPACE = ' \\t\\r\\n';
/** The patterns of an action's tokens, in the order in which `readToken` tries them. */
const PATTERNS: readonly (readonly [Token['type'], RegExp])[] = [
  ['close', new RegExp(`[${SPACE}]-\\}\\}[${SPACE}]*|\\}\\}`, 'y')],
  ['space', new RegExp(`[${SPACE}]+?(?=[${SPACE}]-\\}\\}|[^${SPACE}]|$)`, 'y')],
  ['variable', /\$[\p{L}\p{Nd}_]*/uy],
  ['field', /\.(?!\d)[\p{L}\p{Nd}_]+/uy],
  ['number', /[+-]?(\.?\d)[\d_a-zA-Z.]*((?<=[eEpP])[+-][\d_a-zA-Z.]*)?/y],
  ['dot', /\./y],
  ['word', /[\p{L}_][\p{L}\p{Nd}_]*/uy],
  ['string', /"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`/y],
  ['character', /'(?:[^'\\\n]|\\[^\n])+'/y],
  ['mark', /:=|[=|(),]/y],
];
/** The tokens that one of the characters in AFTER_NAME must follow: in `.a!`, the error is at the `!`. */
const NAME_TOKENS = new Set<Token['type']>(['variable', 'field', 'dot', 'word']);
const AFTER_NAME = new RegExp(`[${SPACE}.,|:)(]|\\}\\}|$`, 'y');
const OPEN = new RegExp(`\\{\\{(-[${SPACE}])?`, 'g');
const COMMENT = new RegExp(`\\/\\*[\\s\\S]*?\\*\\/`, 'y');

/** Splits a template into tokens, without the space that trim markers (`{{-`, `-}}`) remove. */
export function tokenize(template: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    OPEN.lastIndex = at;
    const open = OPEN.exec(template);
    const text = template.slice(at, open?.index);
    const trimmed = open?.[1] === undefined ? text : trimTrailingSpace(text);
    if (trimmed !== '') tokens.push({ type: 'text', text: trimmed, at });
    if (!open) return [...tokens, { type: 'end', text: '', at: template.length }];
    const inside = open.index + open[0].length;
    at = skipComment(template, inside) ?? readAction(template, open.index, inside, tokens);
  }
}

/**
 * Removes trailing space. A loop takes linear time; a pattern would take quadratic time, as it retries at each space.
 */
function trimTrailingSpace(text: string): string {
  let end = text.length;
  while (end > 0 && /[ \t\r\n]/.test(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

/** Returns the position after the comment that starts here and its action; undefined if no comment starts here. */
function skipComment(template: string, start: number): number | undefined {
  if (!template.startsWith('/*', start)) return undefined;
  const comment = matchAt(COMMENT, template, start);
  if (comment === undefined) throw new TemplateError('a comment is not closed: */ is missing', { at: start });
  const end = start + comment.length;
  const [, close] = PATTERNS[0] ?? [];
  const closed = close && matchAt(close, template, end);
  if (closed === undefined)
    throw new TemplateError('a comment must be the only content of its action: {{/* … */}}', { at: end });
  return end + closed.length;
}

/** Adds the tokens of an action, and returns the position after it. */
function readAction(template: string, open: number, start: number, tokens: Token[]): number {
  tokens.push({ type: 'open', text: '{{', at: open });
  let at = start;
  for (;;) {
    const token = readToken(template, at, open);
    tokens.push(token);
    at += token.text.length;
    if (token.type === 'close') return at;
  }
}

function readToken(template: string, at: number, open: number): Token {
  if (at >= template.length) throw new TemplateError('an action is not closed: }} is missing', { at: open });
  for (const [type, pattern] of PATTERNS) {
    const text = matchAt(pattern, template, at);
    if (text === undefined) continue;
    if (NAME_TOKENS.has(type) && matchAt(AFTER_NAME, template, at + text.length) === undefined)
      throw unexpectedCharacterError(template, at + text.length);
    return { type, text, at };
  }
  if (/["'`]/.test(template[at] ?? '')) throw new TemplateError('a quote is not closed', { at });
  throw unexpectedCharacterError(template, at);
}

function unexpectedCharacterError(template: string, at: number): TemplateError {
  const character = String.fromCodePoint(template.codePointAt(at) ?? 0xfffd);
  return new TemplateError(`unexpected ${JSON.stringify(character)}`, { at });
}

function matchAt(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}
