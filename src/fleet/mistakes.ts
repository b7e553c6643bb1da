import { SlipwayError } from '../errors.ts';
import { nearest } from '../did-you-mean.ts';

/** Both numbers count from 1, as editors do. */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

/** One thing that is wrong with a file, as a sentence, and where. */
export type Mistake = { readonly at: Place; readonly says: string };

/** More of them help nobody: one bracket that is missing makes hundreds. */
const SHOWN = 20;

/** All that is wrong, at once, in the order in which it stands there. */
export function refusal(file: string, mistakes: readonly Mistake[]): SlipwayError {
  const lines = [...new Set(mistakes.toSorted(byPlace).map(line))];
  const hint = 'What may stand in it: slipway plan --schema, or docs/machines-yaml.md';
  if (lines.length === 1) return new SlipwayError('USAGE', lines[0] ?? '', { hint });
  const more = lines.length > SHOWN ? [`and ${lines.length - SHOWN} more`] : [];
  return new SlipwayError('USAGE', `${file} has ${lines.length} mistakes`, {
    hint,
    detail: [...lines.slice(0, SHOWN), ...more],
  });
}

function line({ at, says }: Mistake): string {
  return `${at.file}:${at.line}:${at.column}: ${says}`;
}

function byPlace({ at: left }: Mistake, { at: right }: Mistake): number {
  if (left.file !== right.file) return left.file < right.file ? -1 : 1;
  return left.line - right.line || left.column - right.column;
}

/** `"rootsize" is no … (did you mean rootSize?)`, or what there is to choose from where nothing is near. */
export function noSuch(word: string, what: string, among: readonly string[]): string {
  const near = nearest(word, among);
  const few = among.length > 0 && among.length <= 8 ? ` (there is ${among.join(', ')})` : '';
  return `${shownValue(word)} is no ${what}${near === undefined ? few : ` (did you mean ${near}?)`}`;
}

/** A value as it may be repeated in a sentence: short, and never a whole structure. */
export function shownValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
