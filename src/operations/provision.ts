import type { Driver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import type { CreatedMachine, Machine, MachineSpec, ReadyMachine, SshTarget } from '../machine/model.ts';
import { profilesNamed } from '../profiles/registry.ts';
import { clientCertificatesOf, type RenewalScope } from '../provision/certificates.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import type { Plan } from '../provision/step.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { applyLiveChanges, deferToNextStart, withUserOptions } from './apply-spec-change.ts';
import { type Checkpoint, withFailureRecord } from './checkpoint.ts';
import { finishProvision, removeUnwantedProfiles, type VerifiedMachine } from './client-profiles.ts';
import { connectWithCertificates } from './connect-with-certificates.ts';
import { diffSpecs, hasChangesIn, type SpecDiff } from './diff-specs.ts';
import { requireChangeInPlace, requireIdleStopSupported, requireNoConflicts, requireSameEnginePort } from './guards.ts';
import {
  gatherFactsInStep,
  type HostVisit,
  replaceBootstrapHostKey,
  retryPolicyFor,
  runStep,
  type SshRetryPolicy,
} from './host-session.ts';
import { announceAutoStop, describeClockSkew, lifetimeFieldsOf, resolveDeadline, withLifetimeOf } from './lifetime.ts';
import { planHost } from './plan-host.ts';
import { resolveHost } from './resolve-host.ts';
import { tagExisting } from './tag-existing.ts';
import { validateOptionChange, validateSpec } from './validate-spec.ts';
import {
  ENGINE_TIMEOUT_SECONDS,
  endpointOf,
  verifyEndpoint,
  verifyExistingEngine,
  verifyFirstBoot,
} from './verify-engine.ts';
import type { World } from './world.ts';

type ProvisionOptions = {
  /** Counts the machine's time from now, even if its ttl stays the same. */
  readonly resetTtl?: boolean;
  /** Replaces certificates that are still valid. */
  readonly renewal?: RenewalScope;
};

/** Changes a machine's spec and makes the machine what it says. Safe to run again: it restarts nothing that is right. */
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
  await requireApplicable(before, machine, diff, driver, world);
  const deferred = await deferToNextStart(before, spec, diff, driver, world);
  if (deferred) return deferred;
  if (machine.deadline !== before.deadline || hasChangesIn(diff, 'lifetime')) announceAutoStop(machine, driver, world);
  const { deadline } = machine;
  // Until the provider has applied the change, an interruption leaves the record as it was.
  let applied = false;
  const wanted = (): Pick<Machine, 'spec' | 'deadline'> | undefined =>
    applied ? { spec, ...(deadline === undefined ? {} : { deadline }) } : undefined;
  const start = before.phase === 'ready' ? { ...before, wanted } : machine;
  return await withFailureRecord(start, world, async (save) => {
    await allowCallerIp(driver, targetOf(driver, spec), world);
    await applyLiveChanges(before, spec, diff, driver, world, save);
    applied = true;
    // Options that wait for a restart still wait for it, whatever else has changed.
    const pending = before.due === undefined ? {} : { due: before.due };
    const saveWithPending: Checkpoint = async (next) => {
      // Before the record says that they are no longer wanted.
      if (next.phase === 'ready') await removeUnwantedProfiles(before.spec, next.spec, world);
      await save({ ...next, ...pending });
    };
    const ready = await provisionToReady(machine, driver, world, saveWithPending, { renewal });
    return { ...ready, ...pending };
  });
}

/** Refuses what can't become of this machine, before anything is recorded or done for it. */
async function requireApplicable(
  before: Machine,
  { spec, ending }: Machine,
  diff: SpecDiff,
  driver: Driver,
  world: World,
): Promise<void> {
  await validateSpec(spec, world);
  requireSameEnginePort(diff, spec.name);
  requireChangeInPlace(diff, spec.name, driver);
  requireIdleStopSupported(spec, ending, driver);
  await requireNoConflicts(spec, profilesNamed(spec.profiles), world.clientPaths);
  await validateOptionChange(before, spec, diff, driver, world);
}

type StartOptions = {
  /** The machine has started for the first time, with its configuration and certificates. */
  readonly isFirstBoot?: boolean;
  /** The end of its start, which an engine that is known to answer before need not wait for. */
  readonly started?: Promise<void>;
};

/** Takes a machine whose host exists to its end: an engine that answers, and clients that know it. */
export async function provisionToReady(
  machine: Machine,
  driver: Driver,
  world: World,
  save: Checkpoint,
  { isFirstBoot = false, started, renewal }: StartOptions & { readonly renewal?: RenewalScope | undefined } = {},
): Promise<ReadyMachine> {
  const { spec } = machine;
  const host = await resolveHost(machine, driver, world);
  const created: CreatedMachine = { version: 1, phase: 'created', spec, host, ...lifetimeFieldsOf(machine) };
  if (machine.phase !== 'ready') await save(created);
  const booted = isFirstBoot ? await verifyFirstBoot(created, world) : undefined;
  await started;
  const verified =
    booted ??
    (host.ssh
      ? await provisionHost({ ...created, host }, machine, retryPolicyFor(machine, driver), world, save, renewal)
      : await verifyExistingEngine(created, world));
  return await finishProvision(verified, world, save);
}

/** Visits a host over one SSH connection: connect, gather facts, plan, apply the plan, verify the engine. */
export async function provisionHost(
  created: CreatedMachine & { readonly host: { readonly ssh: SshTarget } },
  before: Machine,
  retry: SshRetryPolicy,
  world: World,
  save: Checkpoint,
  renewal?: RenewalScope,
): Promise<VerifiedMachine> {
  const { spec, host } = created;
  const { address } = host;
  const {
    session,
    ssh: pinned,
    certificates,
  } = await connectWithCertificates(created, before, retry, world, save, renewal);
  await using _session = session;
  const visit = { session, address, facts: await gatherFactsInStep(session, pinned, world) };
  const ssh = await replaceBootstrapHostKey(pinned, { ...visit, address: pinned.address }, spec, world);
  const owner = ownerOf(visit.facts);
  if (owner && owner.id !== spec.id)
    world.progress.note(
      `Host ${address} was machine "${owner.name}" before; clients of that machine lose their access`,
    );
  await applyPlan(
    await planHost(created, address, visit.facts, certificates, world),
    visit,
    created,
    before,
    world,
    save,
  );
  const endpoint = endpointOf(created);
  const tls = clientCertificatesOf(certificates);
  await verifyEndpoint(endpoint, tls, ENGINE_TIMEOUT_SECONDS, world);
  return {
    machine: { version: 1, phase: 'ready', spec, host: { ...host, ssh }, endpoint, ...lifetimeFieldsOf(created) },
    tls,
  };
}

async function applyPlan(
  plan: Plan,
  visit: HostVisit,
  created: CreatedMachine,
  before: Machine,
  world: World,
  save: Checkpoint,
): Promise<void> {
  for (const step of plan) {
    const isLifetime = step.id === 'life';
    const skew = isLifetime ? describeClockSkew(created.deadline, visit.facts, visit.address) : undefined;
    if (skew !== undefined) world.progress.note(skew);
    await runStep(step, visit, world);
    // The host has its new deadline from now on, even if a later step fails.
    if (isLifetime && before.phase === 'ready') await save(withLifetimeOf(created, before));
  }
}
