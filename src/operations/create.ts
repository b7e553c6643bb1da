import type { Driver, DriverManifest } from '../drivers/contract.ts';
import { getDriver, loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { isOptionChanged, userOptionsAfter } from '../machine/user-options.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { formatList, type OptionValues } from '../machine/options.ts';
import { createFirstBootConfig, waitForBoot } from './first-boot.ts';
import { resolveLifetimeFields, announceAutoStop, type LifetimeFields } from './lifetime.ts';
import { allowCallerIp, changedOptions, optionChangeOf, checkSpec, provisionToReady } from './provision.ts';
import { requestRecorderFor, requireNoConflicts, requireNoReadyMachine, withFailureRecord } from './checkpoint.ts';
import { scheduleSpare, takeSpare } from './warm-pool.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * Makes a machine, or finishes one whose making was stopped: the record is saved at every arrow, so each run goes on from
 * where the last one came to.
 */
export async function createMachine(wanted: MachineSpec, world: World): Promise<ReadyMachine> {
  return await createResolvedMachine(await resolveCreateSpec(await loadDriver(wanted.driver), wanted, world), world);
}

/** The rest of it, once all that can be decided before is. */
export async function createResolvedMachine(settled: MachineSpec, world: World): Promise<ReadyMachine> {
  const driver = await loadDriver(settled.driver);
  await using _lock = await world.store.lock(settled.name);
  const { machine, spec, existedBefore } = await reserveName(settled, world);
  announceAutoStop(machine, driver, world);
  return await withFailureRecord(machine, world, async (save) => {
    if (driver.kind === 'existing') return provisionToReady(machine, driver, world, save);
    const target = targetOf(driver, spec, machine);
    await takeSpare(machine, driver, world);
    const made = await world.progress.step('create', `Create ${spec.name} (${driver.name})`, async (log) =>
      driver.machines.create(target, await createFirstBootConfig(machine, driver, world), {
        ...driverCallFor(world, log),
        recordRequest: requestRecorderFor(machine, save, world),
      }),
    );
    if (existedBefore) await allowCallerIp(driver, target, world);
    const started = waitForBoot(machine, driver, target, world);
    // Waited for in any case: its failure is told where that is.
    started.catch(() => {});
    if (made.resumed !== true) await started;
    const ready = await provisionToReady(machine, driver, world, save, { born: made.bootApplied, started });
    await scheduleSpare(ready, driver, world);
    return ready;
  });
}

/** All that is decided, refused and fetched before the name is taken: nothing is left of a create that could not begin. */
export async function resolveCreateSpec(driver: Driver, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  await checkSpec(driver, wanted, world);
  // Told now, and not after the minutes that an image may take.
  const before = await world.store.find(wanted.name);
  requireNoReadyMachine(before);
  requireSameCreateOptions(before, wanted, driver);
  return await resolveAndPrepare(driver, wanted, before, world);
}

/**
 * What is to take the place of a machine, settled while that one stands: all that a create refuses before it takes a name is refused
 * before the old one goes.
 */
export async function resolveReplacement(before: Machine, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  const driver = await loadDriver(wanted.driver);
  // What the old one holds on this computer, a port or its context, is free for the new one.
  const inItsPlace = { ...wanted, id: before.spec.id };
  await checkSpec(driver, before.spec.driver === driver.name ? inItsPlace : wanted, world);
  await requireNoConflicts(inItsPlace, world.clientPaths);
  const spec = await resolveAndPrepare(driver, wanted, undefined, world);
  resolveLifetimeFields(undefined, spec, driver, world);
  return spec;
}

async function resolveAndPrepare(
  driver: Driver,
  wanted: MachineSpec,
  before: Machine | undefined,
  world: World,
): Promise<MachineSpec> {
  const { progress } = world;
  const options = driver.cloud
    ? await progress.step('settle', `Ask ${driver.name} for what was left open`, async (log) =>
        driver.cloud?.resolveOptions(targetOf(driver, wanted), driverCallFor(world, log)),
      )
    : undefined;
  // Parsed at once: what no later command could read must not get into a record.
  const spec = options === undefined ? wanted : resolvedSpec(wanted, driver.options.parse(options), before);
  if (driver.machines.prepare)
    await progress.step('prepare', 'Prepare the image', async (log) =>
      driver.machines.prepare?.(targetOf(driver, spec), driverCallFor(world, log)),
    );
  return spec;
}

/** With what was given beside what was made of it: else nobody could tell later what is the user's own. */
function resolvedSpec(wanted: MachineSpec, options: OptionValues, before: Machine | undefined): MachineSpec {
  const given = wanted.given ?? (before ? userOptionsAfter(before.spec, wanted.options) : wanted.options);
  return { ...wanted, options, ...(given ? { given } : {}) };
}

type NameReservation = { readonly machine: Machine; readonly spec: MachineSpec; readonly existedBefore: boolean };

/** The first arrow, under the machine's lock: saved before anything exists, so that `rm` always finds a half-made machine. */
export async function reserveName(wanted: MachineSpec, world: World): Promise<NameReservation> {
  const { store, clientPaths } = world;
  const before = await store.find(wanted.name);
  requireNoReadyMachine(before);
  requireSameCreateOptions(before, wanted, getDriver(wanted.driver));
  const { id = wanted.id, batch = wanted.batch } = before?.spec ?? {};
  // Whose it is does not change by who finishes it.
  const { fleet, ...rest } = wanted;
  const mark = before ? before.spec.fleet : fleet;
  const spec = { ...rest, id, ...(batch ? { batch } : {}), ...(mark === undefined ? {} : { fleet: mark }) };
  let life: LifetimeFields;
  try {
    await requireNoConflicts(spec, clientPaths);
    life = resolveLifetimeFields(before, spec, getDriver(spec.driver), world);
  } catch (error) {
    // The lock's folder: a name that was refused is as free as before.
    if (!before) await store.remove(spec.name);
    throw error;
  }
  const { deadline: _past, ...kept } = before ?? ({ version: 1, phase: 'creating', spec } as const);
  const machine: Machine = { ...kept, spec, ...life };
  await store.write(machine);
  return { machine, spec, existedBefore: before !== undefined };
}

/** What was asked for under this id is found again where it was asked for: in another zone, another one would be made. */
function requireSameCreateOptions(before: Machine | undefined, wanted: MachineSpec, driver: DriverManifest): void {
  if (!before) return;
  const { name } = wanted;
  const hint = `Finish it as it was begun: slipway create ${name}, or undo it first: slipway rm ${name}`;
  if (before.spec.driver !== driver.name) {
    const begun = `"${name}" is half made with the driver ${before.spec.driver}, not ${driver.name}`;
    throw new SlipwayError('MACHINE_EXISTS', begun, { hint });
  }
  const asked = before.phase !== 'creating' || before.asked !== undefined;
  if (!asked || driver.kind === 'existing') return;
  const other = changedOptions(before.spec, wanted).filter(
    (key) =>
      isOptionChanged(key, before.spec, wanted.options, driver.kind === 'cloud') &&
      optionChangeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'replace',
  );
  if (other.length === 0) return;
  throw new SlipwayError('USAGE', `"${name}" is half made with other options of ${driver.name}: ${formatList(other)}`, {
    hint,
  });
}
