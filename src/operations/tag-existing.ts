import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine } from '../machine/model.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * What another tool made for this machine gets the machine's marks, before anything is done with it: from then on it is found as if we
 * had made it. Under the machine's lock. As it is for all others.
 */
export async function tagExisting<M extends Machine>(machine: M, world: World): Promise<M> {
  const { adoptedResource, ...rest } = machine;
  if (adoptedResource === undefined) return machine;
  const { spec } = machine;
  const driver = await loadDriver(spec.driver);
  const options = await world.progress.step(
    'adopt',
    `Mark "${spec.name}" as a machine of Slipway (${driver.name})`,
    async (log) => driver.cloud?.adopt?.(targetOf(driver, spec), adoptedResource, driverCallFor(world, log)),
  );
  const ours = { ...rest, spec: { ...spec, ...(options ? { options } : {}) } } as unknown as M;
  await world.store.write(ours);
  return ours;
}
