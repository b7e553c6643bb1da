import { loadClientCertificates } from './credentials.ts';
import type { Machine, MachineSpec, ReadyMachine, SshTarget } from '../machine/model.ts';
import { requireReady } from '../machine/require-machine.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import type { Plan } from '../provision/step.ts';
import { planUpgrade, type UpgradeSummary, summarizeUpgrade } from '../provision/upgrade-plan.ts';
import { requireNoPinnedVersion, requireSsh } from './guards.ts';
import { gatherHostFacts, previewPlan, runStep, visitOwnHost } from './host-session.ts';
import { ENGINE_TIMEOUT_SECONDS } from './verify-engine.ts';
import { withFailureRecord } from './checkpoint.ts';
import type { World } from './world.ts';

export type UpgradeOptions = {
  /** Sets the engine's version. Undefined if the user names no version: then a pinned machine is refused. */
  readonly changeSpec: ((spec: MachineSpec) => MachineSpec) | undefined;
  readonly isDryRun: boolean;
};

export type UpgradeResult = {
  readonly plan: Plan;
  readonly url: string;
  /** Undefined for a dry run. */
  readonly summary: UpgradeSummary | undefined;
};

/** Upgrades the engine's packages to the newest version in their repository, or to the one that `changeSpec` sets. */
export async function upgradeMachine(
  name: string,
  { changeSpec, isDryRun }: UpgradeOptions,
  world: World,
): Promise<UpgradeResult> {
  const { store } = world;
  requireUpgradable(await store.read(name), changeSpec !== undefined);
  await using _lock = isDryRun ? undefined : await store.lock(name);
  const { before, ssh } = requireUpgradable(await store.read(name), changeSpec !== undefined);
  const spec = changeSpec ? changeSpec(before.spec) : before.spec;
  if (isDryRun) {
    const visit = await visitOwnHost(before.spec, ssh, world);
    await using _session = visit.session;
    const plan = await previewPlan(planUpgrade(spec.engine, visit.facts, ssh.address), visit, world);
    return { plan, url: before.endpoint.url, summary: undefined };
  }
  return await withFailureRecord({ ...before, wanted: () => ({ spec }) }, world, async (save) => {
    const upgrade = await upgradeHost({ ...before, spec }, ssh, world);
    const { failure: _previous, ...rest } = before;
    await save({ ...rest, spec });
    return upgrade;
  });
}

/**
 * Returns a ready machine whose host can be reached. A machine that is pinned to a version is upgraded to another one
 * only if the user asks for it (`isVersionNamed`).
 */
function requireUpgradable(
  machine: Machine,
  isVersionNamed: boolean,
): { readonly before: ReadyMachine; readonly ssh: SshTarget } {
  const before = requireReady(machine);
  const ssh = requireSsh(before, 'upgrade its engine', `To see its version: slipway status ${machine.spec.name}`);
  if (!isVersionNamed) requireNoPinnedVersion(machine.spec);
  return { before, ssh };
}

async function upgradeHost(machine: ReadyMachine, ssh: SshTarget, world: World): Promise<UpgradeResult> {
  const { spec, endpoint } = machine;
  const { progress, signal } = world;
  const visit = await visitOwnHost(spec, ssh, world);
  const { session, facts } = visit;
  await using _session = session;
  const plan = planUpgrade(spec.engine, facts, ssh.address);
  for (const step of plan) await runStep(step, visit, world);
  const [after] = await progress.step('verify', `Verify the engine at ${endpoint.url}`, async () =>
    Promise.all([
      gatherHostFacts(session, ssh, spec, world),
      verifyEngine(endpoint, await loadClientCertificates(machine, world.store), {
        signal,
        seconds: ENGINE_TIMEOUT_SECONDS,
      }),
    ]),
  );
  return { plan, url: endpoint.url, summary: summarizeUpgrade(facts, after) };
}
