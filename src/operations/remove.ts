import { applyFileChanges } from '../computer/files.ts';
import { loadCode, type DriverCall } from '../drivers/contract.ts';
import { getDriver, drivers, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
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

export type RemoveResult = {
  readonly name: string;
  readonly stays: string | undefined;
  readonly contextReset: boolean;
};

/**
 * Takes away what this machine put anywhere; `deprovision` includes what provisioning wrote on the host. A host that stays loses its
 * timers in any case: once its machine is forgotten, nobody could move its deadline.
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
  const found = known && (await tagExisting(known, world));
  if (found && how.deprovision) await deprovisionHost(found, how.force, world);
  else if (found && hasAutoStop(found) && isHostRetained(found)) await removeHostTimers(found, world);
  // A context of that name that is not this machine's stays, also as the current one.
  const ours = await isOwnProfile(dockerContextProfile, name, found, clientPaths);
  const current = await readCurrentContextName(clientPaths).catch((error: unknown) => {
    if (how.force) return undefined;
    throw error;
  });
  const reset = current === contextName(name) && found?.spec.profiles.includes('docker-context') === true && ours;
  // With --force also a machine of a driver that this version lacks can be forgotten.
  const driver =
    found &&
    (how.force ? drivers.find(({ name: known }) => known === found.spec.driver) : getDriver(found.spec.driver));
  await progress.step('remove', `Remove ${name}`, async (log) => {
    if (driver && found)
      await (await loadCode(driver)).machines.remove?.(targetOf(driver, found.spec, found), driverCallFor(world, log));
    if (!found) await removeByName(name, driverCallFor(world, log));
    if (reset) await applyFileChanges(await planContextSwitch(undefined, clientPaths));
    for (const profile of profiles)
      if (await isOwnProfile(profile, name, found, clientPaths))
        await applyFileChanges(profile.changesToRemove(name, clientPaths));
    await store.remove(name);
  });
  if (!found && drivers.some(({ kind }) => kind === 'cloud'))
    progress.note('Whether a cloud has something of it is told by: slipway gc');
  return { name, stays: how.deprovision ? undefined : driver?.retainedOnRemove, contextReset: reset };
}

/** What stands in no other's place. Of a broken record we know no id; that it is Slipway's and of its name has to do. */
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

/** Of a broken record we know no driver and no id; drivers whose things lie on this computer know them by the name. */
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
    world.progress.note(`The host keeps what was written on it: ${error.message}`);
    if (hasAutoStop(machine) && isHostRetained(machine))
      world.progress.note(describeRemainingTimers(machine, ssh, error, world.now()));
  }
}

/** Takes the timers away, and nothing else. A host that can't be told must not keep a machine from being forgotten. */
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
  const facts = await gatherHostFacts(session, ssh, world);
  const owner = ownerOf(facts);
  if (owner && owner.id !== machine.spec.id) {
    world.progress.note(`${ssh.address} is the machine "${owner.name}" by now, so what is written there stays`);
    return;
  }
  for (const step of planOf(facts)) await runStep(step, { session, facts, address: ssh.address }, world);
}

function hasAutoStop({ deadline, spec }: Machine): boolean {
  return deadline !== undefined || spec.lifetime?.idleStop !== undefined;
}

/** Where the driver takes the host away, its timers go with it. */
function isHostRetained({ spec }: Machine): boolean {
  const kind = drivers.find(({ name }) => name === spec.driver)?.kind;
  return kind === undefined || kind === 'existing';
}

/** Why, when, and what to type against it, since nothing of ours knows of this host from now on. */
function describeRemainingTimers(machine: Machine, ssh: SshTarget, { message }: SlipwayError, now: Date): string {
  const { deadline, spec } = machine;
  const when = [
    ...(deadline === undefined
      ? []
      : [hasEnded(machine, now) ? 'ten minutes after each boot' : `at ${formatTime(deadline)}`]),
    ...(spec.lifetime?.idleStop === undefined ? [] : [`once it has been idle for ${spec.lifetime.idleStop}`]),
  ].join(', or ');
  // Of a half-made one nobody knows how far its making came.
  const does = machine.phase === 'ready' ? 'still powers itself off' : 'may still power itself off';
  return `${ssh.address} ${does} ${when}, since its timers could not be taken away (${message}); to stop that: ${stopTimersCommand(ssh)}`;
}
