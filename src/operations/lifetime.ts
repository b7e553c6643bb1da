import type { DriverManifest } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { durationToSeconds, formatSeconds } from '../machine/duration.ts';
import type { CreatedMachine, Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import type { HostLifetime } from '../provision/init/service-manager.ts';
import { toHostClock, SAME_CLOCK_SECONDS, readLifetimeScripts } from '../provision/lifetime-timers.ts';
import { serviceManagerOf } from '../provision/supported-host.ts';
import { formatTime } from './deadline.ts';
import { requireIdleStopSupported } from './guards.ts';
import type { World } from './world.ts';

/** What a record keeps through all its phases. */
export type LifetimeFields = Pick<Machine, 'deadline' | 'onShutdown'>;

export function lifetimeFieldsOf({ deadline, onShutdown }: Machine): LifetimeFields {
  return { ...(deadline === undefined ? {} : { deadline }), ...(onShutdown === undefined ? {} : { onShutdown }) };
}

/** So much time from then, in whole seconds, as timers have it. */
export function computeDeadline(time: string, from: Date): string {
  return new Date(Math.ceil(from.getTime() / 1000 + durationToSeconds(time)) * 1000).toISOString();
}

/** Moved by `extend` alone, unless another time is asked for, or the same one anew. */
export function resolveDeadline(
  before: Machine | undefined,
  { lifetime }: MachineSpec,
  anew: boolean,
  now: Date,
): Pick<Machine, 'deadline'> {
  // A time that was asked for and never counted was asked for by a run that was stopped.
  const counted = lifetime?.ttl === undefined || before?.deadline !== undefined;
  const kept = before !== undefined && !anew && before.spec.lifetime?.ttl === lifetime?.ttl && counted;
  const deadline = kept
    ? before.deadline
    : lifetime?.ttl === undefined
      ? undefined
      : computeDeadline(lifetime.ttl, now);
  return deadline === undefined ? {} : { deadline };
}

/** Of a machine whose making begins, or begins again: its time counts from now. */
export function resolveLifetimeFields(
  before: Machine | undefined,
  spec: MachineSpec,
  driver: DriverManifest,
  { now }: Pick<World, 'now'>,
): LifetimeFields {
  // What its provider was asked for is what it does, whatever is wanted by now.
  const asked = before !== undefined && (before.phase !== 'creating' || before.lastRequest !== undefined);
  const onShutdown = asked ? before.onShutdown : driver.shutdownBehavior?.(targetOf(driver, spec)).byItself;
  const life = {
    ...resolveDeadline(undefined, spec, true, now()),
    ...(onShutdown === undefined ? {} : { onShutdown }),
  };
  requireIdleStopSupported(spec, onShutdown, driver);
  return life;
}

/** Returns a ready machine's record with the lifetime that its host has just got; all else stays as it was. */
export function withLifetimeOf(changed: CreatedMachine, before: ReadyMachine): ReadyMachine {
  const { lifetime: _before, ...spec } = before.spec;
  const { deadline: _deadline, deadlinePending: _untold, ...rest } = before;
  const { lifetime } = changed.spec;
  return { ...rest, ...lifetimeFieldsOf(changed), spec: { ...spec, ...(lifetime ? { lifetime } : {}) } };
}

/** What its host has to hold; undefined where it runs until somebody ends it. */
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

/** What will become of it with nobody there, and what that costs; '' where nothing will. */
export function describeAutoStop(
  { spec, deadline, onShutdown }: Machine,
  driver: DriverManifest,
  name = spec.name,
): string {
  const idleStop = spec.lifetime?.idleStop;
  if (deadline !== undefined && idleStop === undefined && onShutdown === 'removed')
    return `${name} ends at ${formatTime(deadline)}: ${driver.name} removes it then, disk and all`;
  const when = [
    ...(deadline === undefined ? [] : [`at ${formatTime(deadline)}`]),
    ...(idleStop === undefined ? [] : [`once it has been idle for ${idleStop}`]),
  ];
  if (when.length === 0) return '';
  const costs = driver.shutdownBehavior?.(targetOf(driver, spec)).costs ?? '';
  return `${name} stops ${when.join(', or ')}: ${costs}`;
}

/** Before anything is done that makes it end without anybody's doing. */
export function announceAutoStop(
  machine: Machine,
  driver: DriverManifest,
  { progress }: Pick<World, 'progress'>,
  name?: string,
): void {
  const told = describeAutoStop(machine, driver, name);
  if (told !== '') progress.note(told);
}

/** What its user should know where the host that gets a deadline has another time of day. */
export function describeClockSkew(deadline: string | undefined, { clock }: Facts, address: string): string | undefined {
  if (deadline === undefined || clock === undefined || Math.abs(clock.aheadSeconds) <= SAME_CLOCK_SECONDS)
    return undefined;
  const differs = `The clock of ${address} is ${formatSeconds(Math.abs(clock.aheadSeconds))}`;
  return clock.aheadSeconds > 0
    ? `${differs} ahead of this computer's: it is powered off once it shows ${formatTime(toHostClock(deadline, clock) ?? '')}`
    : `${differs} behind this computer's: it is powered off so much later than ${formatTime(deadline)}, unless one of them is put right`;
}
