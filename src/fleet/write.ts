import { driverNamed } from '../drivers/registry.ts';
import type { MachineSpec } from '../machine/model.ts';
import { describe, type OptionInfo, same, type Values } from '../machine/options.ts';
import { defaultProfiles } from '../profiles/registry.ts';
import { engineInfos, lifeInfos } from '../machine/spec.ts';
import { yamlText } from './yaml.ts';

type Asked = Omit<MachineSpec, 'id' | 'batch' | 'fleet'>;

/**
 * What one would write into machines.yaml to get this machine. Defaults, secrets and what a driver settled are left out; values
 * of the engine's variables are taken from the environment.
 */
export function toYaml(spec: Asked): string {
  return yamlText({ machines: { [spec.name]: entryOf(spec) } });
}

function entryOf({ driver: name, options, given, engine, life, profiles }: Asked): Values {
  const driver = driverNamed(name);
  const own = set(describe(driver.options, driver.name), given ?? options);
  const variables = engine.env.map((pair) => pair.split('=', 1)[0] ?? '');
  const asked = {
    ...set(engineInfos, engine),
    ...(variables.length > 0 ? { env: variables.map((variable) => `${variable}=\${${variable}}`) } : {}),
  };
  return {
    driver: driver.name,
    ...(Object.keys(own).length > 0 ? { [driver.name]: own } : {}),
    ...(Object.keys(asked).length > 0 ? { engine: asked } : {}),
    ...(same(profiles, defaultProfiles) ? {} : { profiles }),
    ...set(lifeInfos, life ?? {}),
  };
}

/** What differs from the default and may be written down. */
function set(infos: readonly OptionInfo[], values: Values): Values {
  const kept = infos.filter(
    ({ key, secret, default: initial }) => !secret && values[key] !== undefined && !same(values[key], initial),
  );
  return Object.fromEntries(kept.map(({ key }) => [key, values[key]]));
}
