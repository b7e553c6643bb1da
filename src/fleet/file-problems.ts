import { SlipwayError } from '../errors.ts';
import { findNearestWord } from '../did-you-mean.ts';

/** A position in a file. Lines and columns count from 1, as in editors. */
export type FilePosition = { readonly file: string; readonly line: number; readonly column: number };

/** One problem in a file: its position and a sentence. */
export type FileProblem = { readonly at: FilePosition; readonly message: string };

/** More lines would not help: one missing bracket causes hundreds of problems. */
const MAX_SHOWN = 20;

/** Returns one error with all problems, in the order of their positions. */
export function fileProblemsError(file: string, problems: readonly FileProblem[]): SlipwayError {
  const lines = [...new Set(problems.toSorted(compareByPosition).map(formatProblem))];
  const hint = 'For the keys and their values, see docs/machines-yaml.md or run: slipway plan --schema';
  if (lines.length === 1) return new SlipwayError('USAGE', lines[0] ?? '', { hint });
  const more = lines.length > MAX_SHOWN ? [`and ${lines.length - MAX_SHOWN} more`] : [];
  return new SlipwayError('USAGE', `${file} has ${lines.length} errors`, {
    hint,
    detail: [...lines.slice(0, MAX_SHOWN), ...more],
  });
}

function formatProblem({ at, message }: FileProblem): string {
  return `${at.file}:${at.line}:${at.column}: ${message}`;
}

function compareByPosition({ at: left }: FileProblem, { at: right }: FileProblem): number {
  if (left.file !== right.file) return left.file < right.file ? -1 : 1;
  return left.line - right.line || left.column - right.column;
}

/** Returns `unknown key "rootsize" in … (did you mean rootSize?)`, or lists the known words if none is similar. */
export function unknownWordMessage(kind: string, word: string, known: readonly string[], where = ''): string {
  const near = findNearestWord(word, known);
  const list = known.length > 0 && known.length <= 8 ? ` (known: ${known.join(', ')})` : '';
  return `unknown ${kind} ${formatValue(word)}${where}${near === undefined ? list : ` (did you mean ${near}?)`}`;
}

/** Formats a value for a sentence: shortened, and lists and maps by kind only. */
export function formatValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
