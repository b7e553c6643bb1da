import { z } from 'zod';
import { formatSeconds } from '../../machine/duration.ts';
import { formatDeadline, formatTime } from '../../operations/deadline.ts';
import { getStatusDetails, getStatus, type StatusDetails, type MachineStatus } from '../../operations/status.ts';
import type { Machine } from '../../machine/model.ts';
import type { World } from '../../operations/world.ts';
import { contextName } from '../../profiles/docker-context.ts';
import { connectShellCommand } from '../../profiles/shell-env.ts';
import type { PortDocument } from '../../link/link-state.ts';
import { defineCommand, type Command } from '../command.ts';
import { formatPorts, loadPublishedPorts } from '../published-ports.ts';
import { formatOptionMeta } from '../format-option.ts';
import { compileDocumentFormat } from '../../terminal/output-format.ts';
import { formatFields } from '../../terminal/text-output.ts';

const args = z.object({
  timeout: z
    .int()
    .min(1)
    .max(600)
    .default(5)
    .meta({ description: 'Seconds to wait for an answer', short: 't', value: 'seconds' }),
  format: z.string().optional().meta(formatOptionMeta('.state')),
});

export const status: Command<typeof args> = defineCommand({
  name: 'status',
  summary: 'Show the state of a machine',
  usage: '<name>',
  details:
    'Exits with status 0 if the engine answers, otherwise with 1. The fields for --format are those of --json: --format "{{.state}} {{.engine}}".',
  args,
  async run({ positionals: [name = ''], args: { format: template, timeout } }, { world, screen }) {
    const format = compileDocumentFormat(template, { json: screen.json, strict: true });
    const machine = await world.store.read(name);
    const [answer, details] = await Promise.all([
      getStatus(machine, world, timeout),
      getStatusDetails(machine, world, timeout),
    ]);
    const ports = await loadPublishedPorts(machine, answer.state === 'running', world);
    const state = { ...answer, trouble: [answer.trouble, ...details.problems].filter(Boolean).join('; ') };
    const json = toStatusDocument(machine, state, details, ports);
    return {
      json,
      text: format ? format(json) : formatFields(statusFields(machine, state, details, ports, world)),
      status: state.state === 'running' ? 0 : 1,
    };
  },
});

function contextNameOf({ phase, spec }: Machine): string | undefined {
  return phase === 'ready' && spec.profiles.includes('docker-context') ? contextName(spec.name) : undefined;
}

function toStatusDocument(
  machine: Machine,
  state: MachineStatus,
  { engine, host, errors }: StatusDetails,
  ports: readonly PortDocument[],
): object {
  const { spec, endpoint, deadline, host: machineHost } = machine;
  return {
    name: spec.name,
    ...state,
    engine: state.engine ?? null,
    days: state.days ?? null,
    driver: spec.driver,
    address: machineHost?.address ?? null,
    ssh: machineHost?.ssh
      ? { user: machineHost.ssh.user, address: machineHost.ssh.address, port: machineHost.ssh.port }
      : null,
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
    ports,
    host: host ?? null,
    unasked: errors,
  };
}

/** Returns a count, or NaN: something else may answer in the engine's place and send anything. */
function toCount(value: unknown): number {
  return Number.isInteger(value) ? Number(value) : NaN;
}

type StatusFields = readonly (readonly [string, string])[];

function statusFields(
  machine: Machine,
  state: MachineStatus,
  details: StatusDetails,
  ports: readonly PortDocument[],
  world: World,
): StatusFields {
  const { host, endpoint, spec } = machine;
  const context = contextNameOf(machine);
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['Name', spec.name],
    ['State', state.state],
    ['Problem', state.trouble || undefined],
    ['Driver', spec.driver],
    ['Address', host?.address],
    ['Engine', state.engine],
    ['URL', endpoint?.url],
    ['Ports', ports.length === 0 ? undefined : formatPorts(ports)],
    ...metricsFields(state, details),
    ['Certificates', state.days === undefined ? undefined : `valid for ${state.days} days`],
    ...lifetimeFields(machine, world.now()),
    ['SSH', host?.ssh && `${host.ssh.user}@${host.ssh.address}:${host.ssh.port} (slipway ssh ${spec.name})`],
    ['Connect', context === undefined ? undefined : `docker --context ${context} ps`],
    ['Or', machine.phase === 'ready' ? connectShellCommand(spec.name, world.computer) : undefined],
  ];
  return rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
}

function lifetimeFields({ deadline, spec }: Machine, now: Date): readonly (readonly [string, string | undefined])[] {
  const idleStop = spec.lifetime?.idleStop;
  return [
    ['Deadline', deadline === undefined ? undefined : `${formatTime(deadline)}, ${formatDeadline({ deadline }, now)}`],
    ['Idle stop', idleStop === undefined ? undefined : `after ${idleStop} without activity`],
  ];
}

function metricsFields(
  state: MachineStatus,
  { engine, host, errors }: StatusDetails,
): readonly (readonly [string, string | undefined])[] {
  const running = toCount(engine?.ContainersRunning);
  const [runningCount, stoppedCount, imageCount] = [
    running,
    toCount(engine?.Containers) - running,
    toCount(engine?.Images),
  ].map((count) => (Number.isNaN(count) ? '?' : String(count)));
  return [
    ['Containers', engine && `${runningCount} running, ${stoppedCount} not running; ${imageCount} images`],
    ['Disk', host && `${formatSize(host.disk.free)} free of ${formatSize(host.disk.total)} (${host.disk.mount})`],
    ['Memory', host && `${formatSize(host.memory.free)} free of ${formatSize(host.memory.total)}`],
    ['Load', host && `${host.load.join(' ')} on ${host.cpus} ${host.cpus === 1 ? 'CPU' : 'CPUs'}`],
    ['Uptime', host && formatSeconds(host.uptime)],
    // If the machine does not run, its state explains the errors.
    ['Unknown', state.state === 'running' && errors.length > 0 ? errors.join('; ') : undefined],
  ];
}

function formatSize(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${gib.toFixed(1)} GiB` : `${Math.round(bytes / 1024 ** 2)} MiB`;
}
