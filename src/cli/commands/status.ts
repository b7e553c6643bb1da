import { z } from 'zod';
import { shownSeconds } from '../../machine/duration.ts';
import { shownDeadline, shownTime } from '../../operations/deadline.ts';
import { figuresOf, lookAt, type Figures, type Look } from '../../operations/status.ts';
import type { Machine } from '../../machine/model.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatOption } from '../format-option.ts';
import { documentFormat } from '../../terminal/format.ts';
import { page } from '../../terminal/print.ts';

const args = z.object({
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds that it may take to answer', short: 't', value: 'seconds' }),
  format: z.string().optional().meta(formatOption('.state')),
});

export const status: Command<typeof args> = defineCommand({
  name: 'status',
  summary: 'Show how a machine is; exit status 0 when its engine answers, else 1',
  words: '<name>',
  details: 'Fields of a format are those of --json: --format "{{.state}} {{.engine}}".',
  args,
  async run({ words: [name = ''], args: given }, { world, screen }) {
    const { timeout } = given;
    const format = documentFormat(given.format, { json: screen.json, strict: true });
    const machine = await world.store.read(name);
    const [look, figures] = await Promise.all([lookAt(machine, world, timeout), figuresOf(machine, world, timeout)]);
    const json = documentOf(machine, look, figures);
    return {
      json,
      text: format ? format(json) : page(rowsOf(machine, look, figures, world.now())),
      status: look.state === 'running' ? 0 : 1,
    };
  },
});

function contextOf({ phase, spec }: Machine): string | undefined {
  return phase === 'ready' && spec.profiles.includes('docker-context') ? contextName(spec.name) : undefined;
}

function documentOf(machine: Machine, look: Look, { engine, host, unasked }: Figures): object {
  const { spec, endpoint, deadline, host: where } = machine;
  return {
    name: spec.name,
    ...look,
    engine: look.engine ?? null,
    days: look.days ?? null,
    driver: spec.driver,
    address: where?.address ?? null,
    ssh: where?.ssh ? { user: where.ssh.user, address: where.ssh.address, port: where.ssh.port } : null,
    url: endpoint?.url ?? null,
    context: contextOf(machine) ?? null,
    deadline: deadline ?? null,
    idleStop: spec.life?.idleStop ?? null,
    containers: engine
      ? {
          running: count(engine.ContainersRunning),
          paused: count(engine.ContainersPaused),
          stopped: count(engine.ContainersStopped),
          total: count(engine.Containers),
        }
      : null,
    images: engine ? count(engine.Images) : null,
    host: host ?? null,
    unasked,
  };
}

/** What answers in the place of an engine may send anything where a number is due. */
function count(said: unknown): number {
  return Number.isInteger(said) ? Number(said) : NaN;
}

type Rows = readonly (readonly [string, string])[];

function rowsOf(machine: Machine, look: Look, figures: Figures, now: Date): Rows {
  const { host, endpoint, spec } = machine;
  const context = contextOf(machine);
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['Name', spec.name],
    ['State', look.state],
    ['Trouble', look.trouble || undefined],
    ['Driver', spec.driver],
    ['Address', host?.address],
    ['Engine', look.engine],
    ['URL', endpoint?.url],
    ...figureRows(look, figures),
    ['Certificates', look.days === undefined ? undefined : `good for ${look.days} days`],
    ...lifeRows(machine, now),
    ['SSH', host?.ssh && `${host.ssh.user}@${host.ssh.address}:${host.ssh.port}, by: slipway ssh ${spec.name}`],
    ['Connect', context === undefined ? undefined : `docker --context ${context} ps`],
    ['Or', machine.phase === 'ready' ? `eval "$(slipway env ${spec.name})"` : undefined],
  ];
  return rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
}

function lifeRows({ deadline, spec }: Machine, now: Date): readonly (readonly [string, string | undefined])[] {
  const idleStop = spec.life?.idleStop;
  return [
    ['Deadline', deadline === undefined ? undefined : `${shownTime(deadline)}, ${shownDeadline({ deadline }, now)}`],
    ['Idle stop', idleStop === undefined ? undefined : `once nothing happens for ${idleStop}`],
  ];
}

function figureRows(
  look: Look,
  { engine, host, unasked }: Figures,
): readonly (readonly [string, string | undefined])[] {
  const running = count(engine?.ContainersRunning);
  const [runs, not, images] = [running, count(engine?.Containers) - running, count(engine?.Images)].map((number) =>
    Number.isNaN(number) ? '?' : String(number),
  );
  return [
    ['Containers', engine && `${runs} running, ${not} not; ${images} images`],
    ['Disk', host && `${size(host.disk.free)} free of ${size(host.disk.total)} (${host.disk.mount})`],
    ['Memory', host && `${size(host.memory.free)} free of ${size(host.memory.total)}`],
    ['Load', host && `${host.load.join(' ')} on ${host.cpus} ${host.cpus === 1 ? 'CPU' : 'CPUs'}`],
    ['Up', host && `for ${shownSeconds(host.uptime)}`],
    // Of one that does not run it is known why.
    ['Not told', look.state === 'running' && unasked.length > 0 ? unasked.join('; ') : undefined],
  ];
}

function size(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}
