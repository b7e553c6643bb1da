import { expect } from 'vitest';
import { allCommands } from '../../src/cli/commands/command-list.ts';
import { optionsSchema } from '../../src/drivers/gce/options.ts';
import { coerceOptionValue, describeOptions, type OptionValues } from '../../src/machine/options.ts';

const specs = describeOptions(optionsSchema, 'gce');

/** Expects that a user can type a hint: its flags are options of the driver, and its commands exist. */
export function expectTypeableHint(hint: string | undefined): void {
  expect(hint).toBeTruthy();
  for (const [, flag] of (hint ?? '').matchAll(/--(gce-[a-z-]+)/g))
    expect(specs.map((spec) => spec.flag)).toContain(flag);
  for (const [, command] of (hint ?? '').matchAll(/\bslipway ([a-z-]+)/g))
    expect(allCommands.map(({ name }) => name)).toContain(command);
}

/** Returns the options that the first flags of a hint give: `For example: --gce-disk-size 50` -> `{ diskSize: 50 }`. */
export function optionsInHint(hint: string | undefined): OptionValues {
  const values: Record<string, unknown> = {};
  for (const [, flag, value = ''] of (hint ?? '').matchAll(/--(gce-[a-z-]+) (?!or\b)([\w./-]*\w)/g)) {
    const spec = specs.find((one) => one.flag === flag);
    if (spec && values[spec.key] === undefined) values[spec.key] = coerceOptionValue(spec, value);
  }
  return values;
}
