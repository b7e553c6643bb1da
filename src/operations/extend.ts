import type { Driver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import type { ReadyMachine, SshTarget } from '../machine/model.ts';
import { requireReady } from '../machine/require-machine.ts';
import { planLifetime } from '../provision/lifetime-timers.ts';
import { tagExisting } from './tag-existing.ts';
import { explainConnectionError, runStep, visitOwnHost } from './host-session.ts';
import { resolveHost } from './resolve-host.ts';
import { hasEnded, formatTime } from './deadline.ts';
import { requireAutoStopSupported } from './guards.ts';
import {
  changeShutdownBehavior,
  computeDeadline,
  describeClockSkew,
  loadHostLifetime,
  shutdownBehaviorAfter,
} from './lifetime.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { driverCallFor, type World } from './world.ts';

/** The additional time, or `never` to remove the deadline. */
export type DeadlineExtension = { readonly time: string } | 'never';

export type ExtendResult = {
  readonly machine: ReadyMachine;
  /** False for a stopped machine: its host gets the new deadline at the next start. */
  readonly hostUpdated: boolean;
};

/** Moves a machine's deadline on its host, over one connection. The engine keeps running. */
export async function extendMachine(name: string, more: DeadlineExtension, world: World): Promise<ExtendResult> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const before = await tagExisting(requireReady(await store.read(name)), world);
  const driver = await loadDriver(before.spec.driver);
  requireAutoStopSupported({ name, lifetime: before.spec.lifetime ?? {} }, driver);
  const extended = withExtendedDeadline(before, more, world.now());
  const isHostStopped = await isStopped(before, driver, world);
  const machine = await keepAfterShutdown(before, extended, driver, world);
  if (isHostStopped) {
    const pending: ReadyMachine = { ...machine, deadlinePending: true };
    await store.write(pending);
    return { machine: pending, hostUpdated: false };
  }
  await allowCallerIp(driver, targetOf(driver, before.spec), world);
  const { ssh } = await resolveHost(before, driver, world);
  if (!ssh) throw new Error(`driver ${driver.name} supports deadlines but returned no SSH address`);
  await updateHostDeadline(machine, ssh, world).catch((error: unknown) => {
    throw explainEndedError(explainConnectionError(error, before), before, driver, more, world.now());
  });
  // Saved last: after an interruption, the host runs longer than the record says, and never shorter.
  await store.write(machine);
  return { machine, hostUpdated: true };
}

/**
 * Lets the provider keep a machine that no longer has a time of its own: otherwise a shutdown for any other reason
 * would remove it with its disk. Saves that before the host loses its deadline.
 */
async function keepAfterShutdown(
  before: ReadyMachine,
  extended: ReadyMachine,
  driver: Driver,
  world: World,
): Promise<ReadyMachine> {
  const { onShutdown } = shutdownBehaviorAfter(before, extended.spec, driver);
  if (onShutdown !== 'stopped' || onShutdown === before.onShutdown) return extended;
  await changeShutdownBehavior(before, { ...extended, onShutdown }, driver, world);
  await world.store.write({ ...before, onShutdown });
  return { ...extended, onShutdown };
}

/** Counts the new time from the deadline, or from now if the deadline has passed or there was none. */
function withExtendedDeadline(machine: ReadyMachine, more: DeadlineExtension, now: Date): ReadyMachine {
  const { deadline, deadlinePending: _pending, ...rest } = machine;
  if (more === 'never') {
    const { ttl: _ttl, ...lifetime } = machine.spec.lifetime ?? {};
    const { lifetime: _lifetime, ...spec } = machine.spec;
    return { ...rest, spec: { ...spec, ...(Object.keys(lifetime).length > 0 ? { lifetime } : {}) } };
  }
  const from = deadline === undefined || hasEnded(machine, now) ? now : new Date(deadline);
  return { ...rest, deadline: computeDeadline(more.time, from) };
}

/** Returns whether the machine is stopped; throws if it no longer exists. */
async function isStopped(machine: ReadyMachine, driver: Driver, world: World): Promise<boolean> {
  if (driver.kind === 'existing') return false;
  const { state } = await driver.machines.inspect(
    targetOf(driver, machine.spec, machine),
    driverCallFor(world, world.debug),
  );
  if (state !== 'missing') return state === 'stopped';
  const { name } = machine.spec;
  const when = hasEnded(machine, world.now()) ? ` since its deadline, ${formatTime(machine.deadline ?? '')}` : '';
  throw new SlipwayError('MACHINE_ENDED', `Machine "${name}" no longer exists at ${driver.name}${when}`, {
    hint: `Remove its record: slipway rm ${name}. Then create it again: slipway create ${name} …`,
  });
}

async function updateHostDeadline(machine: ReadyMachine, target: SshTarget, world: World): Promise<void> {
  const visit = await visitOwnHost(machine.spec, target, world);
  await using _session = visit.session;
  const step = planLifetime(await loadHostLifetime(machine, world, visit.facts), visit.facts);
  if (!step) return;
  const skew = describeClockSkew(machine.deadline, visit.facts, visit.address);
  if (skew !== undefined) world.progress.note(skew);
  await runStep(step, visit, world);
}

/**
 * Explains a host that is unreachable after its deadline, if the driver can't start it: the user has to switch it on.
 */
function explainEndedError(
  error: unknown,
  machine: ReadyMachine,
  { power }: Driver,
  more: DeadlineExtension,
  now: Date,
): unknown {
  if (!(error instanceof SlipwayError) || error.code !== 'SSH_UNREACHABLE' || !hasEnded(machine, now)) return error;
  if (power) return error;
  const { name } = machine.spec;
  const { message, detail } = error;
  const command = `slipway extend ${name} ${more === 'never' ? more : more.time}`;
  return new SlipwayError('MACHINE_ENDED', `Machine "${name}" ended at its deadline: ${message}`, {
    hint: `Switch the host on yourself. Within ten minutes, run: ${command}`,
    detail,
    cause: error,
  });
}
