/** The machines that a command line means, and how the old tool calls what they are. */
import { setTimeout as sleep } from 'node:timers/promises';
import { driverAliases } from '../drivers/names.ts';
import { SlipwayError } from '../errors.ts';
import { getStatus, type MachineStatus } from '../operations/status.ts';
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

/** The names that a command takes: those given, or else the machine named `default`, where there is one. */
export async function resolveMachineNames({
  words,
  world: { store },
}: Pick<DockerMachineInvocation, 'words' | 'world'>): Promise<readonly string[]> {
  if (words.length > 0) return words;
  if ((await store.listNames()).includes(DEFAULT_MACHINE)) return [DEFAULT_MACHINE];
  throw new DockerMachineError('Error: No machine name(s) specified and no "default" machine exists');
}

/** The one name that a command takes. */
export async function resolveMachineName(call: Pick<DockerMachineInvocation, 'words' | 'world'>): Promise<string> {
  const [name = '', ...more] = await resolveMachineNames(call);
  if (more.length > 0) throw new DockerMachineError('Error: Expected one machine name as an argument');
  return name;
}

export async function readMachine(name: string, { store }: DockerMachineInvocation['world']): Promise<Machine> {
  try {
    return await store.read(name);
  } catch (error) {
    // A name that no machine can have is one that no machine has.
    if (error instanceof SlipwayError && error.code === 'USAGE') throw machineNotFoundError(name);
    throw toDockerMachineError(error, name);
  }
}

/** As `machineNamed`, for what changes it. */
export async function requireModifiableMachine(
  name: string,
  world: DockerMachineInvocation['world'],
): Promise<Machine> {
  const machine = await readMachine(name, world);
  if (isManagedBySlipway(machine)) throw managedBySlipwayError(name);
  if (findDriverName(machine.spec.driver) === undefined) throw driverNotFoundError(machine.spec.driver);
  return machine;
}

/** What `slipway` keeps elsewhere is seen here, and is changed there. */
export function managedBySlipwayError(name: string): DockerMachineError {
  return new DockerMachineError(
    `"${name}" is a machine of slipway, which alone changes it. Use "slipway" with the same command and name.`,
  );
}

/** A machine whose making came to its end. */
export async function requireReadyMachine(
  name: string,
  world: DockerMachineInvocation['world'],
): Promise<ReadyMachine> {
  const machine = await readMachine(name, world);
  if (machine.phase === 'ready') return machine;
  throw new DockerMachineError(
    `Docker machine "${name}" is not finished. Use "docker-machine create" with the same name and flags to go on, or "docker-machine rm ${name}" to undo it.`,
  );
}

/** A driver by either of its names. */
export function findDriverName(name: string): string | undefined {
  return Object.entries(driverAliases).find(([own, also]) => own === name || also.includes(name))?.[0];
}

/** Only what drivers make can be started and stopped by them. */
export async function requireDriverSupport(verb: 'start' | 'stop' | 'kill', { spec }: Machine): Promise<void> {
  const name = findDriverName(spec.driver);
  if (name === undefined) throw driverNotFoundError(spec.driver);
  const { loadDriver } = await import('../drivers/registry.ts');
  if (!(await loadDriver(name)).power)
    throw new DockerMachineError(`${dockerMachineDriverName(name)} driver does not support ${verb}`);
}

export function driverNotFoundError(name: string): DockerMachineError {
  return new DockerMachineError(
    `Driver "${dockerMachineDriverName(name)}" not found. Do you have the plugin binary accessible in your PATH?`,
  );
}

/** As seen from here: the engine where it answers, else the driver, else the port of its SSH server. */
export async function getMachineState(
  machine: Machine,
  world: DockerMachineInvocation['world'],
  seconds = STATE_TIMEOUT_SECONDS,
): Promise<{ state: DockerMachineState; look: MachineStatus }> {
  const look = await getStatus(machine, world, seconds);
  return { state: toDockerMachineState(machine, look), look: { ...look, trouble: rewriteCommandNames(look.trouble) } };
}

export function toDockerMachineState({ spec }: Machine, { state }: MachineStatus): DockerMachineState {
  // Nobody but its owner knows whether an engine that was given by its URL is to be running.
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

/** The same within this time, whatever hangs. */
export async function getMachineStateWithin(
  machine: Machine,
  world: DockerMachineInvocation['world'],
  seconds: number,
): Promise<{ state: DockerMachineState; look: MachineStatus } | undefined> {
  const late = new AbortController();
  try {
    return await Promise.race([
      getMachineState(machine, world, seconds),
      sleep(seconds * 1000, undefined, { signal: late.signal, ref: false }),
    ]);
  } finally {
    late.abort();
  }
}

export const NOT_RUNNING_MESSAGE = 'Host is not running';

/** Refuses a machine that does not run, as what needs its address or its engine does. */
export async function requireRunning(
  machine: Machine,
  world: DockerMachineInvocation['world'],
): Promise<MachineStatus> {
  const { state, look } = await getMachineState(machine, world);
  if (state === 'Running') return look;
  if (state === 'Error') throw new DockerMachineError(look.trouble);
  throw new DockerMachineError(NOT_RUNNING_MESSAGE);
}

/** The live check that `env` and `config` make before they print a word. */
export async function requireEngineAnswer(
  machine: ReadyMachine,
  world: DockerMachineInvocation['world'],
  before: string,
): Promise<void> {
  const look = await requireRunning(machine, world).catch((error: unknown) => {
    throw error instanceof DockerMachineError
      ? new DockerMachineError(`${before}${error.message}`, { cause: error })
      : error;
  });
  if (look.engine !== undefined) return;
  const where = machine.endpoint.url.replace(/^tcp:\/\//, '');
  throw new DockerMachineError(
    [
      `${before}Error checking and/or regenerating the certs: There was an error validating certificates for host "${where}": ${look.trouble}`,
      "You can attempt to regenerate them using 'docker-machine regenerate-certs [name]'.",
      'Containers go on running while it does.',
    ].join('\n'),
  );
}

/** The work on one of several machines, whose row then says how it ended. */
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

/** The same for each of these machines at once; all of them are known before anything is done, and all that fails is told. */
export async function runForEachMachine(
  names: readonly string[],
  call: DockerMachineInvocation,
  work: (name: string) => Promise<void>,
): Promise<void> {
  for (const name of names) await requireModifiableMachine(name, call.world);
  const done = await Promise.allSettled(names.map(async (name) => runAndReportEnd(name, call, work)));
  call.closeProgress();
  const failed = done.flatMap((one, at) =>
    one.status === 'rejected' ? [toDockerMachineError(one.reason as unknown, names[at])] : [],
  );
  const bug = failed.find((error) => !(error instanceof DockerMachineError));
  if (bug !== undefined) throw bug;
  const failures = failed as readonly DockerMachineError[];
  const [first] = failures;
  if (first === undefined) return;
  throw new DockerMachineError(failures.map(({ message }) => message).join('\n'), {
    status: first.status,
    cause: first,
  });
}
