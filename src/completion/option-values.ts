import { drivers } from '../drivers/registry.ts';
import { knownImages } from '../images/catalog.ts';
import type { OptionSpec } from '../machine/options.ts';
import type { CompletionSpec, ValueKind } from './complete.ts';

export const imageNames: readonly string[] = knownImages.map(({ name }) => name);

export function completionDrivers(): CompletionSpec['drivers'] {
  return drivers.map(({ name, summary, aliases = [] }) => ({ name, about: toOneLine(summary), also: aliases }));
}

/** Returns what completion offers as the value of an option. */
export function valueKindOf({ flag, valueName, choices }: OptionSpec): ValueKind {
  if (choices.length > 0) return choices;
  if (flag === 'driver' || flag === 'image') return flag;
  return valueName === 'file' || valueName === 'folder' ? valueName : 'any';
}

/** Returns the text in one line, without characters that control a terminal. */
export function toOneLine(text: string): string {
  return text.replaceAll(/[\p{C}\s]+/gu, ' ').trim();
}
