import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { getDriver, drivers } from '../drivers/registry.ts';
import type { DriverManifest } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import { isImagePath } from '../images/image-reference.ts';
import type { EngineSpec, MachineSpec } from '../machine/model.ts';
import {
  describeOptions,
  optionsFromEnv,
  formatList,
  parseOptions,
  type OptionSpec,
  type OptionValues,
} from '../machine/options.ts';
import {
  engineOptionSpecs,
  engineOptions,
  lifetimeOptionSpecs,
  lifetimeOptions,
  withoutUnusedInstallUrl,
  withInferredSource,
} from '../machine/spec.ts';
import type { Cli } from './command.ts';

export const driverOptionSpecs: Readonly<Record<string, readonly OptionSpec[]>> = Object.fromEntries(
  drivers.map((driver) => [driver.name, describeOptions(driver.options, driver.name)]),
);

/** Every option that shapes a machine, of all drivers: what `create` and `provision` accept. */
export const machineOptionSpecs: readonly OptionSpec[] = [
  ...lifetimeOptionSpecs,
  ...engineOptionSpecs,
  ...Object.values(driverOptionSpecs).flat(),
];

/** Those of drivers that can be asked what they have of ours. */
export const cloudOptionSpecs: readonly OptionSpec[] = drivers
  .filter(({ kind }) => kind === 'cloud')
  .flatMap(({ name }) => driverOptionSpecs[name] ?? []);

/** Credentials that some take as flags; never part of a machine. */
export const credentialOptionSpecs: readonly OptionSpec[] = drivers.flatMap(({ name, account }) =>
  account?.credentials ? describeOptions(account.credentials, name) : [],
);

/** The options that would choose other credentials than those that these flags lend. */
export function overriddenOptions(flags: OptionValues): readonly OptionSpec[] {
  return drivers.flatMap(({ name, account }) => {
    const { credentials, credentialsOption } = account ?? {};
    const lent = credentials && describeOptions(credentials, name).some(({ flag }) => flags[flag] !== undefined);
    return lent ? (driverOptionSpecs[name] ?? []).filter(({ key }) => key === credentialsOption) : [];
  });
}

/** For this run, as if the variables that the provider's own libraries read had been set, and no other choice been made. */
export function setCredentialsForRun(
  flags: OptionValues,
  { setEnvForRun, say }: Pick<Cli, 'setEnvForRun' | 'say'>,
): void {
  const given = credentialOptionSpecs.filter(({ flag }) => flags[flag] !== undefined);
  const [first] = given;
  if (!first) return;
  const outdone = overriddenOptions(flags);
  const typed = outdone.find(({ flag }) => flags[flag] !== undefined);
  if (typed) {
    throw new SlipwayError('USAGE', `--${first.flag} and --${typed.flag} both say which credentials are used`, {
      hint: `Give one of them: --${typed.flag} leaves no secret in the list of processes`,
    });
  }
  for (const { env } of outdone) if (env !== undefined) setEnvForRun(env, undefined);
  for (const { env, flag } of given) if (env !== undefined) setEnvForRun(env, String(flags[flag]));
  say(
    `Every process of this computer can read ${formatList(given.map(({ flag }) => `--${flag}`))}, and Slipway keeps none of it: set ${formatList(given.flatMap(({ env }) => env ?? []))} instead, for later commands too`,
  );
}

/** The values of these options among the flags, by their schema's keys. */
export function pickFlagValues(infos: readonly OptionSpec[], flags: OptionValues): OptionValues {
  return Object.fromEntries(
    infos.filter((info) => flags[info.flag] !== undefined).map((info) => [info.key, flags[info.flag]]),
  );
}

type SpecSources = {
  readonly name: string;
  readonly driver: string;
  readonly flags: OptionValues;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly before: MachineSpec | undefined;
  readonly profiles: readonly string[];
};

