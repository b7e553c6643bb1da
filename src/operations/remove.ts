import { applyFileChanges } from '../computer/files.ts';
import { getStoreId } from '../machine/store-id.ts';
import { loadCode, type CloudDriver, type DriverCall, type DriverManifest } from '../drivers/contract.ts';
import { getDriver, drivers, targetOf } from '../drivers/registry.ts';
import { reasonOf, SlipwayError } from '../errors.ts';
import type { Machine, SshTarget } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import { planLifetime, stopTimersCommand } from '../provision/lifetime-timers.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import { planDeprovision } from '../provision/plan.ts';
import { readCurrentContextName, planContextSwitch } from '../profiles/current-context.ts';
import { contextName, readContextOwner, dockerContextProfile } from '../profiles/docker-context.ts';
import { dockerMachineProfile, hasSlipwayMark } from '../profiles/docker-machine.ts';
import { profiles } from '../profiles/registry.ts';
import type { ClientPaths, Profile } from '../profiles/profile.ts';
import type { Plan } from '../provision/step.ts';
import type { Store } from '../machine/store.ts';
import { tagExisting } from './tag-existing.ts';
import { connectToHost, gatherHostFacts, runStep } from './host-session.ts';
import { hasEnded, formatTime } from './deadline.ts';
import { driverCallFor, type World } from './world.ts';

/**
 * The result of a removal: what stays on the machine's host or at its provider, and whether the current context was
 * reset.
 */
export type RemoveResult = {
  readonly name: string;
  readonly stays: string | undefined;
  readonly contextReset: boolean;
};

/**
 * Removes a machine: its resources, its client profiles and its record; with `deprovision` also what provisioning wrote
 * on the host. Timers are removed from a remaining host in any case: without a record, no command could move its
 * deadline. With `force`, an unreadable record, an unreachable host, and a cloud that can't be asked do not prevent the
 * removal.
 */
export async function removeMachine(
  name: string,
  how: { readonly deprovision: boolean; readonly force: boolean },
  world: World,
): Promise<RemoveResult> {
  const { store, clientPaths, progress } = world;
  await findReadableMachine(name, how.force, store);
  await using _lock = await store.lock(name);
  const known = await findReadableMachine(name, how.force, store);
  const found = known && (await tagBeforeRemoval(known, how.force, world));
  if (found && how.deprovision) await deprovisionHost(found, how.force, world);
  else if (found && hasAutoStop(found) && isHostRetained(found)) await removeHostTimers(found, world);
  // A context of the same name that belongs to something else stays, even if it is the current one.
  const isOwnContext = await isOwnProfile(dockerContextProfile, name, found, clientPaths);
  const current = await readCurrentContextName(clientPaths).catch((error: unknown) => {
    if (how.force) return undefined;
    throw error;
  });
  const reset =
    current === contextName(name) && found?.spec.profiles.includes('docker-context') === true && isOwnContext;
  // With --force, a machine whose driver does not exist in this version can be removed too.
  const driver =
    found &&
    (how.force ? drivers.find(({ name: known }) => known === found.spec.driver) : getDriver(found.spec.driver));
  let forgottenAt: string | undefined;
  await progress.step('remove', `Remove ${name}`, async (log) => {
    if (driver && found) forgottenAt = await removeResources(driver, found, how.force, driverCallFor(world, log));
    if (!found) await removeByName(name, driverCallFor(world, log));
    if (reset) await applyFileChanges(await planContextSwitch(undefined, clientPaths));
    for (const profile of profiles)
      if (await isOwnProfile(profile, name, found, clientPaths))
        await applyFileChanges(profile.changesToRemove(name, clientPaths));
    // Its files are open in the machine's folder, which Windows does not move then.
    await world.links?.end(name);
    await store.remove(name);
  });
  if (!found && drivers.some(({ kind }) => kind === 'cloud'))
    progress.note('To check for leftover cloud resources: slipway gc');
  const retained = how.deprovision ? undefined : driver?.retainedOnRemove;
  const stays = forgottenAt === undefined ? retained : `what it had in ${forgottenAt} may still exist`;
  return { name, stays, contextReset: reset };
}

/** Tags a machine that another tool created. With `force`, it is removed by the name that the tool gave instead. */
async function tagBeforeRemoval(machine: Machine, force: boolean, world: World): Promise<Machine> {
  try {
    return await tagExisting(machine, world);
  } catch (error) {
    if (isCanceled(error)) throw error;
    if (!force) throw withForgetHint(error, machine);
    return machine;
  }
}

/**
 * Lets the driver remove the machine's resources. With `force`, a cloud that does not do so keeps them: notes say what
 * they are, since no record will. Returns the name of that cloud, or undefined if the resources are removed.
 */
async function removeResources(
  manifest: DriverManifest,
  machine: Machine,
  force: boolean,
  call: DriverCall,
): Promise<string | undefined> {
  const driver = await loadCode(manifest);
  try {
    await driver.machines.remove?.(targetOf(manifest, machine.spec, machine), call);
    return undefined;
  } catch (error) {
    if (driver.kind !== 'cloud' || isCanceled(error)) throw error;
    if (!force) throw withForgetHint(error, machine);
    const storeId = await getStoreId(call.computer);
    for (const note of describeForgotten(driver, machine, error, storeId)) call.note(note);
    return driver.name;
  }
}

