import type { Driver } from '../drivers/contract.ts';
import { driverNamed, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { differs, givenWith } from '../machine/user-options.ts';
import type { Machine, MachineSpec, Ready } from '../machine/model.ts';
import { listed, type Values } from '../machine/options.ts';
import { bootOf, waitForStart } from './first-boot.ts';
import { lifeFromNow, tellFate, type Lasting } from './lifetime.ts';
import { admit, changedOptions, changeOf, checkSpec, provision } from './provision.ts';
import { askingFor, noConflicts, notReady, recordingFailure } from './checkpoint.ts';
import { leaveSpare, takeSpare } from './warm-pool.ts';
import { callOf, type World } from './world.ts';

/**
 * Makes a machine, or finishes one whose making was stopped: the record is saved at every arrow, so each run goes on from
 * where the last one came to.
 */
export async function createMachine(wanted: MachineSpec, world: World): Promise<Ready> {
  return await createSettled(await settle(driverNamed(wanted.driver), wanted, world), world);
}

/** The rest of it, once all that can be decided before is. */
export async function createSettled(settled: MachineSpec, world: World): Promise<Ready> {
  const driver = driverNamed(settled.driver);
  await using _lock = await world.store.lock(settled.name);
  const { machine, spec, again } = await begin(settled, world);
  tellFate(machine, driver, world);
  return await recordingFailure(machine, world, async (save) => {
    if (!driver.create) return provision(machine, driver, world, save);
    const target = targetOf(driver, spec, machine);
    await takeSpare(machine, driver, world);
    const made = await world.progress.step('create', `Create ${spec.name} (${driver.name})`, async (log) =>
      driver.create?.(target, await bootOf(machine, driver, world), {
        ...callOf(world, log),
        asking: askingFor(machine, save, world),
      }),
    );
    if (again) await admit(driver, target, world);
    const started = waitForStart(machine, driver, target, world);
    // Waited for in any case: its failure is told where that is.
    started.catch(() => {});
    if (made?.awake !== true) await started;
    const ready = await provision(machine, driver, world, save, { born: made?.laid === true, started });
    await leaveSpare(ready, driver, world);
    return ready;
  });
}

/** All that is decided, refused and fetched before the name is taken: nothing is left of a create that could not begin. */
export async function settle(driver: Driver, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  await checkSpec(driver, wanted, world);
  // Told now, and not after the minutes that an image may take.
  const before = await world.store.find(wanted.name);
  notReady(before);
  sameMaking(before, wanted, driver);
  return await decided(driver, wanted, before, world);
}

/**
 * What is to take the place of a machine, settled while that one stands: all that a create refuses before it takes a name is refused
 * before the old one goes.
 */
export async function settleInPlaceOf(before: Machine, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  const driver = driverNamed(wanted.driver);
  // What the old one holds on this computer, a port or its context, is free for the new one.
  const inItsPlace = { ...wanted, id: before.spec.id };
  await checkSpec(driver, before.spec.driver === driver.name ? inItsPlace : wanted, world);
  await noConflicts(inItsPlace, world.places);
  const spec = await decided(driver, wanted, undefined, world);
  lifeFromNow(undefined, spec, driver, world);
  return spec;
}

async function decided(
  driver: Driver,
  wanted: MachineSpec,
  before: Machine | undefined,
  world: World,
): Promise<MachineSpec> {
  const { progress } = world;
  const options = driver.settle
    ? await progress.step('settle', `Ask ${driver.name} for what was left open`, async (log) =>
        driver.settle?.(targetOf(driver, wanted), callOf(world, log)),
      )
    : undefined;
  // Parsed at once: what no later command could read must not get into a record.
  const spec = options === undefined ? wanted : settledSpec(wanted, driver.options.parse(options), before);
  if (driver.prepare)
    await progress.step('prepare', 'Prepare the image', async (log) =>
      driver.prepare?.(targetOf(driver, spec), callOf(world, log)),
    );
  return spec;
}

/** With what was given beside what was made of it: else nobody could tell later what is the user's own. */
function settledSpec(wanted: MachineSpec, options: Values, before: Machine | undefined): MachineSpec {
  const given = wanted.given ?? (before ? givenWith(before.spec, wanted.options) : wanted.options);
  return { ...wanted, options, ...(given ? { given } : {}) };
}

type Begun = { readonly machine: Machine; readonly spec: MachineSpec; readonly again: boolean };

/** The first arrow, under the machine's lock: saved before anything exists, so that `rm` always finds a half-made machine. */
export async function begin(wanted: MachineSpec, world: World): Promise<Begun> {
  const { store, places } = world;
  const before = await store.find(wanted.name);
  notReady(before);
  sameMaking(before, wanted, driverNamed(wanted.driver));
  const { id = wanted.id, batch = wanted.batch } = before?.spec ?? {};
  // Whose it is does not change by who finishes it.
  const { fleet, ...rest } = wanted;
  const mark = before ? before.spec.fleet : fleet;
  const spec = { ...rest, id, ...(batch ? { batch } : {}), ...(mark === undefined ? {} : { fleet: mark }) };
  let life: Lasting;
  try {
    await noConflicts(spec, places);
    life = lifeFromNow(before, spec, driverNamed(spec.driver), world);
  } catch (error) {
    // The lock's folder: a name that was refused is as free as before.
    if (!before) await store.remove(spec.name);
    throw error;
  }
  const { deadline: _past, ...kept } = before ?? ({ version: 1, phase: 'creating', spec } as const);
  const machine: Machine = { ...kept, spec, ...life };
  await store.write(machine);
  return { machine, spec, again: before !== undefined };
}

/** What was asked for under this id is found again where it was asked for: in another zone, another one would be made. */
function sameMaking(before: Machine | undefined, wanted: MachineSpec, driver: Driver): void {
  if (!before) return;
  const { name } = wanted;
  const hint = `Finish it as it was begun: slipway create ${name}, or undo it first: slipway rm ${name}`;
  if (before.spec.driver !== driver.name) {
    const begun = `"${name}" is half made with the driver ${before.spec.driver}, not ${driver.name}`;
    throw new SlipwayError('MACHINE_EXISTS', begun, { hint });
  }
  const asked = before.phase !== 'creating' || before.asked !== undefined;
  if (!asked || !driver.create) return;
  const other = changedOptions(before.spec, wanted).filter(
    (key) =>
      differs(key, before.spec, wanted.options, driver.settle !== undefined) &&
      changeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'replace',
  );
  if (other.length === 0) return;
  throw new SlipwayError('USAGE', `"${name}" is half made with other options of ${driver.name}: ${listed(other)}`, {
    hint,
  });
}
