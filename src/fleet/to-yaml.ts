import { getDriver } from '../drivers/registry.ts';
import type { MachineSpec } from '../machine/model.ts';
import { describeOptions, type OptionSpec, isSameValue, type OptionValues } from '../machine/options.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { engineOptionSpecs, lifetimeOptionSpecs, sharingOptionSpecs } from '../machine/spec.ts';
import { formatYaml } from './yaml.ts';

type ExportedSpec = Omit<MachineSpec, 'id' | 'batch' | 'fleet'>;

/**
 * Returns the machines.yaml that describes this machine. It leaves out defaults, secrets and options that a driver
 * resolved, and writes `${NAME}` for values of the engine's variables.
 */
export function toYaml(spec: ExportedSpec): string {
  return formatYaml({ machines: { [spec.name]: entryOf(spec) } });
}

function entryOf({
  driver: name,
  options,
  userOptions,
  engine,
  lifetime,
  sharing,
  profiles,
}: ExportedSpec): OptionValues {
  const driver = getDriver(name);
  const driverValues = nonDefaultValues(describeOptions(driver.options, driver.name), userOptions ?? options);
  const variables = engine.env.map((pair) => pair.split('=', 1)[0] ?? '');
  const engineValues = {
    ...nonDefaultValues(engineOptionSpecs, engine),
    ...(variables.length > 0 ? { env: variables.map((variable) => `${variable}=\${${variable}}`) } : {}),
  };
  return {
    driver: driver.name,
    ...(Object.keys(driverValues).length > 0 ? { [driver.name]: driverValues } : {}),
    ...(Object.keys(engineValues).length > 0 ? { engine: engineValues } : {}),
    ...(isSameValue(profiles, defaultProfiles) ? {} : { profiles }),
    ...nonDefaultValues(lifetimeOptionSpecs, lifetime ?? {}),
    ...nonDefaultValues(sharingOptionSpecs, sharing ?? {}),
  };
}

/** Returns the values that differ from their defaults and are not secret. */
function nonDefaultValues(specs: readonly OptionSpec[], values: OptionValues): OptionValues {
  const shown = specs.filter(
    ({ key, secret, default: initial }) => !secret && values[key] !== undefined && !isSameValue(values[key], initial),
  );
  return Object.fromEntries(shown.map(({ key }) => [key, values[key]]));
}
