import type { Driver, DriverManifest } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { durationToSeconds, formatSeconds } from '../machine/duration.ts';
import type { CreatedMachine, Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import type { HostLifetime } from '../provision/init/service-manager.ts';
import { toHostClock, SAME_CLOCK_SECONDS, readLifetimeScripts } from '../provision/lifetime-timers.ts';
import { serviceManagerOf } from '../provision/supported-host.ts';
import { formatTime } from './deadline.ts';
import { requireIdleStopSupported } from './guards.ts';
import { driverCallFor, type World } from './world.ts';

/** The parts of a lifetime that a record keeps through all its phases. */
export type LifetimeFields = Pick<Machine, 'deadline' | 'onShutdown'>;

export function lifetimeFieldsOf({ deadline, onShutdown }: Machine): LifetimeFields {
  return { ...(deadline === undefined ? {} : { deadline }), ...(onShutdown === undefined ? {} : { onShutdown }) };
}

/** Returns the instant this long after `from`, as ISO 8601 and in whole seconds, since timers count those. */
export function computeDeadline(time: string, from: Date): string {
  return new Date(Math.ceil(from.getTime() / 1000 + durationToSeconds(time)) * 1000).toISOString();
}

/**
 * Returns a machine's deadline under a new spec. It stays unless the ttl changes or `reset` asks to count it again from
 * now; otherwise only `extend` moves a deadline.
 */
export function resolveDeadline(
  before: Machine | undefined,
  { lifetime }: MachineSpec,
  reset: boolean,
  now: Date,
): Pick<Machine, 'deadline'> {
  // A ttl without a deadline comes from an interrupted run, and still has to be counted.
  const isCounted = lifetime?.ttl === undefined || before?.deadline !== undefined;
  const isKept = before !== undefined && !reset && before.spec.lifetime?.ttl === lifetime?.ttl && isCounted;
  const deadline = isKept
    ? before.deadline
    : lifetime?.ttl === undefined
      ? undefined
      : computeDeadline(lifetime.ttl, now);
  return deadline === undefined ? {} : { deadline };
}

/** Returns the lifetime of a machine whose creation starts or continues: its time counts from now. */
export function resolveLifetimeFields(
  before: Machine | undefined,
  spec: MachineSpec,
  driver: DriverManifest,
  { now }: Pick<World, 'now'>,
): LifetimeFields {
  // A provider keeps to the first request, even if the spec has changed since.
  const isRequested = before !== undefined && (before.phase !== 'creating' || before.lastRequest !== undefined);
  const onShutdown = isRequested ? before.onShutdown : driver.shutdownBehavior?.(targetOf(driver, spec)).byItself;
  const lifetime = {
    ...resolveDeadline(undefined, spec, true, now()),
    ...(onShutdown === undefined ? {} : { onShutdown }),
  };
  requireIdleStopSupported(spec, onShutdown, driver);
  return lifetime;
}

/**
 * Returns what the provider should do when an existing machine with this spec shuts itself down, which its record says
 * from then on. A driver that can't change it keeps what `create` requested.
 */
export function shutdownBehaviorAfter(
  { onShutdown }: Pick<Machine, 'onShutdown'>,
  spec: MachineSpec,
  driver: Driver,
): Pick<Machine, 'onShutdown'> {
  const wanted = driver.changes?.setShutdownBehavior
    ? driver.shutdownBehavior?.(targetOf(driver, spec)).byItself
    : onShutdown;
  // Without a request, a provider stops the machine.
  return wanted === undefined || (onShutdown === undefined && wanted === 'stopped') ? {} : { onShutdown: wanted };
}

/**
 * Lets the provider do what `after` says when the machine shuts itself down; does nothing if the record says so
 * already. A machine without a deadline must not be removed by its shutdown, so `stopped` is set before its host loses
 * the deadline, and `removed` after its host has one.
 */
export async function changeShutdownBehavior(
  before: Pick<Machine, 'onShutdown'>,
  { spec, onShutdown }: Pick<Machine, 'spec' | 'onShutdown'>,
  driver: Driver,
  world: World,
): Promise<void> {
  if (onShutdown === undefined || onShutdown === before.onShutdown) return;
  const does = onShutdown === 'removed' ? 'removes' : 'keeps';
  await world.progress.step('change', `${driver.name} ${does} ${spec.name} when it shuts down`, async (log) =>
    driver.changes?.setShutdownBehavior?.(targetOf(driver, spec), onShutdown, driverCallFor(world, log)),
  );
}

/** Returns a ready machine's record with the lifetime that its host has just received, and otherwise unchanged. */
export function withLifetimeOf(changed: CreatedMachine, before: ReadyMachine): ReadyMachine {
  const { lifetime: _before, ...spec } = before.spec;
  const { deadline: _deadline, deadlinePending: _pending, ...rest } = before;
  const { lifetime } = changed.spec;
  return { ...rest, ...lifetimeFieldsOf(changed), spec: { ...spec, ...(lifetime ? { lifetime } : {}) } };
}

/** Returns what a host needs to end or stop its machine; undefined for a machine that runs until somebody ends it. */
export async function loadHostLifetime(
  { spec, deadline }: Pick<Machine, 'spec' | 'deadline'>,
  { readTemplate }: Pick<World, 'readTemplate'>,
  facts?: Facts,
): Promise<HostLifetime | undefined> {
  const idleStop = spec.lifetime?.idleStop;
  if (deadline === undefined && idleStop === undefined) return undefined;
  return {
    name: spec.name,
    deadline,
    idleSeconds: idleStop === undefined ? undefined : durationToSeconds(idleStop),
    enginePort: spec.engine.port,
    scripts: await readLifetimeScripts(serviceManagerOf(facts), readTemplate),
  };
}

/** Returns a sentence about when a machine ends or stops by itself, and its cost from then on; '' if it never does. */
export function describeAutoStop(
  { spec, deadline, onShutdown }: Machine,
  driver: DriverManifest,
  subject = `Machine "${spec.name}"`,
): string {
  const idleStop = spec.lifetime?.idleStop;
  if (deadline !== undefined && idleStop === undefined && onShutdown === 'removed')
    return `${subject} ends at ${formatTime(deadline)}: ${driver.name} then removes it with its disk`;
  const when = [
    ...(deadline === undefined ? [] : [`at ${formatTime(deadline)}`]),
    ...(idleStop === undefined ? [] : [`once it has been idle for ${idleStop}`]),
  ];
  if (when.length === 0) return '';
  const costs = driver.shutdownBehavior?.(targetOf(driver, spec)).costs ?? '';
  return `${subject} stops ${when.join(', or ')}: ${costs}`;
}

/** Tells the user when the machine will end or stop by itself. Called before anything is done. */
export function announceAutoStop(
  machine: Machine,
  driver: DriverManifest,
  { progress }: Pick<World, 'progress'>,
  subject?: string,
): void {
  const sentence = describeAutoStop(machine, driver, subject);
  if (sentence !== '') progress.note(sentence);
}

/**
 * Returns a sentence about when the machine really ends if its host's clock differs from this computer's; undefined if
 * the clocks agree.
 */
export function describeClockSkew(deadline: string | undefined, { clock }: Facts, address: string): string | undefined {
  if (deadline === undefined || clock === undefined || Math.abs(clock.aheadSeconds) <= SAME_CLOCK_SECONDS)
    return undefined;
  const differs = `The clock of ${address} is ${formatSeconds(Math.abs(clock.aheadSeconds))}`;
  return clock.aheadSeconds > 0
    ? `${differs} ahead of this computer's: it is powered off once it shows ${formatTime(toHostClock(deadline, clock) ?? '')}`
    : `${differs} behind this computer's: it is powered off that much later than ${formatTime(deadline)}, unless you correct one of the clocks`;
}