function isCanceled(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'CANCELED';
}

/** Adds to an error of a cloud how to remove the machine without the cloud. */
function withForgetHint(error: unknown, { spec: { name } }: Machine): unknown {
  if (!(error instanceof SlipwayError)) return error;
  const { code, message, detail, cause } = error;
  const forget = `To forget the machine, and leave what it has in the cloud: slipway rm --force ${name}`;
  return new SlipwayError(code, message, { hint: [error.hint, forget].filter(Boolean).join('. '), detail, cause });
}

/** Returns notes about what a machine may have left in a cloud that could not be asked to remove it. */
function describeForgotten(driver: CloudDriver, machine: Machine, error: unknown, storeId: string): readonly string[] {
  const { resources, search, command } = driver.cloud.describeLeftovers(targetOf(driver, machine.spec, machine));
  return [
    `Machine "${machine.spec.name}" was forgotten, and not removed from ${driver.name}: ${reasonOf(error)}`,
    `These resources of "${machine.spec.name}" may still exist and cost money: ${resources}`,
    `${search}. Once ${driver.name} can be asked again, this finds and removes them: ${command} --home ${storeId}`,
  ];
}

/**
 * Returns whether a profile's settings belong to this machine. A broken record has no id, so it is enough that the
 * settings are Slipway's and have the machine's name.
 */
async function isOwnProfile(
  profile: Profile,
  name: string,
  found: Machine | undefined,
  places: ClientPaths,
): Promise<boolean> {
  if (found) return (await profile.findConflict(name, found.spec.id, places)) === undefined;
  if (profile === dockerMachineProfile) return await hasSlipwayMark(name, places);
  return profile !== dockerContextProfile || (await readContextOwner(contextName(name), places)) !== '';
}

/** Removes everything that drivers have under this name on this computer: a broken record has no driver and no id. */
async function removeByName(name: string, call: DriverCall): Promise<void> {
  for (const manifest of drivers) {
    const { machines, options } = await loadCode(manifest);
    for (const id of (await machines.findIdsByName?.(name, call)) ?? [])
      await machines.remove?.({ id, name, options: options.parse({}) }, call);
  }
}

async function findReadableMachine(name: string, force: boolean, store: Store): Promise<Machine | undefined> {
  try {
    return await store.read(name);
  } catch (error) {
    if (force && error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return undefined;
    throw error;
  }
}

async function deprovisionHost(machine: Machine, force: boolean, world: World): Promise<void> {
  const ssh = machine.host?.ssh;
  if (!ssh) return;
  try {
    await applyPlanOnHost(machine, ssh, (facts) => planDeprovision(facts, ssh.address), world);
  } catch (error) {
    if (!force || !(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(`The files on the host were not removed: ${error.message}`);
    if (hasAutoStop(machine) && isHostRetained(machine))
      world.progress.note(describeRemainingTimers(machine, ssh, error, world.now()));
  }
}

/** Removes the timers from a host, and nothing else. An unreachable host does not prevent the machine's removal. */
async function removeHostTimers(machine: Machine, world: World): Promise<void> {
  const ssh = machine.host?.ssh;
  if (!ssh) return;
  try {
    await applyPlanOnHost(
      machine,
      ssh,
      (facts) => [planLifetime(undefined, facts)].filter((step) => step !== undefined),
      world,
    );
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(describeRemainingTimers(machine, ssh, error, world.now()));
  }
}

async function applyPlanOnHost(
  machine: Machine,
  ssh: SshTarget,
  planOf: (facts: Facts) => Plan,
  world: World,
): Promise<void> {
  const { session } = await connectToHost(ssh, world);
  await using _session = session;
  const facts = await gatherHostFacts(session, ssh, machine.spec, world);
  const owner = ownerOf(facts);
  if (owner && owner.id !== machine.spec.id) {
    world.progress.note(`Host ${ssh.address} now belongs to machine "${owner.name}", so its files stay`);
    return;
  }
  for (const step of planOf(facts)) await runStep(step, { session, facts, address: ssh.address }, world);
}

function hasAutoStop({ deadline, spec }: Machine): boolean {
  return deadline !== undefined || spec.lifetime?.idleStop !== undefined;
}

/** Returns whether the host outlives its machine; if the driver removes the host, its timers go with it. */
function isHostRetained({ spec }: Machine): boolean {
  const kind = drivers.find(({ name }) => name === spec.driver)?.kind;
  return kind === undefined || kind === 'existing';
}

/** Returns a sentence about when a host still powers itself off, why, and how to stop that: its record is removed. */
function describeRemainingTimers(machine: Machine, ssh: SshTarget, { message }: SlipwayError, now: Date): string {
  const { deadline, spec } = machine;
  const when = [
    ...(deadline === undefined
      ? []
      : [hasEnded(machine, now) ? 'ten minutes after each boot' : `at ${formatTime(deadline)}`]),
    ...(spec.lifetime?.idleStop === undefined ? [] : [`once it has been idle for ${spec.lifetime.idleStop}`]),
  ].join(', or ');
  // For an incomplete machine it is unknown whether its timers were written.
  const verb = machine.phase === 'ready' ? 'still powers itself off' : 'may still power itself off';
  return `Host ${ssh.address} ${verb} ${when}, since its timers could not be removed (${message}); to stop that: ${stopTimersCommand(ssh)}`;
}
