import type { Driver, DriverManifest } from '../drivers/contract.ts';
import { getDriver, loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { userOptionsAfter } from '../machine/user-options.ts';
import { profilesNamed } from '../profiles/registry.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { requestRecorderFor, withFailureRecord } from './checkpoint.ts';
import { diffSpecs, keepResolvedOptions } from './diff-specs.ts';
import { createFirstBootConfig, waitForBoot } from './first-boot.ts';
import { requireNoConflicts, requireNoReadyMachine, requireSameCreateOptions, requireSameDriver } from './guards.ts';
import { announceAutoStop, resolveLifetimeFields, type LifetimeFields } from './lifetime.ts';
import { provisionToReady } from './provision.ts';
import { validateSpec, type ValidSpec } from './validate-spec.ts';
import { scheduleSpare, takeSpare } from './warm-pool.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * A valid spec with the options that its driver resolved, and whose image, if it has one, is on this computer. Returned
 * by `resolveCreateSpec` and `resolveReplacement`.
 */
export type ResolvedSpec = ValidSpec;

/**
 * Creates a machine, or continues an interrupted creation: the record is saved after each stage, so each run continues
 * where the previous one stopped. The spec is validated, then resolved (`resolveCreateSpec`), and then the machine is
 * created; the functions below start at a later stage.
 */
export async function createMachine(wanted: MachineSpec, world: World): Promise<ReadyMachine> {
  return await createValidMachine(await validateSpec(wanted, world), world);
}

/** Creates a machine as `createMachine` does, from a spec that `validateSpec` has accepted. */
export async function createValidMachine(valid: ValidSpec, world: World): Promise<ReadyMachine> {
  return await createResolvedMachine(await resolveCreateSpec(valid, world), world);
}

/** Creates a machine as `createMachine` does, from a spec that is resolved already. */
export async function createResolvedMachine(resolved: ResolvedSpec, world: World): Promise<ReadyMachine> {
  const { engineSettings } = resolved;
  const driver = await loadDriver(resolved.spec.driver);
  await using _lock = await world.store.lock(resolved.spec.name);
  const { machine, spec, existedBefore } = await reserveName(resolved.spec, world);
  announceAutoStop(machine, driver, world);
  return await withFailureRecord(machine, world, async (save) => {
    const run = { machine, engineSettings, save };
    if (driver.kind === 'existing') return provisionToReady(run, driver, world);
    const target = targetOf(driver, spec, machine);
    // Before the first-boot configuration, which then has the spare's keys. `create` resumes the spare.
    await takeSpare(machine, driver, world);
    const result = await world.progress.step('create', `Create ${spec.name} (${driver.name})`, async (log) =>
      driver.machines.create(target, await createFirstBootConfig(machine, engineSettings, driver, world), {
        ...driverCallFor(world, log),
        ...requestRecorderFor(machine, save, world),
      }),
    );
    if (existedBefore) await allowCallerIp(driver, target, world);
    const booted = waitForBoot(machine, driver, target, world);
    // Prevents an unhandled rejection: it is awaited below, or in provisionToReady, which reports the failure.
    booted.catch(() => {});
    // The engine of a resumed spare may answer earlier, so provisionToReady tries it while the VM reports its start.
    if (result?.resumed !== true) await booted;
    const isFirstBoot = result?.bootApplied === true;
    const ready = await provisionToReady(run, driver, world, { isFirstBoot, booted });
    await scheduleSpare(ready, driver, world);
    return ready;
  });
}

/**
 * Checks, resolves and downloads as much as possible before the name is reserved, so that a creation that can't
 * start leaves nothing behind. Returns the spec with the options that the driver resolved.
 */
export async function resolveCreateSpec(valid: ValidSpec, world: World): Promise<ResolvedSpec> {
  const driver = await loadDriver(valid.spec.driver);
  // Checked before the image is prepared, which may take minutes.
  const before = await world.store.find(valid.spec.name);
  requireContinuable(before, valid.spec, driver);
  return { ...valid, spec: await resolveAndPrepare(driver, valid.spec, before, world) };
}

/** Validates a replacement fully before the old machine is removed, and returns its resolved spec. */
export async function resolveReplacement(before: Machine, wanted: MachineSpec, world: World): Promise<ResolvedSpec> {
  const driver = await loadDriver(wanted.driver);
  // With the old machine's id, checks accept a port or a context that the old machine holds: the new one may have it.
  // To another driver, the old id means nothing.
  const withOldId = { ...wanted, id: before.spec.id };
  const valid = await validateSpec(before.spec.driver === driver.name ? withOldId : wanted, world);
  await requireNoConflicts(withOldId, profilesNamed(wanted.profiles), world.clientPaths);
  const spec = await resolveAndPrepare(driver, wanted, undefined, world);
  // Called only for its checks: the lifetime counts from the creation.
  resolveLifetimeFields(undefined, spec, driver, world);
  return { ...valid, spec };
}

async function resolveAndPrepare(
  driver: Driver,
  wanted: MachineSpec,
  before: Machine | undefined,
  world: World,
): Promise<MachineSpec> {
  const { progress } = world;
  const userOptions = wanted.userOptions ?? (before ? userOptionsAfter(before.spec, wanted.options) : wanted.options);
  const unresolved =
    userOptions && isUnrequested(before) ? { ...wanted, options: driver.options.parse(userOptions) } : wanted;
  const options = driver.cloud
    ? // The id is older than the title, but progress events contain it, so it stays.
      await progress.step('settle', `Resolve options with ${driver.name}`, async (log) =>
        driver.cloud?.resolveOptions(targetOf(driver, unresolved), driverCallFor(world, log)),
      )
    : undefined;
  const spec =
    options === undefined
      ? wanted
      : // Parsed immediately: values that no later command could read must not get into a record.
        { ...wanted, options: driver.options.parse(options), ...(userOptions ? { userOptions } : {}) };
  if (driver.machines.prepare)
    await progress.step('prepare', 'Prepare the image', async (log) =>
      driver.machines.prepare?.(targetOf(driver, spec), driverCallFor(world, log)),
    );
  return spec;
}

/**
 * Returns whether an incomplete machine has nothing at its provider: what was resolved for it in one region or zone
 * must not decide in another, so its options are resolved again from those that the user gave.
 */
function isUnrequested(machine: Machine | undefined): boolean {
  return machine?.phase === 'creating' && machine.lastRequest === undefined;
}

type NameReservation = { readonly machine: Machine; readonly spec: MachineSpec; readonly existedBefore: boolean };

/**
 * Writes the first record, under the machine's lock and before anything exists, so that `rm` always finds an incomplete
 * machine. An interrupted creation keeps its id, its batch and its fleet, whether `create` or `apply` continues it.
 */
export async function reserveName(wanted: MachineSpec, world: World): Promise<NameReservation> {
  const { store, clientPaths } = world;
  const driver = getDriver(wanted.driver);
  const before = await store.find(wanted.name);
  requireContinuable(before, wanted, driver);
  const { id = wanted.id, batch = wanted.batch } = before?.spec ?? {};
  const { fleet: wantedFleet, ...wantedFields } = wanted;
  const fleet = before ? before.spec.fleet : wantedFleet;
  const spec = { ...wantedFields, id, ...(batch ? { batch } : {}), ...(fleet === undefined ? {} : { fleet }) };
  let lifetime: LifetimeFields;
  try {
    await requireNoConflicts(spec, profilesNamed(spec.profiles), clientPaths);
    lifetime = resolveLifetimeFields(before, spec, driver, world);
  } catch (error) {
    // Removes the folder that the lock created, so that the refused name is free again.
    if (!before) await store.remove(spec.name);
    throw error;
  }
  // The time to the deadline counts from now, so the deadline of an interrupted creation is dropped.
  const { deadline: _deadline, ...rest } = before ?? ({ version: 1, phase: 'creating', spec } as const);
  const machine: Machine = { ...rest, spec, ...lifetime };
  await store.write(machine);
  return { machine, spec, existedBefore: before !== undefined };
}

/** Refuses a name that a ready machine has, and an interrupted creation that this spec can't continue. */
function requireContinuable(before: Machine | undefined, wanted: MachineSpec, driver: DriverManifest): void {
  requireNoReadyMachine(before);
  if (!before) return;
  requireSameDriver(before, driver.name);
  requireSameCreateOptions(before, diffSpecs(before, keepResolvedOptions(before.spec, wanted, driver), driver), driver);
}
