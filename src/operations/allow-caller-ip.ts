import type { Driver, Target } from '../drivers/contract.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Lets this computer's current address through the machine's firewall, where the driver has one: it may have changed
 * since the machine was created, and a connection from another network would wait until it times out.
 */
export async function allowCallerIp(
  driver: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!driver.cloud) return;
  await world.progress.step('admit', "Allow this computer's IP address", async (log) =>
    driver.cloud?.allowCallerIp(target, driverCallFor(world, log)),
  );
}
