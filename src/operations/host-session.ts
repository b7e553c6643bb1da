import type { Driver, DriverManifest, InstanceStatus } from '../drivers/contract.ts';
import { getDriver, targetOf } from '../drivers/registry.ts';
import { type ErrorCode, SlipwayError } from '../errors.ts';
import { formatKey } from '../ssh/host-key.ts';
import { deleteBootstrapHostKey, readSshIdentity, readPermanentHostKey } from './credentials.ts';
import type { Host, Machine, MachineSpec, SshHop, SshTarget } from '../machine/model.ts';
import type { Log } from '../progress.ts';
import { applyStep } from '../provision/run-step.ts';
import { type Facts, gatherFacts } from '../provision/facts.ts';
import { planHostKeyReplacement } from '../provision/plan.ts';
import type { SshSession } from '../ssh/connection.ts';
import { driverCallFor, pause, type World } from './world.ts';

const ADDRESS_TIMEOUT_MINUTES = 5;

/** A host that was born with a key which others may have read gets its lasting one, over the connection that the first has verified. */
export async function replaceBootstrapHostKey(
  { birthKey, ...ssh }: SshTarget,
  session: SshSession,
  facts: Facts,
  spec: MachineSpec,
  world: World,
): Promise<SshTarget> {
  if (birthKey === undefined) return ssh;
  const paths = world.store.paths(spec.name);
  if (session.hostKey === birthKey) {
    const step = planHostKeyReplacement(await readPermanentHostKey(paths));
    await world.progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepContextFor(facts, world), session, address: ssh.address, log }),
    );
  }
  await deleteBootstrapHostKey(paths);
  return ssh;
}

export function stepContextFor(
  { become }: Facts,
  { readTemplate, sudoPassword }: World,
): Pick<Parameters<typeof applyStep>[1], 'become' | 'template' | 'sudoPassword'> {
  return { become, template: readTemplate, sudoPassword };
}

/** What may pass by itself before a machine lets us in, and for how long that is waited for. */
export type SshRetryPolicy = { readonly seconds: number; readonly retryableCodes: ReadonlySet<ErrorCode> };

const NO_RETRY: SshRetryPolicy = { seconds: 0, retryableCodes: new Set() };

/** A boot. */
export const START_RETRY: SshRetryPolicy = { seconds: 180, retryableCodes: new Set(['SSH_UNREACHABLE', 'SSH_LOST']) };

/** A first boot, in which also the keys are laid: until then its SSH server shows a key of its own, and is refused. */
const FIRST_BOOT_RETRY: SshRetryPolicy = {
  seconds: 300,
  retryableCodes: new Set(['SSH_UNREACHABLE', 'SSH_LOST', 'SSH_REFUSED', 'HOST_KEY']),
};

export function retryPolicyFor({ phase }: Machine, { userDataIsPublic }: DriverManifest): SshRetryPolicy {
  return userDataIsPublic === true && phase !== 'ready' ? FIRST_BOOT_RETRY : NO_RETRY;
}

export async function retrySsh<T>(
  work: () => Promise<T>,
  { seconds, retryableCodes }: SshRetryPolicy,
  log: Log,
  world: World,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SlipwayError) || !retryableCodes.has(error.code) || performance.now() > end) throw error;
      log(`Not yet: ${error.message}`);
      await pause(1000, world.signal);
    }
  }
}

/** The same error with what to do about a machine whose keys and firewall are of our own making. */
export function explainConnectionError(error: unknown, { spec: { name, driver } }: Machine): unknown {
  if (!(error instanceof SlipwayError) || getDriver(driver).kind === 'existing') return error;
  const hints: Partial<Record<ErrorCode, string>> = {
    SSH_UNREACHABLE: `See whether it runs: slipway status ${name}; running this again also lets this computer's present address in`,
    SSH_REFUSED: `Its user data may not have run; what the machine says as it boots is in the console of ${driver}`,
    HOST_KEY: `Slipway gave it its host key, so its user data did not run, or somebody stands in between; undo it: slipway rm ${name}`,
  };
  const { code, message, detail, cause } = error;
  const hint = hints[code] ?? error.hint;
  return new SlipwayError(code, message, { ...(hint === undefined ? {} : { hint }), detail, cause });
}

export async function gatherHostFacts(session: SshSession, ssh: SshTarget, world: World): Promise<Facts> {
  const host = { user: ssh.user, address: ssh.address, sudoPassword: world.sudoPassword };
  return gatherFacts(session, await world.readTemplate('facts.sh'), host, world.now);
}

