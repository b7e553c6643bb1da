/** Resolves the machines that a command line names, and their states in Docker Machine's terms. */
import { setTimeout as sleep } from 'node:timers/promises';
import { driverAliases } from '../drivers/names.ts';
import { SlipwayError } from '../errors.ts';
import { concurrencyLimit, MAX_CONNECTIONS } from '../operations/concurrency.ts';
import { getStatus, type MachineStatus } from '../operations/status.ts';
import type { World } from '../operations/world.ts';
import type { Machine, ReadyMachine } from '../machine/model.ts';
import { dockerMachineDriverName } from './config-json/driver-mappings.ts';
import type { DockerMachineInvocation } from './docker-machine-command.ts';
import {
  DockerMachineError,
  toDockerMachineError,
  rewriteCommandNames,
  machineNotFoundError,
} from './docker-machine-error.ts';
import { isManagedBySlipway } from './config-json/mark.ts';

export type DockerMachineState =
  '' | 'Running' | 'Paused' | 'Saved' | 'Stopped' | 'Stopping' | 'Starting' | 'Error' | 'Timeout';

const DEFAULT_MACHINE = 'default';
const STATE_TIMEOUT_SECONDS = 15;

/** Returns the names that the user typed, or `default` if there are none and a machine of that name exists. */
export async function resolveMachineNames({
  words,
  world: { store },
}: Pick<DockerMachineInvocation, 'words' | 'world'>): Promise<readonly string[]> {
  if (words.length > 0) return words;
  if ((await store.listNames()).includes(DEFAULT_MACHINE)) return [DEFAULT_MACHINE];
  throw new DockerMachineError('Error: No machine name(s) specified and no "default" machine exists');
}

/** Returns the one name that the user typed, or `default` if there is none. */
export async function resolveMachineName(call: Pick<DockerMachineInvocation, 'words' | 'world'>): Promise<string> {
  const [name = '', ...extra] = await resolveMachineNames(call);
  if (extra.length > 0) throw new DockerMachineError('Error: Expected one machine name as an argument');
  return name;
}

/** Reads a machine's record. Throws Docker Machine's error if no such machine exists. */
export async function readMachine(name: string, { store }: World): Promise<Machine> {
  try {
    return await store.read(name);
  } catch (error) {
    // No machine can have an invalid name.
    if (error instanceof SlipwayError && error.code === 'USAGE') throw machineNotFoundError(name);
    throw toDockerMachineError(error, name);
  }
}

/** Reads the record of a machine that a command is about to change. */
export async function requireModifiableMachine(name: string, world: World): Promise<Machine> {
  const machine = await readMachine(name, world);
  if (isManagedBySlipway(machine)) throw managedBySlipwayError(name);
  if (findDriverName(machine.spec.driver) === undefined) throw driverNotFoundError(machine.spec.driver);
  return machine;
}

/**
 * The error for a change to a machine whose record is in Slipway's own store: the drop-in only shows such a machine.
 */
export function managedBySlipwayError(name: string): DockerMachineError {
  return new DockerMachineError(
    `"${name}" is a machine of slipway, which alone changes it. Use "slipway" with the same command and name.`,
  );
}

/** Reads the record of a machine whose creation is complete. */
export async function requireReadyMachine(name: string, world: World): Promise<ReadyMachine> {
  const machine = await readMachine(name, world);
  if (machine.phase === 'ready') return machine;
  throw new DockerMachineError(
    `Docker machine "${name}" is not finished. Use "docker-machine create" with the same name and flags to go on, or "docker-machine rm ${name}" to undo it.`,
  );
}

/** Finds Slipway's name of a driver by that name or by Docker Machine's. */
export function findDriverName(name: string): string | undefined {
  return Object.entries(driverAliases).find(
    ([slipwayName, aliases]) => slipwayName === name || aliases.includes(name),
  )?.[0];
}

/** Throws if the machine's driver does not support the action: a driver starts and stops only what it creates. */
export async function requireDriverSupport(action: 'start' | 'stop' | 'kill', { spec }: Machine): Promise<void> {
  const name = findDriverName(spec.driver);
  if (name === undefined) throw driverNotFoundError(spec.driver);
  const { loadDriver } = await import('../drivers/registry.ts');
  if (!(await loadDriver(name)).power)
    throw new DockerMachineError(`${dockerMachineDriverName(name)} driver does not support ${action}`);
}

export function driverNotFoundError(name: string): DockerMachineError {
  return new DockerMachineError(
    `Driver "${dockerMachineDriverName(name)}" not found. Do you have the plugin binary accessible in your PATH?`,
  );
}

