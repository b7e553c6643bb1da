import type { Driver } from '../drivers/contract.ts';
import type { CreatedMachine, Machine, ReadyMachine, SshTarget } from '../machine/model.ts';
import { clientCertificatesOf, type RenewalScope } from '../provision/certificates.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import type { Plan } from '../provision/step.ts';
import type { Checkpoint } from './checkpoint.ts';
import { finishProvision, type VerifiedMachine } from './client-profiles.ts';
import { connectWithCertificates } from './connect-with-certificates.ts';
import {
  gatherFactsInStep,
  type HostVisit,
  replaceBootstrapHostKey,
  retryPolicyFor,
  runStep,
  type SshRetryPolicy,
} from './host-session.ts';
import { describeClockSkew, lifetimeFieldsOf, withLifetimeOf } from './lifetime.ts';
import { planHost } from './plan-host.ts';
import { resolveHost } from './resolve-host.ts';
import {
  ENGINE_TIMEOUT_SECONDS,
  endpointOf,
  verifyEndpoint,
  verifyExistingEngine,
  verifyFirstBoot,
} from './verify-engine.ts';
import type { World } from './world.ts';

type StartOptions = {
  /** Whether the machine has started for the first time, with its configuration and certificates. */
  readonly isFirstBoot?: boolean;
  /** Resolves when the machine has started; an engine may answer before that. */
  readonly started?: Promise<void>;
};

/** Completes a machine whose host exists: installs and verifies the engine, and writes the client profiles. */
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
  const verifiedAtBoot = isFirstBoot ? await verifyFirstBoot(created, world) : undefined;
  await started;
  const verified =
    verifiedAtBoot ??
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