/** Where a machine is, with the keys that are its own. */
export async function resolveHost(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const { spec } = machine;
  const host = await waitForAddress(machine, driver, world);
  if (driver.kind === 'existing' || !host.ssh) return withPinnedKeys(host, machine);
  const keys = await readSshIdentity(world.store.paths(spec.name));
  const ssh = { ...host.ssh, keyFile: host.ssh.keyFile ?? keys.loginKeyFile };
  // Somebody else gave it its host key, and the driver knows which one.
  if (ssh.expectedKey !== undefined) return withPinnedKeys({ ...host, ssh }, machine);
  // Another tool made it, and logs in with a key of that tool's: the host key that was seen first is the one that is demanded.
  const met = machine.host?.ssh?.hostKey;
  if (keys.pinnedHostKey === undefined && machine.phase === 'ready' && host.ssh.keyFile !== undefined)
    return { ...host, ssh: { ...ssh, ...(met === undefined ? {} : { hostKey: met }) } };
  if (keys.pinnedHostKey === undefined) {
    throw new SlipwayError(
      'HOST_KEY',
      `The host key that was made with "${spec.name}" is gone from ${keys.loginKeyFile}'s folder`,
      {
        hint: 'No other key is taken for it; put the folder back from a backup, or make the machine anew',
      },
    );
  }
  return {
    ...host,
    ssh: { ...ssh, hostKey: keys.pinnedHostKey, ...(keys.bootstrapHostKey ? { birthKey: keys.bootstrapHostKey } : {}) },
  };
}

/** Where it is; waited for, as a step of its own, where its provider has not given it an address yet. */
async function waitForAddress(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const target = targetOf(driver, machine.spec, machine);
  const host = async (log: Log): Promise<Host | InstanceStatus['state']> => {
    const instance = await driver.machines.inspect(target, driverCallFor(world, log));
    if (instance.state === 'stopped' || instance.state === 'paused') throw notRunningError(machine, instance);
    // What has been ready was seen long ago; what was just asked for may be shown late.
    if (instance.state === 'missing' && machine.phase === 'ready') throw instanceGoneError(machine);
    return instance.state === 'running' ? instance.host : instance.state;
  };
  const found = await host(world.debug);
  if (typeof found !== 'string') return found;
  return await world.progress.step('address', `Wait for the address of ${target.name}`, async (log) =>
    pollForHost(() => host(log), target.name, world),
  );
}

/** So that no driver polls by itself: one timeout, one message, one place to cancel. */
async function pollForHost(
  look: () => Promise<Host | InstanceStatus['state']>,
  name: string,
  { signal }: World,
): Promise<Host> {
  const end = performance.now() + ADDRESS_TIMEOUT_MINUTES * 60_000;
  for (;;) {
    const found = await look();
    if (typeof found !== 'string') return found;
    if (performance.now() > end) {
      throw new SlipwayError('CREATE_TIMEOUT', `${name} is still ${found} after ${ADDRESS_TIMEOUT_MINUTES} minutes`, {
        hint: `Wait for it with: slipway create ${name}, or undo it with: slipway rm ${name}`,
      });
    }
    await pause(1000, signal);
  }
}

function notRunningError({ phase, spec: { name } }: Machine, instance: InstanceStatus): SlipwayError {
  const stopped = instance.state === 'stopped' && instance.suspended ? 'is suspended' : 'is stopped';
  const why = instance.state === 'paused' ? `is held up: ${instance.reason}` : stopped;
  return new SlipwayError('MACHINE_NOT_READY', `"${name}" ${why}`, {
    hint: phase === 'ready' ? `Start it: slipway start ${name}` : `Finish it: slipway create ${name}`,
  });
}

function instanceGoneError({ spec: { name, driver } }: Machine): SlipwayError {
  return new SlipwayError('MACHINE_NOT_FOUND', `What ${driver} made for "${name}" is gone`, {
    hint: `Forget the machine: slipway rm ${name}, then make it anew: slipway create ${name}`,
  });
}

/** A key seen before goes on being demanded, unless the user gave another one to expect. */
function withPinnedKeys(host: Host, before: Machine | undefined): Host {
  const old = before?.host?.ssh;
  if (!host.ssh || !old) return host;
  const { jump } = host.ssh;
  return {
    ...host,
    ssh: { ...withPinnedKey(host.ssh, old), ...(jump && old.jump ? { jump: withPinnedKey(jump, old.jump) } : {}) },
  };
}

function withPinnedKey<H extends SshHop>(hop: H, old: SshHop): H {
  const sameHop = hop.address === old.address && hop.port === old.port && hop.expectedKey === old.expectedKey;
  return sameHop && old.hostKey !== undefined ? { ...hop, hostKey: old.hostKey } : hop;
}

/** Opens the one connection of a run. A key is pinned as soon as it was shown, also when the login then fails. */
export async function openSession(
  target: SshTarget,
  world: World,
  save?: (pinned: SshTarget) => Promise<void>,
): Promise<{ readonly session: SshSession; readonly ssh: SshTarget }> {
  let ssh = target;
  let fresh = false;
  const side = { userHome: world.userHome, agentSocket: world.sshAgent, signal: world.signal, debug: world.debug };
  try {
    const session = await world.connect(target, side, (hop, key, judgement) => {
      if (judgement.verdict === 'first-seen') {
        const pinned = save ? ' and from now on demanded' : '';
        world.progress.note(`Host key of ${hop.address}, first seen${pinned}: ${formatKey(key)}`);
      }
      if (key === hop.birthKey) return;
      fresh ||= hop.hostKey === undefined;
      ssh = hop === target.jump ? { ...ssh, jump: { ...hop, hostKey: key } } : { ...ssh, hostKey: key };
    });
    return { session, ssh };
  } finally {
    if (fresh) await save?.(ssh);
  }
}
