import type { Driver } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import type { Forward, Forwarder } from '../machine/forward.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { driverCallFor, type World } from '../operations/world.ts';

/** Opens the ways in which ports of a machine can be forwarded, the best one first. */
export async function openForwarders(
  machine: ReadyMachine,
  driver: Driver,
  world: World,
): Promise<readonly Forwarder[]> {
  const own = await driver.openForwarder?.(targetOf(driver, machine.spec, machine), driverCallFor(world, world.debug));
  return own ? [own] : [];
}

/** Combines forwarders to one: what the first one can't forward, the next one does. */
export function combineForwarders(forwarders: readonly Forwarder[]): Forwarder {
  return {
    async list() {
      return (await Promise.all(forwarders.map((forwarder) => forwarder.list()))).flat();
    },
    async add(forward: Forward) {
      let refusal: Awaited<ReturnType<Forwarder['add']>> = { reason: 'refused', detail: 'it can not be forwarded' };
      for (const forwarder of forwarders) {
        refusal = await forwarder.add(forward);
        // A port that is taken, or may not be opened, is so in every way.
        if (refusal?.reason !== 'refused') return refusal;
      }
      return refusal;
    },
    async remove(forward: Forward) {
      for (const forwarder of forwarders) await forwarder.remove(forward);
    },
  };
}
