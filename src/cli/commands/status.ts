import { z } from 'zod';
import { formatSeconds } from '../../machine/duration.ts';
import { formatDeadline, formatTime } from '../../operations/deadline.ts';
import { getStatusDetails, getStatus, type StatusDetails, type MachineStatus } from '../../operations/status.ts';
import type { Machine } from '../../machine/model.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatOptionMeta } from '../format-option.ts';
import { compileDocumentFormat } from '../../terminal/output-format.ts';
import { formatFields } from '../../terminal/text-output.ts';

const args = z.object({
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds that it may take to answer', short: 't', value: 'seconds' }),
  format: z.string().optional().meta(formatOptionMeta('.state')),
});

export const status: Command<typeof args> = defineCommand({
  name: 'status',
  summary: 'Show how a machine is; exit status 0 when its engine answers, else 1',
  usage: '<name>',
  details: 'Fields of a format are those of --json: --format "{{.state}} {{.engine}}".',
  args,
  async run({ positionals: [name = ''], args: given }, { world, screen }) {
    const { timeout } = given;
    const format = compileDocumentFormat(given.format, { json: screen.json, strict: true });
    const machine = await world.store.read(name);
    const [look, figures] = await Promise.all([
      getStatus(machine, world, timeout),
      getStatusDetails(machine, world, timeout),
    ]);
    const json = toStatusDocument(machine, look, figures);
    return {
      json,
      text: format ? format(json) : formatFields(statusFields(machine, look, figures, world.now())),
      status: look.state === 'running' ? 0 : 1,
    };
  },
});

function contextNameOf({ phase, spec }: Machine): string | undefined {
  return phase === 'ready' && spec.profiles.includes('docker-context') ? contextName(spec.name) : undefined;
}

function toStatusDocument(machine: Machine, look: MachineStatus, { engine, host, errors }: StatusDetails): object {
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
    context: contextNameOf(machine) ?? null,
    deadline: deadline ?? null,
    idleStop: spec.lifetime?.idleStop ?? null,
    containers: engine
      ? {
          running: toCount(engine.ContainersRunning),
          paused: toCount(engine.ContainersPaused),
          stopped: toCount(engine.ContainersStopped),
          total: toCount(engine.Containers),
        }
      : null,
    images: engine ? toCount(engine.Images) : null,
    host: host ?? null,
    unasked: errors,
  };
}

/** What answers in the place of an engine may send anything where a number is due. */
function toCount(said: unknown): number {
  return Number.isInteger(said) ? Number(said) : NaN;
}

type StatusFields = readonly (readonly [string, string])[];

function statusFields(machine: Machine, look: MachineStatus, figures: StatusDetails, now: Date): StatusFields {
  const { host, endpoint, spec } = machine;
  const context = contextNameOf(machine);
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['Name', spec.name],
    ['State', look.state],
    ['Trouble', look.trouble || undefined],
    ['Driver', spec.driver],
    ['Address', host?.address],
    ['Engine', look.engine],
    ['URL', endpoint?.url],
    ...metricsFields(look, figures),
    ['Certificates', look.days === undefined ? undefined : `good for ${look.days} days`],
    ...lifetimeFields(machine, now),
    ['SSH', host?.ssh && `${host.ssh.user}@${host.ssh.address}:${host.ssh.port}, by: slipway ssh ${spec.name}`],
    ['Connect', context === undefined ? undefined : `docker --context ${context} ps`],
    ['Or', machine.phase === 'ready' ? `eval "$(slipway env ${spec.name})"` : undefined],
  ];
  return rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
}

function lifetimeFields({ deadline, spec }: Machine, now: Date): readonly (readonly [string, string | undefined])[] {
  const idleStop = spec.lifetime?.idleStop;
  return [
    ['Deadline', deadline === undefined ? undefined : `${formatTime(deadline)}, ${formatDeadline({ deadline }, now)}`],
    ['Idle stop', idleStop === undefined ? undefined : `once nothing happens for ${idleStop}`],
  ];
}

function metricsFields(
  look: MachineStatus,
  { engine, host, errors }: StatusDetails,
): readonly (readonly [string, string | undefined])[] {
  const running = toCount(engine?.ContainersRunning);
  const [runs, not, images] = [running, toCount(engine?.Containers) - running, toCount(engine?.Images)].map((number) =>
    Number.isNaN(number) ? '?' : String(number),
  );
  return [
    ['Containers', engine && `${runs} running, ${not} not; ${images} images`],
    ['Disk', host && `${formatSize(host.disk.free)} free of ${formatSize(host.disk.total)} (${host.disk.mount})`],
    ['Memory', host && `${formatSize(host.memory.free)} free of ${formatSize(host.memory.total)}`],
    ['Load', host && `${host.load.join(' ')} on ${host.cpus} ${host.cpus === 1 ? 'CPU' : 'CPUs'}`],
    ['Up', host && `for ${formatSeconds(host.uptime)}`],
    // Of one that does not run it is known why.
    ['Not told', look.state === 'running' && errors.length > 0 ? errors.join('; ') : undefined],
  ];
}

function formatSize(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}
