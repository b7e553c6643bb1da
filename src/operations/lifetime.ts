import type { Driver } from '../drivers/contract.ts';
import { targetOf } from '../drivers/registry.ts';
import { secondsIn, shownSeconds } from '../machine/duration.ts';
import { SlipwayError } from '../errors.ts';
import type { Ending, Machine, MachineSpec } from '../machine/model.ts';
import type { Facts } from '../provision/facts.ts';
import { byItsClock, SAME_CLOCK_SECONDS, type Life } from '../provision/lifetime-timers.ts';
import { hasEnded, shownTime } from './deadline.ts';
import type { World } from './world.ts';

/** What a record keeps through all its phases. */
export type Lasting = Pick<Machine, 'deadline' | 'ending'>;

export function lasting({ deadline, ending }: Machine): Lasting {
  return { ...(deadline === undefined ? {} : { deadline }), ...(ending === undefined ? {} : { ending }) };
}

/** So much time from then, in whole seconds, as timers have it. */
export function deadlineIn(time: string, from: Date): string {
  return new Date(Math.ceil(from.getTime() / 1000 + secondsIn(time)) * 1000).toISOString();
}

/** Moved by `extend` alone, unless another time is asked for, or the same one anew. */
export function deadlineAfter(
  before: Machine | undefined,
  { life }: MachineSpec,
  anew: boolean,
  now: Date,
): Pick<Machine, 'deadline'> {
  // A time that was asked for and never counted was asked for by a run that was stopped.
  const counted = life?.ttl === undefined || before?.deadline !== undefined;
  const kept = before !== undefined && !anew && before.spec.life?.ttl === life?.ttl && counted;
  const deadline = kept ? before.deadline : life?.ttl === undefined ? undefined : deadlineIn(life.ttl, now);
  return deadline === undefined ? {} : { deadline };
}

/** Of a machine whose making begins, or begins again: its time counts from now. */
export function lifeFromNow(
  before: Machine | undefined,
  spec: MachineSpec,
  driver: Driver,
  { now }: Pick<World, 'now'>,
): Lasting {
  // What its provider was asked for is what it does, whatever is wanted by now.
  const asked = before !== undefined && (before.phase !== 'creating' || before.asked !== undefined);
  const ending = asked ? before.ending : driver.ends?.(targetOf(driver, spec)).byItself;
  const life = { ...deadlineAfter(undefined, spec, true, now()), ...(ending === undefined ? {} : { ending }) };
  stopsWhereItShould(spec, ending, driver);
  return life;
}

/** A machine that its provider removes when it shuts itself down would be lost where it was to stop. */
export function stopsWhereItShould({ name, life }: MachineSpec, ending: Ending | undefined, driver: Driver): void {
  if (life?.idleStop === undefined || ending !== 'removed') return;
  throw new SlipwayError(
    'USAGE',
    `"${name}" is removed by ${driver.name} when it shuts itself down, so it can’t stop when it is idle`,
    {
      hint: `One that is made with both from the start stops and is kept, where ${driver.name} can stop it: slipway create NAME --ttl … --idle-stop ${life.idleStop}`,
    },
  );
}

/** Refused where nothing of ours runs that could do it. */
export function canEndByItself({ name, life }: Pick<MachineSpec, 'name' | 'life'>, driver: Driver): void {
  if (life === undefined || driver.ends) return;
  throw new SlipwayError(
    'DRIVER_UNSUPPORTED',
    `"${name}" can’t end or stop by itself: with the driver ${driver.name}, nothing of Slipway’s runs on its host`,
    { hint: 'Leave out --ttl and --idle-stop (and the variables SLIPWAY_TTL and SLIPWAY_IDLE_STOP)' },
  );
}

/** What its host has to hold; undefined where it runs until somebody ends it. */
export async function lifeOf(
  { spec, deadline }: Pick<Machine, 'spec' | 'deadline'>,
  { template }: Pick<World, 'template'>,
): Promise<Life | undefined> {
  const idleStop = spec.life?.idleStop;
  if (deadline === undefined && idleStop === undefined) return undefined;
  const [ofDeadline, ofIdle] = await Promise.all([template('deadline.sh'), template('idle.sh')]);
  return {
    name: spec.name,
    deadline,
    idle: idleStop === undefined ? undefined : secondsIn(idleStop),
    enginePort: spec.engine.port,
    scripts: { deadline: ofDeadline, idle: ofIdle },
  };
}

/** What will become of it with nobody there, and what that costs; '' where nothing will. */
export function fate({ spec, deadline, ending }: Machine, driver: Driver, name = spec.name): string {
  const idleStop = spec.life?.idleStop;
  if (deadline !== undefined && idleStop === undefined && ending === 'removed')
    return `${name} ends at ${shownTime(deadline)}: ${driver.name} removes it then, disk and all`;
  const when = [
    ...(deadline === undefined ? [] : [`at ${shownTime(deadline)}`]),
    ...(idleStop === undefined ? [] : [`once it has been idle for ${idleStop}`]),
  ];
  if (when.length === 0) return '';
  const costs = driver.ends?.(targetOf(driver, spec)).costs ?? '';
  return `${name} stops ${when.join(', or ')}: ${costs}`;
}

/** Before anything is done that makes it end without anybody's doing. */
export function tellFate(machine: Machine, driver: Driver, { progress }: Pick<World, 'progress'>, name?: string): void {
  const told = fate(machine, driver, name);
  if (told !== '') progress.note(told);
}

/** What its user should know where the host that gets a deadline has another time of day. */
export function clockNote(deadline: string | undefined, { clock }: Facts, address: string): string | undefined {
  if (deadline === undefined || clock === undefined || Math.abs(clock.ahead) <= SAME_CLOCK_SECONDS) return undefined;
  const differs = `The clock of ${address} is ${shownSeconds(Math.abs(clock.ahead))}`;
  return clock.ahead > 0
    ? `${differs} ahead of this computer’s: it is powered off once it shows ${shownTime(byItsClock(deadline, clock) ?? '')}`
    : `${differs} behind this computer’s: it is powered off so much later than ${shownTime(deadline)}, unless one of them is put right`;
}

/** A start after its deadline would be undone by its own timer, without a word. */
export function refuseEnded(machine: Machine, now: Date): void {
  if (!hasEnded(machine, now)) return;
  const { name } = machine.spec;
  throw new SlipwayError('MACHINE_ENDED', `"${name}" ended at its deadline, ${shownTime(machine.deadline ?? '')}`, {
    hint: `Give it more time first: slipway extend ${name} 2h, or no deadline: slipway extend ${name} never`,
  });
}
