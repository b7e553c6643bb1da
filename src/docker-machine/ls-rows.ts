/** The rows of `ls`. */
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

/** By the names that a format of `ls` knows. */
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

/** What heads each of them. */
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

/** One that could be read, with what the old tool's file says of it. */
export type MachineWithConfig = { readonly name: string; readonly machine: Machine; readonly config: ConfigJson };

export async function loadMachineConfigs(
  listed: readonly ListedMachine[],
  call: DockerMachineInvocation,
): Promise<readonly MachineWithConfig[]> {
  const machines = listed.flatMap((one) => ('machine' in one ? [one] : []));
  return await Promise.all(machines.map(async (one) => ({ ...one, config: await loadConfigJson(one.machine, call) })));
}

/** In the order of names as people sort them. */
export async function loadRow(
  { name, machine, config }: MachineWithConfig,
  masters: SwarmMasters,
  seconds: number,
  call: DockerMachineInvocation,
): Promise<DockerMachineLsRow> {
  const { spec } = machine;
  const before = performance.now();
  const driver = dockerMachineDriverName(spec.driver);
  const { SwarmOptions: swarm, EngineOptions: engine } = config.HostOptions;
  const blank = { ...emptyRow(name), DriverName: driver };
  if (findDriverName(spec.driver) === undefined)
    return { ...brokenRow(name, driverNotFoundError(spec.driver).message), Swarm: '' };
  const seen = await getMachineStateWithin(machine, call.world, seconds);
  if (seen === undefined) return { ...blank, State: 'Timeout' };
  const { look, state } = seen;
  const running = state === 'Running';
  const active = running ? activeKindOf(machine, config, call.env) : undefined;
  const unanswered = running && look.engine === undefined;
  return {
    ...blank,
    Active: active === 'host' ? '*' : active === 'swarm' ? '* (swarm)' : '-',
    ActiveHost: active === 'host',
    ActiveSwarm: active === 'swarm',
    State: state,
    URL: running ? (machine.endpoint?.url ?? '') : '',
    SwarmOptions: swarm,
    Swarm: formatSwarmColumn(name, swarm, masters),
    EngineOptions: engine,
    Error: unanswered ? `Unable to query docker version: ${look.trouble}` : look.trouble,
    DockerVersion: look.engine === undefined ? 'Unknown' : `v${look.engine}`,
    ResponseTime: `${(performance.now() - before).toFixed(0)}ms`,
  };
}

/** A record that can't be read, or whose driver is not here, is a row that says so. */
export function brokenRow(name: string, why: string): DockerMachineLsRow {
  return {
    ...emptyRow(name),
    Active: '-',
    DriverName: 'not found',
    State: 'Error',
    Error: why.replaceAll(/\s+/g, ' '),
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

/** Whether DOCKER_HOST means this machine: its engine, or the Swarm that it is the master of. */
export function activeKindOf(
  { endpoint, host }: Machine,
  { HostOptions }: ConfigJson,
  env: DockerMachineInvocation['env'],
): 'host' | 'swarm' | undefined {
  const url = env.DOCKER_HOST;
  if (!url) return undefined;
  if (url === endpoint?.url) return 'host';
  const { Master: master, Host: listens } = HostOptions.SwarmOptions;
  const port = /:(\d+)$/.exec(listens)?.[1];
  return master && url === `tcp://${host?.address}:${port}` ? 'swarm' : undefined;
}

/** Names of the masters by the discovery that they share with their members. */
export type SwarmMasters = ReadonlyMap<string, string>;

export function swarmMastersOf(all: readonly MachineWithConfig[]): SwarmMasters {
  return new Map(
    all.flatMap(({ name, config: { HostOptions } }) =>
      HostOptions.SwarmOptions.Master ? [[HostOptions.SwarmOptions.Discovery, name] as const] : [],
    ),
  );
}

function formatSwarmColumn(
  name: string,
  { Discovery: discovery, Master: master }: SwarmOptions,
  masters: SwarmMasters,
): string {
  if (master) return `${name} (master)`;
  return discovery === '' ? '' : (masters.get(discovery) ?? '');
}

export type DockerMachineLsFilter = {
  readonly key: 'name' | 'driver' | 'state' | 'swarm' | 'label';
  readonly value: string;
};

/** What of a machine the filters look at; its state is asked for only where one of them wants it. */
export function isMatchingFilters(
  filters: readonly DockerMachineLsFilter[],
  one: MachineWithConfig,
  masters: SwarmMasters,
  state: DockerMachineState | undefined,
): boolean {
  const { name, machine, config } = one;
  const { Labels: labels } = config.HostOptions.EngineOptions;
  const same = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();
  const tests: Record<DockerMachineLsFilter['key'], (value: string) => boolean> = {
    name: (value) => new RegExp(value).test(name),
    driver: (value) => same(dockerMachineDriverName(machine.spec.driver), value) || same(machine.spec.driver, value),
    state: (value) => same(state ?? '', value === 'None' ? '' : value) && state !== undefined,
    swarm: (value) =>
      same(formatSwarmColumn(name, config.HostOptions.SwarmOptions, masters).replace(/ \(master\)$/, ''), value),
    // A label alone is one of any value.
    label: (value) =>
      labels.some((label) => same(label, value) || (!value.includes('=') && same(label.split('=', 1)[0] ?? '', value))),
  };
  const keys = [...new Set(filters.map(({ key }) => key))];
  return keys.every((key) => filters.some((filter) => filter.key === key && tests[key](filter.value)));
}
