import type { Machine } from '../machine/model.ts';
import type { ListedMachine } from '../machine/store.ts';
import type { DockerMachineInvocation } from './docker-machine-command.ts';
import { dockerMachineDriverName } from './config-json/driver-mappings.ts';
import { type ConfigJson, loadConfigJson } from './load-config-json.ts';
import {
  findDriverName,
  getMachineStateWithin,
  driverNotFoundError,
  type DockerMachineState,
} from './machine-arguments.ts';
import type { SwarmOptions } from './swarm-options.ts';

/** A row, with the fields that `ls --format` knows. */
export type DockerMachineLsRow = {
  readonly Name: string;
  readonly Active: string;
  readonly ActiveHost: boolean;
  readonly ActiveSwarm: boolean;
  readonly DriverName: string;
  readonly State: DockerMachineState;
  readonly URL: string;
  readonly SwarmOptions: unknown;
  readonly Swarm: string;
  readonly EngineOptions: unknown;
  readonly Error: string;
  readonly DockerVersion: string;
  readonly ResponseTime: string;
};

/** The titles of the columns. */
export const COLUMN_TITLES: Readonly<Record<keyof DockerMachineLsRow, string>> = {
  Name: 'NAME',
  Active: 'ACTIVE',
  ActiveHost: 'ACTIVE_HOST',
  ActiveSwarm: 'ACTIVE_SWARM',
  DriverName: 'DRIVER',
  State: 'STATE',
  URL: 'URL',
  SwarmOptions: 'SWARM_OPTIONS',
  Swarm: 'SWARM',
  EngineOptions: 'ENGINE_OPTIONS',
  Error: 'ERRORS',
  DockerVersion: 'DOCKER',
  ResponseTime: 'RESPONSE',
};

/** A machine whose record could be read, with its config.json. */
export type MachineWithConfig = { readonly name: string; readonly machine: Machine; readonly config: ConfigJson };

export async function loadMachineConfigs(
  listed: readonly ListedMachine[],
  call: DockerMachineInvocation,
): Promise<readonly MachineWithConfig[]> {
  const readable = listed.flatMap((item) => ('machine' in item ? [item] : []));
  return await Promise.all(
    readable.map(async (item) => ({ ...item, config: await loadConfigJson(item.machine, call) })),
  );
}

/** Queries a machine's state for at most `seconds`, and returns its row. */
export async function loadRow(
  { name, machine, config }: MachineWithConfig,
  masters: SwarmMasters,
  seconds: number,
  call: DockerMachineInvocation,
): Promise<DockerMachineLsRow> {
  const { spec } = machine;
  const start = performance.now();
  const driver = dockerMachineDriverName(spec.driver);
  const { SwarmOptions: swarm, EngineOptions: engine } = config.HostOptions;
  const row = { ...emptyRow(name), DriverName: driver };
  if (findDriverName(spec.driver) === undefined)
    return { ...brokenRow(name, driverNotFoundError(spec.driver).message), Swarm: '' };
  const answer = await getMachineStateWithin(machine, call.world, seconds);
  if (answer === undefined) return { ...row, State: 'Timeout' };
  const { status, state } = answer;
  const isRunning = state === 'Running';
  const active = isRunning ? activeKindOf(machine, config, call.env) : undefined;
  const isEngineSilent = isRunning && status.engine === undefined;
  return {
    ...row,
    Active: active === 'host' ? '*' : active === 'swarm' ? '* (swarm)' : '-',
    ActiveHost: active === 'host',
    ActiveSwarm: active === 'swarm',
    State: state,
    URL: isRunning ? (machine.endpoint?.url ?? '') : '',
    SwarmOptions: swarm,
    Swarm: formatSwarmColumn(name, swarm, masters),
    EngineOptions: engine,
    Error: isEngineSilent ? `Unable to query docker version: ${status.trouble}` : status.trouble,
    DockerVersion: status.engine === undefined ? 'Unknown' : `v${status.engine}`,
    ResponseTime: `${(performance.now() - start).toFixed(0)}ms`,
  };
}

