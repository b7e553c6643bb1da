import type { Driver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import { profilesNamed } from '../profiles/registry.ts';
import type { RenewalScope } from '../provision/certificates.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { applyLiveChanges, deferToNextStart, withUserOptions } from './apply-spec-change.ts';
import { type SaveCheckpoint, withFailureRecord } from './checkpoint.ts';
import { removeUnwantedProfiles } from './client-profiles.ts';
import { diffSpecs, hasChangesIn, type SpecDiff } from './diff-specs.ts';
import { requireChangeInPlace, requireIdleStopSupported, requireNoConflicts, requireSameEnginePort } from './guards.ts';
import { announceAutoStop, changeShutdownBehavior, resolveDeadline, shutdownBehaviorAfter } from './lifetime.ts';
import { provisionToReady } from './provision.ts';
import { tagExisting } from './tag-existing.ts';
import { validateOptionChange, validateSpec, type ValidSpec } from './validate-spec.ts';
import type { World } from './world.ts';

type ProvisionOptions = {
  /** Counts the machine's time from now, even if its ttl stays the same. */
  readonly resetTtl?: boolean;
  /** Which certificates to renew even if they are still valid. */
  readonly renewal?: RenewalScope;
};

/**
 * Changes a machine's spec and applies it to the machine. Safe to run again: it restarts nothing that is up to date.
 */
export async function provisionMachine(
  name: string,
  change: (spec: MachineSpec) => MachineSpec,
  world: World,
  { resetTtl = false, renewal }: ProvisionOptions = {},
): Promise<ReadyMachine> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const before = await tagExisting(await store.read(name), world);
  const spec = withUserOptions(before.spec, change(before.spec));
  const driver = await loadDriver(spec.driver);
  const diff = diffSpecs(before, spec, driver);
  const { deadline: _before, ...rest } = before;
  const machine: Machine = { ...rest, spec, ...resolveDeadline(before, spec, resetTtl, world.now()) };
  const changed: Machine = { ...machine, ...shutdownBehaviorAfter(before, spec, driver) };
  const { engineSettings } = await requireApplicable(before, changed, diff, driver, world);
  const deferred = await deferToNextStart(before, spec, diff, driver, world);
  if (deferred) return deferred;
  if (machine.deadline !== before.deadline || hasChangesIn(diff, 'lifetime')) announceAutoStop(changed, driver, world);
  const { deadline } = machine;
  // Until the provider has applied the change, an interruption leaves the record as it was.
  let applied = false;
  const wanted = (): Pick<Machine, 'spec' | 'deadline'> | undefined =>
    applied ? { spec, ...(deadline === undefined ? {} : { deadline }) } : undefined;
  const start = before.phase === 'ready' ? { ...before, wanted } : machine;
  return await withFailureRecord(start, world, async (save) => {
    await allowCallerIp(driver, targetOf(driver, spec), world);
    const isKept = changed.onShutdown === 'stopped';
    if (isKept) await changeShutdownBehavior(before, changed, driver, world);
    const current: Machine = isKept ? { ...before, onShutdown: 'stopped' } : before;
    if (current.onShutdown !== before.onShutdown) await save(current);
    await applyLiveChanges(current, spec, diff, driver, world, save);
    applied = true;
    // Options that wait for a restart still wait for it, whatever else changes now.
    const pending = before.pendingRestart === undefined ? {} : { pendingRestart: before.pendingRestart };
    const saveWithPending: SaveCheckpoint = async (next) => {
      // Removed before the record is saved, since it no longer names them.
      if (next.phase === 'ready') await removeUnwantedProfiles(before.spec, next.spec, world);
      await save({ ...next, ...pending });
    };
    const run = { machine: isKept ? changed : machine, engineSettings, save: saveWithPending, renewal };
    const ready = { ...(await provisionToReady(run, driver, world)), ...pending };
    if (isKept || changed.onShutdown === ready.onShutdown) return ready;
    await changeShutdownBehavior(before, changed, driver, world);
    const removable = { ...ready, onShutdown: 'removed' } as const;
    await save(removable);
    return removable;
  });
}

/** Refuses a spec that can't be applied to this machine, before anything is recorded or changed. */
async function requireApplicable(
  before: Machine,
  { spec, onShutdown }: Machine,
  diff: SpecDiff,
  driver: Driver,
  world: World,
): Promise<ValidSpec> {
  const valid = await validateSpec(spec, world);
  requireSameEnginePort(diff, spec.name);
  requireChangeInPlace(diff, spec.name, driver);
  requireIdleStopSupported(spec, onShutdown, driver);
  await requireNoConflicts(spec, profilesNamed(spec.profiles), world.clientPaths);
  await validateOptionChange(before, spec, diff, driver, world);
  return valid;
}
