import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine } from '../machine/model.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Tags the resource that another tool created for this machine, before anything else is done with it: from then on
 * Slipway finds it like one of its own. Called under the machine's lock; returns any other machine unchanged.
 */
export async function tagExisting<M extends Machine>(machine: M, world: World): Promise<M> {
  const { adoptedResource, ...rest } = machine;
  if (adoptedResource === undefined) return machine;
  const { spec } = machine;
  const driver = await loadDriver(spec.driver);
  const options = await world.progress.step(
    'adopt',
    `Tag ${spec.name} as a machine of Slipway (${driver.name})`,
    async (log) => driver.cloud?.adopt?.(targetOf(driver, spec), adoptedResource, driverCallFor(world, log)),
  );
  const tagged = { ...rest, spec: { ...spec, ...(options ? { options } : {}) } } as unknown as M;
  await world.store.write(tagged);
  return tagged;
}
