import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { driverNamed, drivers } from '../drivers/registry.ts';
import type { Driver } from '../drivers/contract.ts';
import { SlipwayError } from '../errors.ts';
import { isImagePath } from '../images/source.ts';
import type { EngineSpec, MachineSpec } from '../machine/model.ts';
import { describe, fromEnv, listed, parseOptions, type OptionInfo, type Values } from '../machine/options.ts';
import { engineInfos, engineOptions, lifeInfos, lifeOptions, settledSource, withSource } from '../machine/spec.ts';
import type { Cli } from './command.ts';

export const driverInfos: Readonly<Record<string, readonly OptionInfo[]>> = Object.fromEntries(
  drivers.map((driver) => [driver.name, describe(driver.options, driver.name)]),
);

/** Every option that shapes a machine, of all drivers: what `create` and `provision` accept. */
export const machineInfos: readonly OptionInfo[] = [...lifeInfos, ...engineInfos, ...Object.values(driverInfos).flat()];

/** Those of drivers that can be asked what they have of ours. */
export const cloudInfos: readonly OptionInfo[] = drivers
  .filter(({ owned }) => owned !== undefined)
  .flatMap(({ name }) => driverInfos[name] ?? []);

/** Credentials that some take as flags; never part of a machine. */
export const credentialInfos: readonly OptionInfo[] = drivers.flatMap(({ name, credentials }) =>
  credentials ? describe(credentials, name) : [],
);

/** The options that would choose other credentials than those that these flags lend. */
export function outdoneBy(flags: Values): readonly OptionInfo[] {
  return drivers.flatMap(({ name, credentials, credentialsBy }) => {
    const lent = credentials && describe(credentials, name).some(({ flag }) => flags[flag] !== undefined);
    return lent ? (driverInfos[name] ?? []).filter(({ key }) => key === credentialsBy) : [];
  });
}

/** For this run, as if the variables that the provider's own libraries read had been set, and no other choice been made. */
export function lendCredentials(flags: Values, { lend, say }: Pick<Cli, 'lend' | 'say'>): void {
  const given = credentialInfos.filter(({ flag }) => flags[flag] !== undefined);
  const [first] = given;
  if (!first) return;
  const outdone = outdoneBy(flags);
  const typed = outdone.find(({ flag }) => flags[flag] !== undefined);
  if (typed) {
    throw new SlipwayError('USAGE', `--${first.flag} and --${typed.flag} both say which credentials are used`, {
      hint: `Give one of them: --${typed.flag} leaves no secret in the list of processes`,
    });
  }
  for (const { env } of outdone) if (env !== undefined) lend(env, undefined);
  for (const { env, flag } of given) if (env !== undefined) lend(env, String(flags[flag]));
  say(
    `Every process of this computer can read ${listed(given.map(({ flag }) => `--${flag}`))}, and Slipway keeps none of it: set ${listed(given.flatMap(({ env }) => env ?? []))} instead, for later commands too`,
  );
}

/** The values of these options among the flags, by their schema's keys. */
export function valuesOf(infos: readonly OptionInfo[], flags: Values): Values {
  return Object.fromEntries(
    infos.filter((info) => flags[info.flag] !== undefined).map((info) => [info.key, flags[info.flag]]),
  );
}

type Sources = {
  readonly name: string;
  readonly driver: string;
  readonly flags: Values;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly before: MachineSpec | undefined;
  readonly profiles: readonly string[];
};

/** The one place of precedence: flags, then what the machine was asked for before, then the environment, then defaults. */
export function specFrom({ name, driver: driverName, flags, env, before, profiles }: Sources): MachineSpec {
  const driver = driverNamed(driverName);
  const infos = driverInfos[driver.name] ?? [];
  noStrangers(driver, flags);
  const outdone = outdoneBy(flags).filter((info) => infos.includes(info));
  const asked = {
    ...fromEnv(infos, env),
    ...before?.options,
    ...valuesOf(infos, flags),
    ...Object.fromEntries(outdone.map(({ key }) => [key, ''])),
  };
  const options = parseOptions(driver.options, infos, withoutEmpty(asked));
  return {
    id: before?.id ?? randomUUID(),
    name,
    driver: driver.name,
    options: absolutePaths(infos, options),
    engine: engineFrom({
      ...withSource(fromEnv(engineInfos, env)),
      ...before?.engine,
      ...withSource(valuesOf(engineInfos, flags)),
    }),
    profiles,
    // By these its driver and its file know it, whatever the flags are.
    ...(before?.batch ? { batch: before.batch } : {}),
    ...(before?.fleet === undefined ? {} : { fleet: before.fleet }),
    ...lifeFrom({ ...fromEnv(lifeInfos, env), ...before?.life, ...valuesOf(lifeInfos, flags) }),
  };
}

function lifeFrom(values: Values): Pick<MachineSpec, 'life'> {
  const life = parseOptions(lifeOptions, lifeInfos, withoutEmpty(values));
  return Object.keys(life).length === 0 ? {} : { life };
}

/** Changes by flags alone: a variable that was set since must not change a machine that exists. */
export function specChanged(before: MachineSpec, flags: Values): MachineSpec {
  return specFrom({ name: before.name, driver: before.driver, flags, env: {}, before, profiles: before.profiles });
}

/** `--engine-version=` takes back what was asked for before. */
function withoutEmpty(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ''));
}

function engineFrom(values: Values): EngineSpec {
  return settledSource(parseOptions(engineOptions, engineInfos, withoutEmpty(values)));
}

/** The driver that the flags speak of, where none was named. */
export function driverIn(flags: Values): string | undefined {
  const spoken = drivers.filter(({ name }) => (driverInfos[name] ?? []).some((info) => flags[info.flag] !== undefined));
  if (spoken.length < 2) return spoken[0]?.name;
  throw new SlipwayError('USAGE', `These flags are of several drivers: ${listed(spoken.map(({ name }) => name))}`, {
    hint: `Say which one is meant: --driver ${spoken[0]?.name}, without the flags of the other`,
  });
}

function noStrangers(driver: Driver, flags: Values): void {
  for (const other of drivers) {
    if (other.name === driver.name) continue;
    const strangers = (driverInfos[other.name] ?? []).filter((info) => flags[info.flag] !== undefined);
    if (strangers.length === 0) continue;
    throw new SlipwayError(
      'USAGE',
      `${listed(strangers.map((info) => `--${info.flag}`))} belong${strangers.length === 1 ? 's' : ''} to the driver ${other.name}, not to ${driver.name}`,
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

function absolutePaths(infos: readonly OptionInfo[], options: Values): Values {
  const files = new Set(infos.filter((info) => info.value === 'file').map((info) => info.key));
  return Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key,
      typeof value === 'string' && (files.has(key) || isImageFile(key, value)) ? resolve(value) : value,
    ]),
  );
}
