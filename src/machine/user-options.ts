/** Options as the user gave them, beside the values that a driver resolved from them. */
import type { MachineSpec } from './model.ts';
import { isSameValue, type OptionValues } from './options.ts';

/** Returns the keys of all of these values, each once. */
export function allKeysOf(...all: readonly OptionValues[]): readonly string[] {
  return [...new Set(all.flatMap((values) => Object.keys(values)))];
}

/**
 * Returns the user's own options of a machine whose options become these: an option that stays the same keeps the value
 * that the user gave for it, and a changed one was given as it is now. Undefined for a record that does not say what
 * the user gave.
 */
export function userOptionsAfter(before: MachineSpec, options: OptionValues): OptionValues | undefined {
  const { userOptions } = before;
  if (!userOptions) return undefined;
  const kept = allKeysOf(userOptions, options).map((key) => [
    key,
    isSameValue(options[key], before.options[key]) ? userOptions[key] : options[key],
  ]);
  return Object.fromEntries(kept.filter(([, value]) => value !== undefined));
}

/**
 * Returns the wanted options for a machine that exists. A value that the driver resolved stays where the user asks for
 * the same as before, or leaves the option open. `resolves` says whether the driver resolves options at all: in a
 * record that does not say what the user gave, only such a driver may have chosen the value of an option that is left
 * open.
 */
export function mergeOptions(before: MachineSpec, wanted: OptionValues, resolves: boolean): OptionValues {
  const isChanged = (key: string): boolean => {
    if (isSameValue(wanted[key], before.options[key])) return false;
    return before.userOptions
      ? !isSameValue(wanted[key], before.userOptions[key])
      : !(resolves && wanted[key] === undefined);
  };
  return Object.fromEntries(
    allKeysOf(before.options, wanted)
      .map((key) => [key, isChanged(key) ? wanted[key] : before.options[key]] as const)
      .filter(([, value]) => value !== undefined),
  );
}
