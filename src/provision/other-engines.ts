import { SlipwayError } from '../errors.ts';
import type { Facts, OtherEngine } from './facts.ts';
import type { EngineService, ServiceManager } from './init/service-manager.ts';
import { formatList } from '../machine/options.ts';

/** Precedes the name of a unit that a user's own service manager runs. */
const USER_UNIT = 'user:';

/** Refuses to start an engine where another one runs: the two would compete for the local socket and its clients. */
export function requireNoOtherEngine({ otherEngines }: Facts, where: string, manager: ServiceManager): void {
  const [other] = otherEngines;
  if (!other) return;
  throw new SlipwayError('ENGINE_CONFLICT', `${describeOther(other, where)}, and Slipway installs no second engine`, {
    hint: `To install Docker Engine in its place, end it on the host first: ${endCommand(other, manager)}. To use it as it is: docker context create NAME --docker host=ssh://USER@${where}`,
  });
}

/** Refuses a host on which an administrator has masked what the engine needs: no command could start the engine. */
export function requireNoMaskedUnit({ engineService }: Facts, where: string, service: EngineService): void {
  const masks = service.findMasks(engineService);
  if (!masks) return;
  const [first = '', ...more] = masks.units;
  const units = more.length === 0 ? `${first} is` : `${formatList(masks.units)} are`;
  throw new SlipwayError('ENGINE_CONFLICT', `The engine on ${where} can't start: ${units} masked there`, {
    hint: `To allow it, run this on the host, then the same command again: ${masks.undo}`,
  });
}

function describeOther({ role, pid, unit, program, user }: OtherEngine, where: string): string {
  if (role === 'snap') return `${where} has an engine from the snap "docker"`;
  const name = program?.replace(/ \(deleted\)$/, '') ?? unit ?? 'A program';
  const process = [...(pid === undefined || pid === 1 ? [] : [`PID ${pid}`]), ...(unit === undefined ? [] : [unit])];
  const details = unit === name ? '' : ` (${process.join(', ')})`;
  if (role === 'socket') return `${name}${details} serves /run/docker.sock on ${where}`;
  return user === 'root'
    ? `${name}${details} runs on ${where}`
    : `A rootless engine of ${user} runs on ${where}: ${name}${details}`;
}

function endCommand({ unit, pid, user }: OtherEngine, { endCommandOf }: ServiceManager): string {
  if (unit?.startsWith('snap.docker.')) return 'sudo snap remove docker';
  if (unit?.startsWith(USER_UNIT)) return `${endCommandOf(unit.slice(USER_UNIT.length), true)} (as ${user})`;
  return unit === undefined || unit.endsWith('.scope') ? `sudo kill ${pid}` : endCommandOf(unit, false);
}
