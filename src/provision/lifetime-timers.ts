import { SlipwayError } from '../errors.ts';
import type { SshTarget } from '../machine/model.ts';
import type { Facts } from './facts.ts';
import { defaultServiceManager } from './init/registry.ts';
import type { HostLifetime, LifetimeScripts, ServiceManager } from './init/service-manager.ts';
import { formatManifest, hasChanged } from './remote-files.ts';
import { joinTemplates, type ReadTemplate, type Step } from './step.ts';
import { serviceManagerOf } from './supported-host.ts';

/** Reads the scripts that timers run on a host with this service manager. */
export async function readLifetimeScripts(
  { scripts }: ServiceManager,
  readTemplate: ReadTemplate,
): Promise<LifetimeScripts> {
  const [deadline, idle] = await Promise.all(
    ['deadline.sh', 'idle.sh'].map((script) => joinTemplates([scripts.host, script], readTemplate)),
  );
  return { deadline: deadline ?? '', idle: idle ?? '' };
}

/** Returns the step that sets the host's timers to `lifetime`; undefined if they are already set. */
export function planLifetime(lifetime: HostLifetime | undefined, facts: Facts): Step | undefined {
  const { clock, files } = facts;
  const { timers, scripts } = serviceManagerOf(facts);
  const wanted = lifetime ? timers.filesFor({ ...lifetime, deadline: toHostClock(lifetime.deadline, clock) }) : [];
  const changed = wanted.filter((file) => hasChanged(file, facts));
  const removed = timers.paths.filter(
    (path) => files[path] !== undefined && !wanted.some((file) => file.path === path),
  );
  if (changed.length === 0 && removed.length === 0 && !facts.lifetimePending) return undefined;
  if (lifetime) requireFutureDeadline(lifetime, clock);
  const changes: Step['files'] = [...changed, ...removed.map((path) => ({ path, content: undefined }))];
  return {
    id: 'life',
    title: lifetimeTitle(lifetime),
    template: 'life.sh',
    scripts: [scripts.services, 'life.sh'],
    variables: {
      TIMERS: timers.namesOf(wanted.map(({ path }) => path)).join(' '),
      MANIFEST: formatManifest(changes),
    },
    files: changes,
  };
}

/** Clocks that differ by at most this much count as equal. */
export const SAME_CLOCK_SECONDS = 60;

/**
 * Converts a deadline to the host's clock. The result is never earlier than the deadline, whichever of the two clocks
 * is corrected later. Shifts it by whole minutes and allows for some seconds, so that a second run plans the same.
 */
export function toHostClock(deadline: string | undefined, clock: Facts['clock']): string | undefined {
  if (deadline === undefined || clock === undefined || clock.aheadSeconds <= SAME_CLOCK_SECONDS) return deadline;
  const minutes = Math.ceil((clock.aheadSeconds + 30) / 60);
  return new Date(new Date(deadline).getTime() + minutes * 60_000).toISOString();
}

/** Throws MACHINE_ENDED for a past deadline: its timer would fire at once, and power off the host during this run. */
function requireFutureDeadline({ name, deadline }: HostLifetime, clock: Facts['clock']): void {
  if (deadline === undefined || clock === undefined) return;
  if (Date.parse(toHostClock(deadline, clock) ?? '') / 1000 > clock.now) return;
  throw new SlipwayError(
    'MACHINE_ENDED',
    `The deadline of "${name}" passed at ${deadline}, before its host received it`,
    {
      hint: `Extend it: slipway extend ${name} 2h. If its creation was interrupted: slipway create ${name} --ttl 2h`,
    },
  );
}

/** Returns a command that removes the timers without Slipway. For hosts that Slipway can't connect to. */
export function stopTimersCommand({ user, address, port, jump }: SshTarget): string {
  const words = [
    'ssh',
    ...(port === 22 ? [] : ['-p', String(port)]),
    ...(jump === undefined
      ? []
      : ['-J', `${jump.user}@${jump.address.includes(':') ? `[${jump.address}]` : jump.address}:${jump.port}`]),
    `${user}@${address}`,
  ];
  const sudo = user === 'root' ? '' : 'sudo ';
  const commands = defaultServiceManager.timers.stopCommands.map((command) => `${sudo}${command}`);
  return `${words.join(' ')} "${commands.join(' && ')}"`;
}

function lifetimeTitle(lifetime: HostLifetime | undefined): string {
  const parts = [
    ...(lifetime?.deadline === undefined ? [] : [`power off at ${lifetime.deadline}`]),
    ...(lifetime?.idleSeconds === undefined ? [] : [`stop after ${lifetime.idleSeconds} s idle`]),
  ];
  return parts.length === 0
    ? 'Remove the deadline and idle stop from the host'
    : `Set the host to ${parts.join(' and to ')}`;
}
