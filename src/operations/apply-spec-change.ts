/**
 * The changes of a spec that need no visit to the host: what the provider applies, and what waits for the next start.
 */
import type { Driver } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { formatList } from '../machine/options.ts';
import { userOptionsAfter } from '../machine/user-options.ts';
import type { SaveCheckpoint } from './checkpoint.ts';
import { changedOptions, type SpecDiff } from './diff-specs.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Records options that a stopped machine gets at its next start, and tells the user. Returns the machine if nothing
 * else changes, since no visit to the host is needed then.
 */
export async function deferToNextStart(
  before: Machine,
  wanted: MachineSpec,
  diff: SpecDiff,
  driver: Driver,
  world: World,
): Promise<ReadyMachine | undefined> {
  const atStart = changedOptions(diff, 'restart');
  if (before.phase !== 'ready' || atStart.length === 0) return undefined;
  const { state } = await driver.machines.inspect(
    targetOf(driver, before.spec, before),
    driverCallFor(world, world.debug),
  );
  if (state !== 'stopped') return undefined;
  const spec = withOptions(before.spec, wanted, atStart);
  const machine: ReadyMachine = { ...before, spec };
  await world.store.write(machine);
  world.progress.note(`Machine "${spec.name}" is stopped: ${formatList(atStart)} changes at its next start`);
  return atStart.length === diff.length ? machine : undefined;
}

/** Lets the provider change the options that take effect immediately, and then records them. */
export async function applyLiveChanges(
  before: Machine,
  wanted: MachineSpec,
  diff: SpecDiff,
  driver: Driver,
  world: World,
  save: SaveCheckpoint,
): Promise<void> {
  const changed = changedOptions(diff, 'live');
  if (!driver.changes?.apply || changed.length === 0) return;
  await world.progress.step('change', `Change ${formatList(changed)} (${driver.name})`, async (log) =>
    driver.changes?.apply?.(
      targetOf(driver, wanted),
      driver.options.parse(before.spec.options),
      driverCallFor(world, log),
    ),
  );
  // Saved here, since the change holds even if the host then can't be reached.
  if (before.phase === 'ready') await save({ ...before, spec: withOptions(before.spec, wanted, changed) });
}

/** Returns a machine's spec with the wanted values of these options. */
export function withOptions(before: MachineSpec, wanted: MachineSpec, keys: readonly string[]): MachineSpec {
  const options = { ...before.options, ...Object.fromEntries(keys.map((key) => [key, wanted.options[key]])) };
  const userOptions = userOptionsAfter(before, options);
  return { ...before, options, ...(userOptions ? { userOptions } : {}) };
}

/** Returns a changed spec with the user's own options: a change that does not name them keeps those of the machine. */
export function withUserOptions(before: MachineSpec, { userOptions: named, ...spec }: MachineSpec): MachineSpec {
  const userOptions =
    named === undefined || named === before.userOptions ? userOptionsAfter(before, spec.options) : named;
  return { ...spec, ...(userOptions ? { userOptions } : {}) };
}