/** Queries a machine's state: first its engine, then its driver, then its SSH server. */
export async function getMachineState(
  machine: Machine,
  world: World,
  seconds = STATE_TIMEOUT_SECONDS,
): Promise<{ state: DockerMachineState; status: MachineStatus }> {
  const status = await getStatus(machine, world, seconds);
  return {
    state: toDockerMachineState(machine, status),
    status: { ...status, trouble: rewriteCommandNames(status.trouble) },
  };
}

/** Translates Slipway's state of a machine to Docker Machine's term. */
export function toDockerMachineState({ spec }: Machine, { state }: MachineStatus): DockerMachineState {
  // Slipway does not control an engine that is known by its URL alone, so it counts as running.
  if (spec.driver === 'none') return 'Running';
  const states = {
    running: 'Running',
    'no engine': 'Running',
    starting: 'Running',
    stopped: 'Stopped',
    suspended: 'Saved',
    ended: 'Stopped',
    unreachable: 'Stopped',
    paused: 'Paused',
    missing: 'Error',
    unfinished: 'Error',
  } as const;
  return states[state];
}

/**
 * Queries a machine's state like `getMachineState`. Returns undefined if the answer takes longer than `seconds`.
 */
export async function getMachineStateWithin(
  machine: Machine,
  world: World,
  seconds: number,
): Promise<{ state: DockerMachineState; status: MachineStatus } | undefined> {
  const answered = new AbortController();
  try {
    return await Promise.race([
      getMachineState(machine, world, seconds),
      sleep(seconds * 1000, undefined, { signal: answered.signal, ref: false }),
    ]);
  } finally {
    answered.abort();
  }
}

export const NOT_RUNNING_MESSAGE = 'Host is not running';

/** Throws if the machine is not running, for commands that need its address or its engine. */
export async function requireRunning(machine: Machine, world: World): Promise<MachineStatus> {
  const { state, status } = await getMachineState(machine, world);
  if (state === 'Running') return status;
  if (state === 'Error') throw new DockerMachineError(status.trouble);
  throw new DockerMachineError(NOT_RUNNING_MESSAGE);
}

/** Throws if the engine does not answer, so that `env` and `config` print nothing. `prefix` begins the message. */
export async function requireEngineAnswer(machine: ReadyMachine, world: World, prefix: string): Promise<void> {
  const status = await requireRunning(machine, world).catch((error: unknown) => {
    throw error instanceof DockerMachineError
      ? new DockerMachineError(`${prefix}${error.message}`, { cause: error })
      : error;
  });
  if (status.engine !== undefined) return;
  const authority = machine.endpoint.url.replace(/^tcp:\/\//, '');
  throw new DockerMachineError(
    [
      `${prefix}Error checking and/or regenerating the certs: There was an error validating certificates for host "${authority}": ${status.trouble}`,
      "You can attempt to regenerate them using 'docker-machine regenerate-certs [name]'.",
      'Containers keep running meanwhile.',
    ].join('\n'),
  );
}

/** Runs `work` for each name, for as many at the same time as `slipway` does. Returns how each ended, in order. */
export async function settleWithinLimit(
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<readonly PromiseSettledResult<void>[]> {
  const limit = concurrencyLimit(MAX_CONNECTIONS);
  // The limit itself would take an error of the drop-in for a bug, and start no further work.
  const settle = async (name: string): Promise<PromiseSettledResult<void>> => {
    const [result] = await Promise.allSettled([work(name)]);
    return result;
  };
  return await Promise.all(names.map(async (name) => limit(async () => settle(name))));
}

/** Runs `work` for one of several machines, and shows the result in the machine's row. */
export async function runAndReportEnd(
  name: string,
  { reportEnd }: DockerMachineInvocation,
  work: (name: string) => Promise<void>,
): Promise<void> {
  try {
    await work(name);
    reportEnd(name);
  } catch (error) {
    reportEnd(name, error);
    throw error;
  }
}

/**
 * Runs `work` for all of these machines, a limited number at a time, if all of them exist. Throws one error with the
 * messages of all machines that failed.
 */
export async function runForEachMachine(
  names: readonly string[],
  call: DockerMachineInvocation,
  work: (name: string) => Promise<void>,
): Promise<void> {
  for (const name of names) await requireModifiableMachine(name, call.world);
  const results = await settleWithinLimit(names, async (name) => runAndReportEnd(name, call, work));
  call.closeProgress();
  const errors = results.flatMap((result, index) =>
    result.status === 'rejected' ? [toDockerMachineError(result.reason as unknown, names[index])] : [],
  );
  const bug = errors.find((error) => !(error instanceof DockerMachineError));
  if (bug !== undefined) throw bug;
  const failures = errors as readonly DockerMachineError[];
  const [first] = failures;
  if (first === undefined) return;
  throw new DockerMachineError(failures.map(({ message }) => message).join('\n'), {
    status: first.status,
    cause: first,
  });
}
