import type { MachineSpec } from './model.ts';
import { same, type Values } from './options.ts';

/** All keys of either. */
export function keysOf(...all: readonly Values[]): readonly string[] {
  return [...new Set(all.flatMap((values) => Object.keys(values)))];
}

/** What the user has given once these are a machine's options: what did not change was given as before. */
export function givenWith(before: MachineSpec, options: Values): Values | undefined {
  const { given } = before;
  if (!given) return undefined;
  const kept = keysOf(given, options).map((key) => [
    key,
    same(options[key], before.options[key]) ? given[key] : options[key],
  ]);
  return Object.fromEntries(kept.filter(([, value]) => value !== undefined));
}

/** Whether an option that is wanted so differs from what a machine has: what a driver settled where nothing was wanted does not. */
export function differs(key: string, before: MachineSpec, wanted: Values, settles: boolean): boolean {
  if (same(wanted[key], before.options[key])) return false;
  return before.given ? !same(wanted[key], before.given[key]) : !(settles && wanted[key] === undefined);
}

/** Wanted options for a machine that exists: it keeps what was settled for it. */
export function takenOver(before: MachineSpec, wanted: Values, settles: boolean): Values {
  return Object.fromEntries(
    keysOf(before.options, wanted)
      .map((key) => [key, differs(key, before, wanted, settles) ? wanted[key] : before.options[key]] as const)
      .filter(([, value]) => value !== undefined),
  );
}
