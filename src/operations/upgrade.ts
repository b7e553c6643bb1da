import { SlipwayError } from '../errors.ts';
import { clientCertificates } from './credentials.ts';
import type { Machine, MachineSpec, Ready, SshTarget } from '../machine/model.ts';
import { applyStep } from '../provision/run-step.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import type { Facts } from '../provision/facts.ts';
import { ownerOf } from '../provision/plan.ts';
import type { Plan } from '../provision/step.ts';
import { planUpgrade, type Upgraded, upgradedFrom } from '../provision/upgrade-plan.ts';
import type { SshSession } from '../ssh/connection.ts';
import { lookAtHost, openSession, stepSide } from './host-session.ts';
import { ENGINE_SECONDS } from './provision.ts';
import { recordingFailure } from './checkpoint.ts';
import type { World } from './world.ts';

export type Upgrade = { readonly plan: Plan; readonly url: string; readonly done: Upgraded | undefined };

/** Brings the engine's own packages to the newest of where they come from, or to the version that `change` asks for. */
export async function upgradeMachine(
  name: string,
  { change, dry }: { readonly change: ((spec: MachineSpec) => MachineSpec) | undefined; readonly dry: boolean },
  world: World,
): Promise<Upgrade> {
  const { store } = world;
  upgradable(await store.read(name), change !== undefined);
  await using _lock = dry ? undefined : await store.lock(name);
  const { before, ssh } = upgradable(await store.read(name), change !== undefined);
  const spec = change ? change(before.spec) : before.spec;
  if (dry) {
    const { session, facts } = await lookForUpgrade(before, ssh, world);
    await using _session = session;
    return { plan: planUpgrade(spec.engine, facts, ssh.address), url: before.endpoint.url, done: undefined };
  }
  return await recordingFailure({ ...before, wanted: () => ({ spec }) }, world, async (save) => {
    const upgrade = await upgradeHost({ ...before, spec }, ssh, world);
    const { failure: _mended, ...rest } = before;
    await save({ ...rest, spec });
    return upgrade;
  });
}

/** A finished machine whose host can be reached; one that is pinned to a version is upgraded to no other unasked. */
function upgradable(machine: Machine, asked: boolean): { readonly before: Ready; readonly ssh: SshTarget } {
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

async function lookForUpgrade(
  { spec }: Ready,
  ssh: SshTarget,
  world: World,
): Promise<{ readonly session: SshSession; readonly facts: Facts }> {
  const { session } = await world.progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
    openSession(ssh, world),
  );
  try {
    const facts = await world.progress.step('facts', 'Look at the host', () => lookAtHost(session, ssh, world));
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

async function upgradeHost(machine: Ready, ssh: SshTarget, world: World): Promise<Upgrade> {
  const { spec, endpoint } = machine;
  const { progress, signal } = world;
  const { session, facts } = await lookForUpgrade(machine, ssh, world);
  await using _session = session;
  const plan = planUpgrade(spec.engine, facts, ssh.address);
  for (const step of plan) {
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepSide(facts, world), session, address: ssh.address, log }),
    );
  }
  const [after] = await progress.step('verify', `Verify the engine at ${endpoint.url}`, async () =>
    Promise.all([
      lookAtHost(session, ssh, world),
      verifyEngine(endpoint, await clientCertificates(machine, world.store), { signal, seconds: ENGINE_SECONDS }),
    ]),
  );
  return { plan, url: endpoint.url, done: upgradedFrom(facts, after) };
}
