import { drivers } from '../drivers/registry.ts';
import { describeOptions, type OptionSpec } from '../machine/options.ts';
import { engineOptionSpecs, lifetimeOptionSpecs } from '../machine/spec.ts';

/** The options of each driver, by the driver's name. */
export const driverOptionSpecs: Readonly<Record<string, readonly OptionSpec[]>> = Object.fromEntries(
  drivers.map((driver) => [driver.name, describeOptions(driver.options, driver.name)]),
);

/** Every option that shapes a machine, of all drivers: what `create` and `provision` accept. */
export const machineOptionSpecs: readonly OptionSpec[] = [
  ...lifetimeOptionSpecs,
  ...engineOptionSpecs,
  ...Object.values(driverOptionSpecs).flat(),
];

/** The options of the drivers that can list their resources at a provider. */
export const cloudOptionSpecs: readonly OptionSpec[] = drivers
  .filter(({ kind }) => kind === 'cloud')
  .flatMap(({ name }) => driverOptionSpecs[name] ?? []);

/** Credentials that some drivers take as flags; they are never part of a machine. */
export const credentialOptionSpecs: readonly OptionSpec[] = drivers.flatMap(({ name, account }) =>
  account?.credentials ? describeOptions(account.credentials, name) : [],
);
