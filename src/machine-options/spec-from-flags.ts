import { randomUUID } from 'node:crypto';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { expandHome } from '../computer/expand-home.ts';
import { getDriver, drivers } from '../drivers/registry.ts';
import type { DriverManifest } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import { isImagePath } from '../images/image-reference.ts';
import type { MachineSpec } from '../machine/model.ts';
import { withSeparateLogins } from '../machine/engine-logins.ts';
import {
  optionsFromEnv,
  formatList,
  parseOptions,
  pickFlagValues,
  type OptionSpec,
  type OptionValues,
} from '../machine/options.ts';
import {
  engineOptionSpecs,
  engineOptions,
  lifetimeOptionSpecs,
  lifetimeOptions,
  sharingMember,
  sharingOptions,
  sharingOptionSpecs,
  withoutUnusedInstallUrl,
  withInferredSource,
} from '../machine/spec.ts';
import { overriddenOptions } from './credential-flags.ts';
import { driverOptionSpecs } from './option-specs.ts';

type SpecSources = {
  readonly name: string;
  readonly driver: string;
  readonly flags: OptionValues;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly before: MachineSpec | undefined;
  readonly profiles: readonly string[];
};

/**
 * Resolves a machine's spec from its sources. Only this function defines their precedence: flags, then the machine's
 * present spec, then the environment, then defaults. Throws USAGE if a flag belongs to another driver, or for an
 * invalid value.
 */
export function resolveSpec({ name, driver: driverName, flags, env, before, profiles }: SpecSources): MachineSpec {
  const driver = getDriver(driverName);
  const specs = driverOptionSpecs[driver.name] ?? [];
  requireNoForeignFlags(driver, flags);
  const overridden = overriddenOptions(flags).filter((spec) => specs.includes(spec));
  const options = parseMergedOptions(driver.options, specs, {
    ...optionsFromEnv(specs, env),
    ...before?.options,
    ...pickFlagValues(specs, flags),
    ...Object.fromEntries(overridden.map(({ key }) => [key, ''])),
  });
  const engine = parseMergedOptions(engineOptions, engineOptionSpecs, {
    ...withInferredSource(optionsFromEnv(engineOptionSpecs, env)),
    ...before?.engine,
    ...withInferredSource(pickFlagValues(engineOptionSpecs, flags)),
  });
  const lifetime = parseMergedOptions(lifetimeOptions, lifetimeOptionSpecs, {
    ...optionsFromEnv(lifetimeOptionSpecs, env),
    ...before?.lifetime,
    ...pickFlagValues(lifetimeOptionSpecs, flags),
  });
  const sharing = parseMergedOptions(sharingOptions, sharingOptionSpecs, {
    ...optionsFromEnv(sharingOptionSpecs, env),
    ...before?.sharing,
    ...pickFlagValues(sharingOptionSpecs, flags),
  });
  return {
    id: before?.id ?? randomUUID(),
    name,
    driver: driver.name,
    options: toAbsolutePaths(specs, options),
    engine: withSeparateLogins(withoutUnusedInstallUrl(engine), before?.engine),
    profiles,
    // The driver and the machines.yaml identify the machine by these, so no flag changes them.
    ...(before?.batch ? { batch: before.batch } : {}),
    ...(before?.fleet === undefined ? {} : { fleet: before.fleet }),
    ...(Object.keys(lifetime).length === 0 ? {} : { lifetime }),
    ...sharingMember(sharing),
  };
}

/** Applies flags to a spec. Ignores the environment: a variable must not change a machine that exists. */
export function applyFlagsToSpec(before: MachineSpec, flags: OptionValues): MachineSpec {
  return resolveSpec({ name: before.name, driver: before.driver, flags, env: {}, before, profiles: before.profiles });
}

/** Parses merged values without the empty ones, so that `--engine-version=` resets an option to its default. */
const parseMergedOptions: typeof parseOptions = (schema, specs, values) =>
  parseOptions(schema, specs, Object.fromEntries(Object.entries(values).filter(([, value]) => value !== '')));

/**
 * Returns the driver whose options are among the flags, if any. Throws USAGE if the flags belong to several drivers.
 */
export function driverFromFlags(flags: OptionValues): string | undefined {
  const matching = drivers.filter(({ name }) =>
    (driverOptionSpecs[name] ?? []).some(({ flag }) => flags[flag] !== undefined),
  );
  if (matching.length < 2) return matching[0]?.name;
  const names = formatList(matching.map(({ name }) => name));
  throw new SlipwayError('USAGE', `The flags belong to several drivers: ${names}`, {
    hint: `Choose one with --driver ${matching[0]?.name}, and leave out the other's flags`,
  });
}

function requireNoForeignFlags(driver: DriverManifest, flags: OptionValues): void {
  for (const other of drivers) {
    if (other.name === driver.name) continue;
    const foreign = (driverOptionSpecs[other.name] ?? []).filter(({ flag }) => flags[flag] !== undefined);
    if (foreign.length === 0) continue;
    const names = formatList(foreign.map(({ flag }) => `--${flag}`));
    const verb = foreign.length === 1 ? 'belongs' : 'belong';
    throw new SlipwayError('USAGE', `${names} ${verb} to the driver ${other.name}, not to ${driver.name}`, {
      hint: `For the options of ${driver.name}: slipway help ${driver.name}`,
    });
  }
}

function isImageFile(key: string, value: string): boolean {
  return key === 'image' && isImagePath(value);
}

/** Makes paths absolute, since the next command may run in another folder. */
function toAbsolutePaths(specs: readonly OptionSpec[], options: OptionValues): OptionValues {
  const files = new Set(specs.filter(({ valueName }) => valueName === 'file').map(({ key }) => key));
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key,
      typeof value === 'string' && (files.has(key) || isImageFile(key, value))
        ? resolve(expandHome(value, homedir()))
        : value,
    ]),
  );
}
