import type { Driver, Target } from '../drivers/contract.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Allows the caller IP, this computer's current address, in the firewall of a cloud machine. The address may have
 * changed since the machine was created, and connections from the new one would wait until they time out.
 */
export async function allowCallerIp(
  { cloud }: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!cloud) return;
  await world.progress.step('admit', "Allow this computer's IP address", async (log) =>
    cloud.allowCallerIp(target, driverCallFor(world, log)),
  );
}
