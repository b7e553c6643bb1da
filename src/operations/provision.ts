import type { Driver } from '../drivers/contract.ts';
import type { CreatedMachine, ReadyMachine } from '../machine/model.ts';
import { clientCertificatesOf } from '../provision/certificates.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import { describeOpenAddresses } from '../provision/impact-notes.ts';
import { planProvision } from '../provision/plan.ts';
import type { Plan } from '../provision/step.ts';
import { finishProvision, type VerifiedMachine } from './client-profiles.ts';
import { connectWithCertificates } from './connect-with-certificates.ts';
import { gatherFactsInStep, type HostVisit, replaceBootstrapHostKey, retryPolicyFor, runStep } from './host-session.ts';
import { loadHostConfig } from './host-config.ts';
import { describeClockSkew, lifetimeFieldsOf, withLifetimeOf } from './lifetime.ts';
import type { SshProvisionRun, ProvisionRun, SshMachine } from './provision-run.ts';
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
  /** Resolves when the machine has booted; its engine may answer before that. */
  readonly booted?: Promise<void>;
};

/** Completes a machine whose host exists: installs and verifies the engine, and writes the client profiles. */
export async function provisionToReady(
  run: ProvisionRun,
  driver: Driver,
  world: World,
  { isFirstBoot = false, booted }: StartOptions = {},
): Promise<ReadyMachine> {
  const { machine, save } = run;
  const { spec } = machine;
  const host = await resolveHost(machine, driver, world);
  const created: CreatedMachine = { version: 1, phase: 'created', spec, host, ...lifetimeFieldsOf(machine) };
  if (machine.phase !== 'ready') await save(created);
  const verifiedAtBoot = isFirstBoot ? await verifyFirstBoot(created, world) : undefined;
  await booted;
  const verified =
    verifiedAtBoot ??
    (host.ssh
      ? await provisionHost({ ...created, host }, { ...run, retry: retryPolicyFor(machine, driver) }, world)
      : await verifyExistingEngine(created, world));
  return await finishProvision(verified, world, save);
}

/** Visits a host over one SSH connection: connect, gather facts, plan, apply the plan, verify the engine. */
export async function provisionHost(created: SshMachine, run: SshProvisionRun, world: World): Promise<VerifiedMachine> {
  const { spec, host } = created;
  const { address } = host;
  const { session, ssh: pinned, certificates } = await connectWithCertificates(created, run, world);
  await using _session = session;
  const facts = await gatherFactsInStep(session, pinned, spec, world);
  const visit = { session, address, facts };
  const ssh = await replaceBootstrapHostKey(pinned, { ...visit, address: pinned.address }, spec, world);
  const owner = ownerOf(facts);
  if (owner && owner.id !== spec.id)
    world.progress.note(
      `Host ${address} was machine "${owner.name}" before; clients of that machine lose their access`,
    );
  for (const note of describeOpenAddresses(facts, address)) world.progress.note(note);
  const { engineSettings } = run;
  const config = await loadHostConfig({ machine: created, engineSettings, address, certificates, facts }, world);
  await applyPlan(planProvision({ ...config, facts }), visit, created, run, world);
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
  { machine, save }: ProvisionRun,
  world: World,
): Promise<void> {
  for (const step of plan) {
    const isLifetime = step.id === 'life';
    const skew = isLifetime ? describeClockSkew(created.deadline, visit.facts, visit.address) : undefined;
    if (skew !== undefined) world.progress.note(skew);
    await runStep(step, visit, world);
    // The host has its new deadline from now on, even if a later step fails.
    if (isLifetime && machine.phase === 'ready') await save(withLifetimeOf(created, machine));
  }
}
