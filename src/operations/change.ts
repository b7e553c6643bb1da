import type { Driver, DriverManifest } from '../drivers/contract.ts';
import { loadDriver } from '../drivers/registry.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import {
  changedOptions,
  optionChangeOf,
  checkSpec,
  checkOptionChange,
  provisionMachine,
  isSameExceptOptions,
  requireChangeInPlace,
  withOptions,
} from './provision.ts';
import { inspectMachine, startMachine, stopMachine } from './power.ts';
import type { World } from './world.ts';

const STOP_SECONDS = 60;

type SpecChange = (spec: MachineSpec) => MachineSpec;

/**
 * Makes a ready machine what is wanted of it, without making another. What it takes when it starts is given to one that runs by
 * stopping and starting it; one that is stopped stays so, and takes it at its next start. Killed anywhere, it goes on from there.
 */
export async function changeMachine(name: string, change: SpecChange, world: World): Promise<Machine> {
  const before = await world.store.read(name);
  const driver = await loadDriver(before.spec.driver);
  if (before.due !== undefined || optionsNeedingRestart(driver, before.spec, change(before.spec)).length > 0) {
    const machine = await recordPendingRestart(name, change, driver, world);
    if (machine.due !== undefined) {
      await stopMachine(name, STOP_SECONDS, world);
      await startMachine(name, world);
    }
  }
  const now = await world.store.read(name);
  return hasUnappliedChanges(now, change(now.spec)) ? await provisionMachine(name, change, world) : now;
}

/** The options that a machine takes when it starts, and that are to be others then. */
function optionsNeedingRestart(driver: DriverManifest, spec: MachineSpec, wanted: MachineSpec): readonly string[] {
  return changedOptions(spec, wanted).filter(
    (key) => optionChangeOf(driver, key, spec.options[key], wanted.options[key]) === 'restart',
  );
}

/** Writes them down, with the mark of a restart where the machine runs: from then on each run of this ends it. */
async function recordPendingRestart(
  name: string,
  change: SpecChange,
  driver: Driver,
  world: World,
): Promise<ReadyMachine> {
  await using _lock = await world.store.lock(name);
  const before = await world.store.read(name);
  if (before.phase !== 'ready') throw new Error(`${name} is not ready, so there is nothing to change in place`);
  const wanted = change(before.spec);
  requireChangeInPlace(before, wanted, driver);
  await checkOptionChange(before, wanted, driver, world);
  const keys = optionsNeedingRestart(driver, before.spec, wanted);
  const spec = withOptions(before.spec, wanted, keys);
  await checkSpec(driver, spec, world);
  const runs = before.due !== undefined || (await inspectMachine(before, world))?.state !== 'stopped';
  const machine: ReadyMachine = { ...before, spec, ...(runs ? { due: 'restart' } : {}) };
  await world.store.write(machine);
  return machine;
}

/** Whether anything is left that only its host, its provider or its clients can be told. */
function hasUnappliedChanges({ spec, failure }: Machine, wanted: MachineSpec): boolean {
  if (failure !== undefined || changedOptions(spec, wanted).length > 0) return true;
  return !isSameExceptOptions(spec, wanted);
}
