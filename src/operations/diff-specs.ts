import type { DriverManifest, OptionChange } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import { isSameValue, type OptionValues } from '../machine/options.ts';
import { engineOptions } from '../machine/spec.ts';
import { allKeysOf, mergeOptions } from '../machine/user-options.ts';

/** How a change takes effect: as the driver says of its own options, or by restarting the engine. */
export type ChangeEffect = OptionChange | 'engine';

export type SpecSection = 'driver' | 'options' | 'engine' | 'profiles' | 'lifetime' | 'sharing';

/** One value that differs between a machine and its wanted spec. `key` is the option's name within its section. */
export type SpecChange = {
  readonly section: SpecSection;
  readonly key: string;
  readonly from: unknown;
  readonly to: unknown;
  readonly effect: ChangeEffect;
};

export type SpecDiff = readonly SpecChange[];

/** The parts of a spec that a user can ask to change. */
export type ComparableSpec = Pick<MachineSpec, 'driver' | 'options' | 'engine' | 'profiles' | 'lifetime' | 'sharing'>;

/**
 * Compares a machine's spec with a wanted one, value by value, and says how each change takes effect. Pure, and the
 * only place where specs are compared, so that `create`, `provision`, `apply` and `plan` agree. Another driver means
 * another machine, so nothing else is compared then. Options that did not exist when the record was written have their
 * defaults.
 */
export function diffSpecs(
  before: Pick<Machine, 'spec' | 'host' | 'onShutdown'>,
  wanted: ComparableSpec,
  driver: DriverManifest,
): SpecDiff {
  const { spec } = before;
  if (spec.driver !== wanted.driver)
    return [{ section: 'driver', key: 'driver', from: spec.driver, to: wanted.driver, effect: 'replace' }];
  return [
    ...diffOptions(spec.options, wanted.options, driver),
    ...diffEngine(before, wanted),
    ...diffValues('profiles', { profiles: spec.profiles }, { profiles: wanted.profiles }),
    ...diffLifetime(before, wanted, driver),
    ...diffValues('sharing', spec.sharing ?? {}, wanted.sharing ?? {}),
  ];
}

/** Returns the keys of the driver's options that change, optionally only those with this effect. */
export function changedOptions(diff: SpecDiff, effect?: OptionChange): readonly string[] {
  return diff
    .filter((change) => change.section === 'options' && (effect === undefined || change.effect === effect))
    .map(({ key }) => key);
}

export function hasChangesIn(diff: SpecDiff, section: SpecSection): boolean {
  return diff.some((change) => change.section === section);
}

/**
 * Completes the wanted spec of an existing machine: options that the user omitted and the driver resolved keep their
 * resolved values, so that they do not count as changes.
 */
export function keepResolvedOptions<S extends ComparableSpec>(
  before: MachineSpec,
  wanted: S,
  driver: DriverManifest,
): S {
  const options = { ...wanted.options, ...formerDefaultsLeftOpen(before, wanted.options, driver) };
  return { ...wanted, options: mergeOptions(before, options, driver.kind === 'cloud') };
}

/** Returns the values that an older version wrote for options that the user left open, then and now. */
function formerDefaultsLeftOpen(
  { userOptions = {} }: MachineSpec,
  wanted: OptionValues,
  { formerDefaults = {} }: DriverManifest,
): OptionValues {
  return Object.fromEntries(
    Object.entries(formerDefaults).filter(
      ([option, value]) => wanted[option] === undefined && isSameValue(userOptions[option], value),
    ),
  );
}

/** Compares the driver's options. If the driver has no rule for a change, the change needs another machine. */
function diffOptions(before: OptionValues, wanted: OptionValues, driver: DriverManifest): SpecDiff {
  return diffValues('options', withDefaults(driver.options, before), withDefaults(driver.options, wanted)).map(
    (change) => ({ ...change, effect: driver.changeKindOf?.(change.key, change.from, change.to) ?? 'replace' }),
  );
}

/** Options that matter only until the engine is installed: the addresses of an install script or a package mirror. */
const INSTALL_ONLY_OPTIONS: ReadonlySet<string> = new Set([
  'installUrl',
  'repositoryUrl',
  'repositoryLogin',
  'installLogin',
  'repositoryKey',
]);

function diffEngine({ spec, host }: Pick<Machine, 'spec' | 'host'>, wanted: ComparableSpec): SpecDiff {
  const before = withDefaults(engineOptions, spec.engine);
  const after = withDefaults(engineOptions, wanted.engine);
  // The logins are no options, so the defaults do not contain them.
  const logins = [spec.engine, wanted.engine].map(({ repositoryLogin, installLogin }) => ({
    repositoryLogin,
    installLogin,
  }));
  return diffValues('engine', { ...before, ...logins[0] }, { ...after, ...logins[1] }).map((change) => {
    // A port that is forwarded to the machine still leads to the engine's old port.
    const forwarded = change.key === 'port' && host?.ssh !== undefined && host.enginePort !== undefined;
    return { ...change, effect: forwarded ? 'replace' : INSTALL_ONLY_OPTIONS.has(change.key) ? 'live' : 'engine' };
  });
}

/** Compares lifetimes. A machine that its provider always removes at shutdown can't be changed to stop instead. */
function diffLifetime(
  { spec, onShutdown }: Pick<Machine, 'spec' | 'onShutdown'>,
  wanted: ComparableSpec,
  driver: DriverManifest,
): SpecDiff {
  const isRemoved = (): boolean =>
    onShutdown === 'removed' &&
    driver.shutdownBehavior?.(targetOf(driver, wantedOf(spec, wanted))).byItself !== 'stopped';
  return diffValues('lifetime', spec.lifetime ?? {}, wanted.lifetime ?? {}).map((change) =>
    change.key === 'idleStop' && change.to !== undefined && isRemoved() ? { ...change, effect: 'replace' } : change,
  );
}

function wantedOf(
  { id, name }: MachineSpec,
  { driver, options, engine, profiles, lifetime }: ComparableSpec,
): MachineSpec {
  return { id, name, driver, options, engine, profiles, ...(lifetime ? { lifetime } : {}) };
}

function diffValues(section: SpecSection, from: OptionValues, to: OptionValues): SpecDiff {
  return allKeysOf(from, to)
    .filter((key) => !isSameValue(from[key], to[key]))
    .map((key) => ({ section, key, from: from[key], to: to[key], effect: 'live' }));
}

type OptionParser = { safeParse(values: unknown): { readonly success: boolean; readonly data?: unknown } };

/** Adds the defaults; values that the schema refuses are returned unchanged. */
function withDefaults(schema: OptionParser, values: OptionValues): OptionValues {
  const parsed = schema.safeParse(values);
  return parsed.success ? (parsed.data as OptionValues) : values;
}
