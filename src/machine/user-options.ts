import type { MachineSpec } from './model.ts';
import { isSameValue, type OptionValues } from './options.ts';

/** All keys of either. */
export function allKeysOf(...all: readonly OptionValues[]): readonly string[] {
  return [...new Set(all.flatMap((values) => Object.keys(values)))];
}

/** What the user has given once these are a machine's options: what did not change was given as before. */
export function userOptionsAfter(before: MachineSpec, options: OptionValues): OptionValues | undefined {
  const { given } = before;
  if (!given) return undefined;
  const kept = allKeysOf(given, options).map((key) => [
    key,
    isSameValue(options[key], before.options[key]) ? given[key] : options[key],
  ]);
  return Object.fromEntries(kept.filter(([, value]) => value !== undefined));
}

/** Whether an option that is wanted so differs from what a machine has: what a driver settled where nothing was wanted does not. */
export function isOptionChanged(key: string, before: MachineSpec, wanted: OptionValues, settles: boolean): boolean {
  if (isSameValue(wanted[key], before.options[key])) return false;
  return before.given ? !isSameValue(wanted[key], before.given[key]) : !(settles && wanted[key] === undefined);
}

/** Wanted options for a machine that exists: it keeps what was settled for it. */
export function mergeOptions(before: MachineSpec, wanted: OptionValues, settles: boolean): OptionValues {
  return Object.fromEntries(
    allKeysOf(before.options, wanted)
      .map((key) => [key, isOptionChanged(key, before, wanted, settles) ? wanted[key] : before.options[key]] as const)
      .filter(([, value]) => value !== undefined),
  );
}
