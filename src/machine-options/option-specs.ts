import { drivers } from '../drivers/registry.ts';
import { describeOptions, type OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';

/** The options of each driver, by the driver's name. */
export const driverOptionSpecs: Readonly<Record<string, readonly OptionSpec[]>> = Object.fromEntries(
  drivers.map((driver) => [driver.name, describeOptions(driver.options, driver.name)]),
);

/** The options that `create` and `provision` accept: lifetime, sharing, engine, and those of all drivers. */
export const machineOptionSpecs: readonly OptionSpec[] = [
  ...lifetimeOptionSpecs,
  ...sharingOptionSpecs,
  ...engineOptionSpecs,
  ...Object.values(driverOptionSpecs).flat(),
];

/** The options of the drivers that can list their resources at a provider. */
export const cloudOptionSpecs: readonly OptionSpec[] = drivers
  .filter(({ kind }) => kind === 'cloud')
  .flatMap(({ name }) => driverOptionSpecs[name] ?? []);

/** The credentials that some drivers accept as flags. They are never stored with a machine. */
export const credentialOptionSpecs: readonly OptionSpec[] = drivers.flatMap(({ name, account }) =>
  account?.credentials ? describeOptions(account.credentials, name) : [],
);