/** The one place of precedence: flags, then what the machine was asked for before, then the environment, then defaults. */
export function resolveSpec({ name, driver: driverName, flags, env, before, profiles }: SpecSources): MachineSpec {
  const driver = getDriver(driverName);
  const infos = driverOptionSpecs[driver.name] ?? [];
  requireNoForeignFlags(driver, flags);
  const outdone = overriddenOptions(flags).filter((info) => infos.includes(info));
  const asked = {
    ...optionsFromEnv(infos, env),
    ...before?.options,
    ...pickFlagValues(infos, flags),
    ...Object.fromEntries(outdone.map(({ key }) => [key, ''])),
  };
  const options = parseOptions(driver.options, infos, omitEmptyValues(asked));
  return {
    id: before?.id ?? randomUUID(),
    name,
    driver: driver.name,
    options: toAbsolutePaths(infos, options),
    engine: resolveEngine({
      ...withInferredSource(optionsFromEnv(engineOptionSpecs, env)),
      ...before?.engine,
      ...withInferredSource(pickFlagValues(engineOptionSpecs, flags)),
    }),
    profiles,
    // By these its driver and its file know it, whatever the flags are.
    ...(before?.batch ? { batch: before.batch } : {}),
    ...(before?.fleet === undefined ? {} : { fleet: before.fleet }),
    ...resolveLifetime({
      ...optionsFromEnv(lifetimeOptionSpecs, env),
      ...before?.life,
      ...pickFlagValues(lifetimeOptionSpecs, flags),
    }),
  };
}

function resolveLifetime(values: OptionValues): Pick<MachineSpec, 'life'> {
  const life = parseOptions(lifetimeOptions, lifetimeOptionSpecs, omitEmptyValues(values));
  return Object.keys(life).length === 0 ? {} : { life };
}

/** Changes by flags alone: a variable that was set since must not change a machine that exists. */
export function applyFlagsToSpec(before: MachineSpec, flags: OptionValues): MachineSpec {
  return resolveSpec({ name: before.name, driver: before.driver, flags, env: {}, before, profiles: before.profiles });
}

/** `--engine-version=` takes back what was asked for before. */
function omitEmptyValues(values: OptionValues): OptionValues {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ''));
}

function resolveEngine(values: OptionValues): EngineSpec {
  return withoutUnusedInstallUrl(parseOptions(engineOptions, engineOptionSpecs, omitEmptyValues(values)));
}

/** The driver that the flags speak of, where none was named. */
export function driverFromFlags(flags: OptionValues): string | undefined {
  const spoken = drivers.filter(({ name }) =>
    (driverOptionSpecs[name] ?? []).some((info) => flags[info.flag] !== undefined),
  );
  if (spoken.length < 2) return spoken[0]?.name;
  throw new SlipwayError('USAGE', `These flags are of several drivers: ${formatList(spoken.map(({ name }) => name))}`, {
    hint: `Say which one is meant: --driver ${spoken[0]?.name}, without the flags of the other`,
  });
}

function requireNoForeignFlags(driver: DriverManifest, flags: OptionValues): void {
  for (const other of drivers) {
    if (other.name === driver.name) continue;
    const strangers = (driverOptionSpecs[other.name] ?? []).filter((info) => flags[info.flag] !== undefined);
    if (strangers.length === 0) continue;
    throw new SlipwayError(
      'USAGE',
      `${formatList(strangers.map((info) => `--${info.flag}`))} belong${strangers.length === 1 ? 's' : ''} to the driver ${other.name}, not to ${driver.name}`,
      {
        hint: `See what ${driver.name} takes: slipway help ${driver.name}`,
      },
    );
  }
}

/** A path is meant as seen from where it was typed, whatever folder the next command runs in. */
function isImageFile(key: string, value: string): boolean {
  return key === 'image' && isImagePath(value);
}

function toAbsolutePaths(infos: readonly OptionSpec[], options: OptionValues): OptionValues {
  const files = new Set(infos.filter((info) => info.valueName === 'file').map((info) => info.key));
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key,
      typeof value === 'string' && (files.has(key) || isImageFile(key, value)) ? resolve(value) : value,
    ]),
  );
}
