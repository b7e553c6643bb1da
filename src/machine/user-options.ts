/** Compares the options that the user gave with the values that a driver resolved from them. */
import type { MachineSpec } from './model.ts';
import { isSameValue, type OptionValues } from './options.ts';

/** Returns the keys of all values, without duplicates. */
export function allKeysOf(...all: readonly OptionValues[]): readonly string[] {
  return [...new Set(all.flatMap((values) => Object.keys(values)))];
}

/**
 * Returns the `userOptions` of a machine whose options change to `options`. An unchanged option keeps the value that
 * the user gave; a changed option counts as given by the user. Returns undefined if the record has no `userOptions`.
 */
export function userOptionsAfter(before: MachineSpec, options: OptionValues): OptionValues | undefined {
  const { userOptions } = before;
  if (!userOptions) return undefined;
  const entries = allKeysOf(userOptions, options).map((key) => [
    key,
    isSameValue(options[key], before.options[key]) ? userOptions[key] : options[key],
  ]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/**
 * Merges the wanted options into those of an existing machine. An option keeps the value that the driver resolved if
 * the user asks for the same as before or leaves the option open.
 *
 * `resolves` says whether the driver resolves options. It matters for records without `userOptions`: if the user now
 * leaves an option open, its present value may be the driver's choice only if the driver resolves options.
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