/** Returns the row of a machine whose record can't be read, or whose driver does not exist. */
export function brokenRow(name: string, reason: string): DockerMachineLsRow {
  return {
    ...emptyRow(name),
    Active: '-',
    DriverName: 'not found',
    State: 'Error',
    Error: reason.replaceAll(/\s+/g, ' '),
    DockerVersion: 'Unknown',
  };
}

function emptyRow(name: string): DockerMachineLsRow {
  return {
    Name: name,
    Active: '',
    ActiveHost: false,
    ActiveSwarm: false,
    DriverName: '',
    State: '',
    URL: '',
    SwarmOptions: null,
    Swarm: '',
    EngineOptions: null,
    Error: '',
    DockerVersion: '',
    ResponseTime: '0s',
  };
}

/** Returns whether DOCKER_HOST is this machine's engine, or the Swarm whose master it is. */
export function activeKindOf(
  { endpoint, host }: Machine,
  { HostOptions }: ConfigJson,
  env: DockerMachineInvocation['env'],
): 'host' | 'swarm' | undefined {
  const url = env.DOCKER_HOST;
  if (!url) return undefined;
  if (url === endpoint?.url) return 'host';
  const { Master: isMaster, Host: listenAddress } = HostOptions.SwarmOptions;
  const port = /:(\d+)$/.exec(listenAddress)?.[1];
  return isMaster && url === `tcp://${host?.address}:${port}` ? 'swarm' : undefined;
}

/** The names of Swarm masters, by the discovery URL that they share with their members. */
export type SwarmMasters = ReadonlyMap<string, string>;

export function swarmMastersOf(machines: readonly MachineWithConfig[]): SwarmMasters {
  return new Map(
    machines.flatMap(({ name, config: { HostOptions } }) =>
      HostOptions.SwarmOptions.Master ? [[HostOptions.SwarmOptions.Discovery, name] as const] : [],
    ),
  );
}

function formatSwarmColumn(
  name: string,
  { Discovery: discovery, Master: isMaster }: SwarmOptions,
  masters: SwarmMasters,
): string {
  if (isMaster) return `${name} (master)`;
  return discovery === '' ? '' : (masters.get(discovery) ?? '');
}

export type DockerMachineLsFilter = {
  readonly key: 'name' | 'driver' | 'state' | 'swarm' | 'label';
  readonly value: string;
};

/**
 * Returns whether a machine matches: of filters with the same key, one must match; different keys must all match.
 * `state` is undefined if no filter needs it.
 */
export function isMatchingFilters(
  filters: readonly DockerMachineLsFilter[],
  { name, machine, config }: MachineWithConfig,
  masters: SwarmMasters,
  state: DockerMachineState | undefined,
): boolean {
  const { Labels: labels } = config.HostOptions.EngineOptions;
  const isSame = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();
  const matchers: Record<DockerMachineLsFilter['key'], (value: string) => boolean> = {
    name: (value) => new RegExp(value).test(name),
    driver: (value) =>
      isSame(dockerMachineDriverName(machine.spec.driver), value) || isSame(machine.spec.driver, value),
    state: (value) => isSame(state ?? '', value === 'None' ? '' : value) && state !== undefined,
    swarm: (value) =>
      isSame(formatSwarmColumn(name, config.HostOptions.SwarmOptions, masters).replace(/ \(master\)$/, ''), value),
    // A label without a value matches any value.
    label: (value) =>
      labels.some(
        (label) => isSame(label, value) || (!value.includes('=') && isSame(label.split('=', 1)[0] ?? '', value)),
      ),
  };
  const keys = [...new Set(filters.map(({ key }) => key))];
  return keys.every((key) => filters.some((filter) => filter.key === key && matchers[key](filter.value)));
}
