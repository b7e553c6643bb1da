import { getDriver } from '../drivers/registry.ts';
import type { MachineSpec } from '../machine/model.ts';
import { describeOptions, type OptionSpec, isSameValue, type OptionValues } from '../machine/options.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { engineOptionSpecs, lifetimeOptionSpecs } from '../machine/spec.ts';
import { formatYaml } from './yaml.ts';

type ExportedSpec = Omit<MachineSpec, 'id' | 'batch' | 'fleet'>;

/**
 * What one would write into machines.yaml to get this machine. Defaults, secrets and what a driver settled are left
 * out; values of the engine's variables are taken from the environment.
 */
export function toYaml(spec: ExportedSpec): string {
  return formatYaml({ machines: { [spec.name]: entryOf(spec) } });
}

function entryOf({ driver: name, options, userOptions, engine, lifetime, profiles }: ExportedSpec): OptionValues {
  const driver = getDriver(name);
  const own = nonDefaultValues(describeOptions(driver.options, driver.name), userOptions ?? options);
  const variables = engine.env.map((pair) => pair.split('=', 1)[0] ?? '');
  const asked = {
    ...nonDefaultValues(engineOptionSpecs, engine),
    ...(variables.length > 0 ? { env: variables.map((variable) => `${variable}=\${${variable}}`) } : {}),
  };
  return {
    driver: driver.name,
    ...(Object.keys(own).length > 0 ? { [driver.name]: own } : {}),
    ...(Object.keys(asked).length > 0 ? { engine: asked } : {}),
    ...(isSameValue(profiles, defaultProfiles) ? {} : { profiles }),
    ...nonDefaultValues(lifetimeOptionSpecs, lifetime ?? {}),
  };
}

/** What differs from the default and may be written down. */
function nonDefaultValues(infos: readonly OptionSpec[], values: OptionValues): OptionValues {
  const kept = infos.filter(
    ({ key, secret, default: initial }) => !secret && values[key] !== undefined && !isSameValue(values[key], initial),
  );
  return Object.fromEntries(kept.map(({ key }) => [key, values[key]]));
}
