import type { Driver } from '../drivers/driver.ts';
import { driverNamed, targetOf } from '../drivers/index.ts';
import { givenWith } from '../given.ts';
import type { Machine, MachineSpec, Ready } from '../machine.ts';
import type { Values } from '../options.ts';
import { bootOf, waitForStart } from './first-start.ts';
import { lifeFromNow, tellFate, type Lasting } from './life.ts';
import { admit, checkSpec, provision } from './provision.ts';
import { askingFor, noConflicts, notReady, recordingFailure } from './records.ts';
import { callOf, type World } from './world.ts';

/**
 * Makes a machine, or finishes one whose making was stopped: the record is saved at every arrow, so each run goes on from
 * where the last one came to.
 */
export async function createMachine(wanted: MachineSpec, world: World): Promise<Ready> {
  const { store } = world;
  const driver = driverNamed(wanted.driver);
  const settled = await settle(driver, wanted, world);
  await using _lock = await store.lock(wanted.name);
  const { machine, spec, again } = await begin(settled, world);
  tellFate(machine, driver, world);
  return await recordingFailure(machine, world, async (save) => {
    if (!driver.create) return provision(machine, driver, world, save);
    const target = targetOf(driver, spec, machine);
    const made = await world.progress.step('create', `Create ${spec.name} (${driver.name})`, async (log) =>
      driver.create?.(target, await bootOf(machine, driver, world), {
        ...callOf(world, log),
        asking: askingFor(machine, save, world),
      }),
    );
    if (again) await admit(driver, target, world);
    await waitForStart(machine, driver, target, world);
    return provision(machine, driver, world, save, made?.laid);
  });
}

/** All that is decided, refused and fetched before the name is taken: nothing is left of a create that could not begin. */
export async function settle(driver: Driver, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  const { store, progress } = world;
  await checkSpec(driver, wanted, world);
  // Told now, and not after the minutes that an image may take.
  const before = await store.find(wanted.name);
  notReady(before);
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
