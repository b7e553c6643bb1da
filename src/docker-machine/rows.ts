/** The rows of `ls`. */
import type { Machine } from '../machine/model.ts';
import type { Listed } from '../machine/store.ts';
import type { Call } from './command.ts';
import { type Config, configOf } from './config.ts';
import { knownDriver, oldDriver, stateWithin, withoutDriver, type State } from './machines.ts';
import type { Swarm } from './swarm.ts';

/** By the names that a format of `ls` knows. */
export type Row = {
  readonly Name: string;
  readonly Active: string;
  readonly ActiveHost: boolean;
  readonly ActiveSwarm: boolean;
  readonly DriverName: string;
  readonly State: State;
  readonly URL: string;
  readonly SwarmOptions: unknown;
  readonly Swarm: string;
  readonly EngineOptions: unknown;
  readonly Error: string;
  readonly DockerVersion: string;
  readonly ResponseTime: string;
};

/** What heads each of them. */
export const TITLES: Readonly<Record<keyof Row, string>> = {
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
export type Known = { readonly name: string; readonly machine: Machine; readonly config: Config };

export async function known(listed: readonly Listed[], call: Call): Promise<readonly Known[]> {
  const machines = listed.flatMap((one) => ('machine' in one ? [one] : []));
  return await Promise.all(machines.map(async (one) => ({ ...one, config: await configOf(one.machine, call) })));
}

/** In the order of names as people sort them. */
export async function rowOf(
  { name, machine, config }: Known,
  masters: Masters,
  seconds: number,
  call: Call,
): Promise<Row> {
  const { spec } = machine;
  const before = performance.now();
  const driver = oldDriver(spec.driver);
  const { SwarmOptions: swarm, EngineOptions: engine } = config.HostOptions;
  const blank = { ...emptyRow(name), DriverName: driver };
  if (knownDriver(spec.driver) === undefined)
    return { ...brokenRow(name, withoutDriver(spec.driver).message), Swarm: '' };
  const seen = await stateWithin(machine, call.world, seconds);
  if (seen === undefined) return { ...blank, State: 'Timeout' };
  const { look, state } = seen;
  const running = state === 'Running';
  const active = running ? activeBy(machine, config, call.env) : undefined;
  const unanswered = running && look.engine === undefined;
  return {
    ...blank,
    Active: active === 'host' ? '*' : active === 'swarm' ? '* (swarm)' : '-',
    ActiveHost: active === 'host',
    ActiveSwarm: active === 'swarm',
    State: state,
    URL: running ? (machine.endpoint?.url ?? '') : '',
    SwarmOptions: swarm,
    Swarm: swarmOf(name, swarm, masters),
    EngineOptions: engine,
    Error: unanswered ? `Unable to query docker version: ${look.trouble}` : look.trouble,
    DockerVersion: look.engine === undefined ? 'Unknown' : `v${look.engine}`,
    ResponseTime: `${(performance.now() - before).toFixed(0)}ms`,
  };
}

/** A record that can't be read, or whose driver is not here, is a row that says so. */
export function brokenRow(name: string, why: string): Row {
  return {
    ...emptyRow(name),
    Active: '-',
    DriverName: 'not found',
    State: 'Error',
    Error: why.replaceAll(/\s+/g, ' '),
    DockerVersion: 'Unknown',
  };
}

function emptyRow(name: string): Row {
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
export function activeBy(
  { endpoint, host }: Machine,
  { HostOptions }: Config,
  env: Call['env'],
): 'host' | 'swarm' | undefined {
  const url = env.DOCKER_HOST;
  if (!url) return undefined;
  if (url === endpoint?.url) return 'host';
  const { Master: master, Host: listens } = HostOptions.SwarmOptions;
  const port = /:(\d+)$/.exec(listens)?.[1];
  return master && url === `tcp://${host?.address}:${port}` ? 'swarm' : undefined;
}

/** Names of the masters by the discovery that they share with their members. */
export type Masters = ReadonlyMap<string, string>;

export function mastersOf(all: readonly Known[]): Masters {
  return new Map(
    all.flatMap(({ name, config: { HostOptions } }) =>
      HostOptions.SwarmOptions.Master ? [[HostOptions.SwarmOptions.Discovery, name] as const] : [],
    ),
  );
}

function swarmOf(name: string, { Discovery: discovery, Master: master }: Swarm, masters: Masters): string {
  if (master) return `${name} (master)`;
  return discovery === '' ? '' : (masters.get(discovery) ?? '');
}

export type Filter = { readonly key: 'name' | 'driver' | 'state' | 'swarm' | 'label'; readonly value: string };

/** What of a machine the filters look at; its state is asked for only where one of them wants it. */
export function passes(filters: readonly Filter[], one: Known, masters: Masters, state: State | undefined): boolean {
  const { name, machine, config } = one;
  const { Labels: labels } = config.HostOptions.EngineOptions;
  const same = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();
  const tests: Record<Filter['key'], (value: string) => boolean> = {
    name: (value) => new RegExp(value).test(name),
    driver: (value) => same(oldDriver(machine.spec.driver), value) || same(machine.spec.driver, value),
    state: (value) => same(state ?? '', value === 'None' ? '' : value) && state !== undefined,
    swarm: (value) => same(swarmOf(name, config.HostOptions.SwarmOptions, masters).replace(/ \(master\)$/, ''), value),
    // A label alone is one of any value.
    label: (value) =>
      labels.some((label) => same(label, value) || (!value.includes('=') && same(label.split('=', 1)[0] ?? '', value))),
  };
  const keys = [...new Set(filters.map(({ key }) => key))];
  return keys.every((key) => filters.some((filter) => filter.key === key && tests[key](filter.value)));
}
