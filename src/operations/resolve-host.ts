import type { Driver, InstanceStatus } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { Host, Machine, SshHop, SshTarget } from '../machine/model.ts';
import { continueOrUndoHint } from '../machine/require-machine.ts';
import type { Log } from '../progress.ts';
import { readSshIdentity, type SshIdentity } from './credentials.ts';
import { driverCallFor, pause, type World } from './world.ts';

const ADDRESS_TIMEOUT_MINUTES = 5;

/**
 * Returns a machine's host with the SSH keys that Slipway stores for it. Waits for an address that the provider has not
 * assigned yet; throws `MACHINE_NOT_READY` for a machine that is stopped or paused.
 */
export async function resolveHost(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const host = await waitForAddress(machine, driver, world);
  if (driver.kind === 'existing' || !host.ssh) return withPinnedKeys(host, machine);
  const keys = await readSshIdentity(world.store.paths(machine.spec.name));
  const ssh = { ...host.ssh, keyFile: host.ssh.keyFile ?? keys.loginKeyFile };
  // The host key was not created by Slipway, and the driver knows which one to expect.
  if (ssh.expectedKey !== undefined) return withPinnedKeys({ ...host, ssh }, machine);
  return { ...host, ssh: withHostKeys(ssh, keys, machine, host.ssh.keyFile !== undefined) };
}

/**
 * Adds the host keys that were created with the machine; `hasOwnLogin` means that its driver has its own login key.
 */
function withHostKeys(ssh: SshTarget, keys: SshIdentity, machine: Machine, hasOwnLogin: boolean): SshTarget {
  if (keys.pinnedHostKey !== undefined)
    return {
      ...ssh,
      hostKey: keys.pinnedHostKey,
      ...(keys.bootstrapHostKey ? { bootstrapHostKey: keys.bootstrapHostKey } : {}),
    };
  // Another tool created the machine and its login key, so the host key that was seen first is required.
  if (machine.phase === 'ready' && hasOwnLogin) {
    const { hostKey } = machine.host.ssh ?? {};
    return { ...ssh, ...(hostKey === undefined ? {} : { hostKey }) };
  }
  const message = `The host key of machine "${machine.spec.name}" is missing from the folder of ${keys.loginKeyFile}`;
  throw new SlipwayError('HOST_KEY', message, {
    hint: 'No other key is accepted. Restore the folder from a backup, or remove the machine and create it again',
  });
}

/** Asks the driver for the machine's host; shows a step only if the provider has not assigned an address yet. */
async function waitForAddress(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const target = targetOf(driver, machine.spec, machine);
  const findHost = async (log: Log): Promise<Host | InstanceStatus['state']> => {
    const instance = await driver.machines.inspect(target, driverCallFor(world, log));
    if (instance.state === 'stopped' || instance.state === 'paused') throw notRunningError(machine, instance);
    // A provider may show a new machine with a delay, but not one that was ready before.
    if (instance.state === 'missing' && machine.phase === 'ready') {
      const { name } = machine.spec;
      const hint = `Remove its record: slipway rm ${name}. Then create it again: slipway create ${name}`;
      throw instanceGoneError(machine, hint, instance.reason);
    }
    return instance.state === 'running' ? instance.host : instance.state;
  };
  const found = await findHost(world.debug);
  if (typeof found !== 'string') return found;
  return await world.progress.step('address', `Wait for the address of ${target.name}`, async (log) =>
    pollForHost(() => findHost(log), target.name, world),
  );
}

/** Polls for the host, so that no driver has to: there is one timeout, one message, and one place to cancel. */
async function pollForHost(
  findHost: () => Promise<Host | InstanceStatus['state']>,
  name: string,
  { signal }: World,
): Promise<Host> {
  const end = performance.now() + ADDRESS_TIMEOUT_MINUTES * 60_000;
  for (;;) {
    const found = await findHost();
    if (typeof found !== 'string') return found;
    if (performance.now() > end) {
      const message = `Machine "${name}" is still ${found} after ${ADDRESS_TIMEOUT_MINUTES} minutes`;
      throw new SlipwayError('CREATE_TIMEOUT', message, { hint: continueOrUndoHint(name) });
    }
    await pause(1000, signal);
  }
}

function notRunningError({ phase, spec: { name } }: Machine, instance: InstanceStatus): SlipwayError {
  const stopped = instance.state === 'stopped' && instance.suspended ? 'suspended' : 'stopped';
  const state = instance.state === 'paused' ? `paused: ${instance.reason}` : stopped;
  return new SlipwayError('MACHINE_NOT_READY', `Machine "${name}" is ${state}`, {
    hint: phase === 'ready' ? `To start it: slipway start ${name}` : continueOrUndoHint(name),
  });
}

/** Returns the error for a machine without an instance; `reason` says why the provider ended it, if it did. */
export function instanceGoneError(
  { spec: { name, driver } }: Machine,
  hint: string,
  reason: string | undefined,
): SlipwayError {
  const why = reason === undefined ? '' : `: ${reason}`;
  return new SlipwayError('MACHINE_NOT_FOUND', `Machine "${name}" no longer exists at ${driver}${why}`, { hint });
}

/** Keeps requiring a host key that was seen before, unless the user names another one to expect. */
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
  const isSameHop = hop.address === old.address && hop.port === old.port && hop.expectedKey === old.expectedKey;
  return isSameHop && old.hostKey !== undefined ? { ...hop, hostKey: old.hostKey } : hop;
}
