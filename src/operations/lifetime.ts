import type { DriverManifest } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { durationToSeconds, formatSeconds } from '../machine/duration.ts';
import { SlipwayError } from '../errors.ts';
import type { ShutdownBehavior, Machine, MachineSpec } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import { toHostClock, SAME_CLOCK_SECONDS, type HostLifetime } from '../provision/lifetime-timers.ts';
import { hasEnded, formatTime } from './deadline.ts';
import type { World } from './world.ts';

/** What a record keeps through all its phases. */
export type LifetimeFields = Pick<Machine, 'deadline' | 'ending'>;

export function lifetimeFieldsOf({ deadline, ending }: Machine): LifetimeFields {
  return { ...(deadline === undefined ? {} : { deadline }), ...(ending === undefined ? {} : { ending }) };
}

/** So much time from then, in whole seconds, as timers have it. */
export function computeDeadline(time: string, from: Date): string {
  return new Date(Math.ceil(from.getTime() / 1000 + durationToSeconds(time)) * 1000).toISOString();
}

/** Moved by `extend` alone, unless another time is asked for, or the same one anew. */
export function resolveDeadline(
  before: Machine | undefined,
  { life }: MachineSpec,
  anew: boolean,
  now: Date,
): Pick<Machine, 'deadline'> {
  // A time that was asked for and never counted was asked for by a run that was stopped.
  const counted = life?.ttl === undefined || before?.deadline !== undefined;
  const kept = before !== undefined && !anew && before.spec.life?.ttl === life?.ttl && counted;
  const deadline = kept ? before.deadline : life?.ttl === undefined ? undefined : computeDeadline(life.ttl, now);
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
  const asked = before !== undefined && (before.phase !== 'creating' || before.asked !== undefined);
  const ending = asked ? before.ending : driver.shutdownBehavior?.(targetOf(driver, spec)).byItself;
  const life = { ...resolveDeadline(undefined, spec, true, now()), ...(ending === undefined ? {} : { ending }) };
  requireIdleStopSupported(spec, ending, driver);
  return life;
}

/** A machine that its provider removes when it shuts itself down would be lost where it was to stop. */
export function requireIdleStopSupported(
  { name, life }: MachineSpec,
  ending: ShutdownBehavior | undefined,
  driver: DriverManifest,
): void {
  if (life?.idleStop === undefined || ending !== 'removed') return;
  throw new SlipwayError(
    'USAGE',
    `"${name}" is removed by ${driver.name} when it shuts itself down, so it can't stop when it is idle`,
    {
      hint: `One that is made with both from the start stops and is kept, where ${driver.name} can stop it: slipway create NAME --ttl … --idle-stop ${life.idleStop}`,
    },
  );
}

/** Refused where nothing of ours runs that could do it. */
export function requireAutoStopSupported(
  { name, life }: Pick<MachineSpec, 'name' | 'life'>,
  driver: DriverManifest,
): void {
  if (life === undefined || driver.shutdownBehavior) return;
  throw new SlipwayError(
    'DRIVER_UNSUPPORTED',
    `"${name}" can't end or stop by itself: with the driver ${driver.name}, nothing of Slipway's runs on its host`,
    { hint: 'Leave out --ttl and --idle-stop (and the variables SLIPWAY_TTL and SLIPWAY_IDLE_STOP)' },
  );
}

/** What its host has to hold; undefined where it runs until somebody ends it. */
export async function loadHostLifetime(
  { spec, deadline }: Pick<Machine, 'spec' | 'deadline'>,
  { readTemplate }: Pick<World, 'readTemplate'>,
): Promise<HostLifetime | undefined> {
  const idleStop = spec.life?.idleStop;
  if (deadline === undefined && idleStop === undefined) return undefined;
  const [ofDeadline, ofIdle] = await Promise.all([readTemplate('deadline.sh'), readTemplate('idle.sh')]);
  return {
    name: spec.name,
    deadline,
    idleSeconds: idleStop === undefined ? undefined : durationToSeconds(idleStop),
    enginePort: spec.engine.port,
    scripts: { deadline: ofDeadline, idle: ofIdle },
  };
}

/** What will become of it with nobody there, and what that costs; '' where nothing will. */
export function describeAutoStop(
  { spec, deadline, ending }: Machine,
  driver: DriverManifest,
  name = spec.name,
): string {
  const idleStop = spec.life?.idleStop;
  if (deadline !== undefined && idleStop === undefined && ending === 'removed')
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

/** A start after its deadline would be undone by its own timer, without a word. */
export function requireNotEnded(machine: Machine, now: Date): void {
  if (!hasEnded(machine, now)) return;
  const { name } = machine.spec;
  throw new SlipwayError('MACHINE_ENDED', `"${name}" ended at its deadline, ${formatTime(machine.deadline ?? '')}`, {
    hint: `Give it more time first: slipway extend ${name} 2h, or no deadline: slipway extend ${name} never`,
  });
}
