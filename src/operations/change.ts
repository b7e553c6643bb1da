import type { Driver } from '../drivers/contract.ts';
import { loadDriver } from '../drivers/registry.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { withOptions } from './apply-spec-change.ts';
import { changedOptions, diffSpecs } from './diff-specs.ts';
import { requireChangeInPlace } from './guards.ts';
import { inspectMachine, startMachine, stopMachine } from './power.ts';
import { provisionMachine } from './provision-machine.ts';
import { validateOptionChange, validateSpec } from './validate-spec.ts';
import type { World } from './world.ts';

const STOP_SECONDS = 60;

type SpecChanger = (spec: MachineSpec) => MachineSpec;

/**
 * Changes a ready machine in place. If options take effect at a start, a running machine is stopped and started; a
 * stopped one stays stopped and gets them at its next start. If it is killed, the next call continues from there.
 */
export async function changeMachine(name: string, change: SpecChanger, world: World): Promise<Machine> {
  const before = await world.store.read(name);
  const driver = await loadDriver(before.spec.driver);
  const atStart = changedOptions(diffSpecs(before, change(before.spec), driver), 'restart');
  if (before.pendingRestart !== undefined || atStart.length > 0) {
    const machine = await recordPendingRestart(name, change, driver, world);
    if (machine.pendingRestart !== undefined) {
      await stopMachine(name, STOP_SECONDS, world);
      await startMachine(name, world);
    }
  }
  const now = await world.store.read(name);
  const isUnchanged = diffSpecs(now, change(now.spec), driver).length === 0;
  return now.failure === undefined && isUnchanged ? now : await provisionMachine(name, change, world);
}

/**
 * Records the options for the next start, and marks a running machine for a restart. If this run is killed, the next
 * call completes the restart.
 */
async function recordPendingRestart(
  name: string,
  change: SpecChanger,
  driver: Driver,
  world: World,
): Promise<ReadyMachine> {
  await using _lock = await world.store.lock(name);
  const before = await world.store.read(name);
  if (before.phase !== 'ready') throw new Error(`${name} is not ready, so there is nothing to change in place`);
  const wanted = change(before.spec);
  const diff = diffSpecs(before, wanted, driver);
  requireChangeInPlace(diff, name, driver);
  await validateOptionChange(before, wanted, diff, driver, world);
  const spec = withOptions(before.spec, wanted, changedOptions(diff, 'restart'));
  await validateSpec(spec, world);
  const isRunning = before.pendingRestart !== undefined || (await inspectMachine(before, world))?.state !== 'stopped';
  const machine: ReadyMachine = { ...before, spec, ...(isRunning ? { pendingRestart: true } : {}) };
  await world.store.write(machine);
  return machine;
}
