import type { Driver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import { type DaemonSettings, engineSettingsOf } from '../provision/daemon-json.ts';
import { changedOptions, type SpecDiff } from './diff-specs.ts';
import { requireAutoStopSupported } from './guards.ts';
import { driverCallFor, type World } from './world.ts';

/** A spec that can become a machine, and the engine settings that its validation has computed. */
export type ValidSpec = { readonly spec: MachineSpec; readonly engineSettings: DaemonSettings };

/**
 * Refuses, before anything exists, a spec that can't become a machine: engine options that daemon.json can't hold, a
 * lifetime that the driver does not support, and whatever the driver itself refuses.
 */
export async function validateSpec(spec: MachineSpec, world: World): Promise<ValidSpec> {
  const driver = await loadDriver(spec.driver);
  const engineSettings = engineSettingsOf(spec.engine);
  requireAutoStopSupported(spec, driver);
  await driver.machines.validate?.(targetOf(driver, spec), driverCallFor(world, world.debug));
  return { spec, engineSettings };
}

/**
 * Lets the driver refuse a change of its options before anything is recorded or stopped, for example an instance type
 * that does not exist or a firewall that other machines share.
 */
export async function validateOptionChange(
  before: Machine,
  wanted: MachineSpec,
  diff: SpecDiff,
  driver: Driver,
  world: World,
): Promise<void> {
  if (!driver.changes?.validate || changedOptions(diff).length === 0) return;
  await driver.changes.validate(
    targetOf(driver, wanted),
    driver.options.parse(before.spec.options),
    driverCallFor(world, world.debug),
  );
}
