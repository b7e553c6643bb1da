import { SlipwayError } from '../errors.ts';
import { loadClientCertificates } from './credentials.ts';
import type { Machine, MachineSpec, ReadyMachine, SshTarget } from '../machine/model.ts';
import { applyStep } from '../provision/run-step.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import type { Facts } from '../provision/facts.ts';
import { ownerOf } from '../provision/engine-owner.ts';
import type { Plan } from '../provision/step.ts';
import { planUpgrade, type UpgradeSummary, summarizeUpgrade } from '../provision/upgrade-plan.ts';
import type { SshSession } from '../ssh/connection.ts';
import { gatherHostFacts, openSession, stepContextFor } from './host-session.ts';
import { ENGINE_TIMEOUT_SECONDS } from './provision.ts';
import { withFailureRecord } from './checkpoint.ts';
import type { World } from './world.ts';

export type UpgradeResult = { readonly plan: Plan; readonly url: string; readonly summary: UpgradeSummary | undefined };

/** Brings the engine's own packages to the newest of where they come from, or to the version that `change` asks for. */
export async function upgradeMachine(
  name: string,
  { change, dry }: { readonly change: ((spec: MachineSpec) => MachineSpec) | undefined; readonly dry: boolean },
  world: World,
): Promise<UpgradeResult> {
  const { store } = world;
  requireUpgradable(await store.read(name), change !== undefined);
  await using _lock = dry ? undefined : await store.lock(name);
  const { before, ssh } = requireUpgradable(await store.read(name), change !== undefined);
  const spec = change ? change(before.spec) : before.spec;
  if (dry) {
    const { session, facts } = await connectForUpgrade(before, ssh, world);
    await using _session = session;
    return { plan: planUpgrade(spec.engine, facts, ssh.address), url: before.endpoint.url, summary: undefined };
  }
  return await withFailureRecord({ ...before, wanted: () => ({ spec }) }, world, async (save) => {
    const upgrade = await upgradeHost({ ...before, spec }, ssh, world);
    const { failure: _mended, ...rest } = before;
    await save({ ...rest, spec });
    return upgrade;
  });
}

/** A finished machine whose host can be reached; one that is pinned to a version is upgraded to no other unasked. */
function requireUpgradable(
  machine: Machine,
  asked: boolean,
): { readonly before: ReadyMachine; readonly ssh: SshTarget } {
  const { name, engine } = machine.spec;
  if (machine.phase !== 'ready') {
    throw new SlipwayError('MACHINE_NOT_READY', `"${name}" is not finished: its making was stopped`, {
      hint: `Finish it: slipway create ${name}`,
    });
  }
  const { ssh } = machine.host;
  if (!ssh) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `"${name}" has no SSH: who runs its engine has to upgrade it`, {
      hint: `See which version it is: slipway status ${name}`,
    });
  }
  if (engine.version !== undefined && !asked) {
    throw new SlipwayError('USAGE', `"${name}" is pinned to engine version ${engine.version}`, {
      hint: `Name another one: slipway upgrade ${name} --engine-version VERSION, or none for the newest: slipway upgrade ${name} --engine-version=`,
    });
  }
  return { before: machine, ssh };
}

async function connectForUpgrade(
  { spec }: ReadyMachine,
  ssh: SshTarget,
  world: World,
): Promise<{ readonly session: SshSession; readonly facts: Facts }> {
  const { session } = await world.progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
    openSession(ssh, world),
  );
  try {
    const facts = await world.progress.step('facts', 'Look at the host', () => gatherHostFacts(session, ssh, world));
    const owner = ownerOf(facts);
    if (!owner || owner.id === spec.id) return { session, facts };
    throw new SlipwayError('MACHINE_NOT_READY', `${ssh.address} is the machine "${owner.name}" by now`, {
      hint: `Take it back first: slipway provision ${spec.name}`,
    });
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

async function upgradeHost(machine: ReadyMachine, ssh: SshTarget, world: World): Promise<UpgradeResult> {
  const { spec, endpoint } = machine;
  const { progress, signal } = world;
  const { session, facts } = await connectForUpgrade(machine, ssh, world);
  await using _session = session;
  const plan = planUpgrade(spec.engine, facts, ssh.address);
  for (const step of plan) {
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepContextFor(facts, world), session, address: ssh.address, log }),
    );
  }
  const [after] = await progress.step('verify', `Verify the engine at ${endpoint.url}`, async () =>
    Promise.all([
      gatherHostFacts(session, ssh, world),
      verifyEngine(endpoint, await loadClientCertificates(machine, world.store), {
        signal,
        seconds: ENGINE_TIMEOUT_SECONDS,
      }),
    ]),
  );
  return { plan, url: endpoint.url, summary: summarizeUpgrade(facts, after) };
}
