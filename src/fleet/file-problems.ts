import { SlipwayError } from '../errors.ts';
import { findNearestWord } from '../did-you-mean.ts';

/** Both numbers count from 1, as editors do. */
export type FilePosition = { readonly file: string; readonly line: number; readonly column: number };

/** One thing that is wrong with a file, as a sentence, and where. */
export type FileProblem = { readonly at: FilePosition; readonly message: string };

/** More of them help nobody: one bracket that is missing makes hundreds. */
const MAX_SHOWN = 20;

/** All that is wrong, at once, in the order in which it stands there. */
export function fileProblemsError(file: string, mistakes: readonly FileProblem[]): SlipwayError {
  const lines = [...new Set(mistakes.toSorted(compareByPosition).map(formatProblem))];
  const hint = 'What may stand in it: slipway plan --schema, or docs/machines-yaml.md';
  if (lines.length === 1) return new SlipwayError('USAGE', lines[0] ?? '', { hint });
  const more = lines.length > MAX_SHOWN ? [`and ${lines.length - MAX_SHOWN} more`] : [];
  return new SlipwayError('USAGE', `${file} has ${lines.length} mistakes`, {
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

/** `"rootsize" is no … (did you mean rootSize?)`, or what there is to choose from where nothing is near. */
export function unknownWordMessage(word: string, what: string, among: readonly string[]): string {
  const near = findNearestWord(word, among);
  const few = among.length > 0 && among.length <= 8 ? ` (there is ${among.join(', ')})` : '';
  return `${formatValue(word)} is no ${what}${near === undefined ? few : ` (did you mean ${near}?)`}`;
}

/** A value as it may be repeated in a sentence: short, and never a whole structure. */
export function formatValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
