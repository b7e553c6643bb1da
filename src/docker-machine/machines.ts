/** The machines that a command line means, and how the old tool calls what they are. */
import { setTimeout as sleep } from 'node:timers/promises';
import { driverNames } from '../drivers/names.ts';
import { SlipwayError } from '../errors.ts';
import { lookAt, type Look } from '../operations/status.ts';
import type { Machine, Ready } from '../machine/model.ts';
import { oldNames } from '../profiles/docker-machine.ts';
import type { Call } from './command.ts';
import { Failure, failureOf, inOldWords, notThere } from './failure.ts';
import { isSlipways } from './view.ts';

export type State = '' | 'Running' | 'Paused' | 'Saved' | 'Stopped' | 'Stopping' | 'Starting' | 'Error' | 'Timeout';

const DEFAULT = 'default';
const STATE_SECONDS = 15;

/** The names that a command takes: those given, or else the machine named `default`, where there is one. */
export async function namesIn({ words, world: { store } }: Pick<Call, 'words' | 'world'>): Promise<readonly string[]> {
  if (words.length > 0) return words;
  if ((await store.names()).includes(DEFAULT)) return [DEFAULT];
  throw new Failure('Error: No machine name(s) specified and no "default" machine exists');
}

/** The one name that a command takes. */
export async function nameIn(call: Pick<Call, 'words' | 'world'>): Promise<string> {
  const [name = '', ...more] = await namesIn(call);
  if (more.length > 0) throw new Failure('Error: Expected one machine name as an argument');
  return name;
}

export async function machineNamed(name: string, { store }: Call['world']): Promise<Machine> {
  try {
    return await store.read(name);
  } catch (error) {
    // A name that no machine can have is one that no machine has.
    if (error instanceof SlipwayError && error.code === 'USAGE') throw notThere(name);
    throw failureOf(error, name);
  }
}

/** As `machineNamed`, for what changes it. */
export async function ownNamed(name: string, world: Call['world']): Promise<Machine> {
  const machine = await machineNamed(name, world);
  if (isSlipways(machine)) throw notOurs(name);
  if (knownDriver(machine.spec.driver) === undefined) throw withoutDriver(machine.spec.driver);
  return machine;
}

/** What `slipway` keeps elsewhere is seen here, and is changed there. */
export function notOurs(name: string): Failure {
  return new Failure(
    `"${name}" is a machine of slipway, which alone changes it. Use "slipway" with the same command and name.`,
  );
}

/** A machine whose making came to its end. */
export async function readyNamed(name: string, world: Call['world']): Promise<Ready> {
  const machine = await machineNamed(name, world);
  if (machine.phase === 'ready') return machine;
  throw new Failure(
    `Docker machine "${name}" is not finished. Use "docker-machine create" with the same name and flags to go on, or "docker-machine rm ${name}" to undo it.`,
  );
}

/** What the old tool calls a driver of ours. */
export function oldDriver(name: string): string {
  return oldNames[name] ?? name.replace(/^docker-machine-driver-/, '');
}

/** A driver by either of its names. */
export function knownDriver(name: string): string | undefined {
  return Object.entries<readonly string[]>(driverNames).find(([own, also]) => own === name || also.includes(name))?.[0];
}

/** Only what drivers make can be started and stopped by them. */
export async function mustDo(verb: 'start' | 'stop' | 'kill', { spec }: Machine): Promise<void> {
  const name = knownDriver(spec.driver);
  if (name === undefined) throw withoutDriver(spec.driver);
  const { driverNamed } = await import('../drivers/registry.ts');
  if (!driverNamed(name)[verb]) throw new Failure(`${oldDriver(name)} driver does not support ${verb}`);
}

export function withoutDriver(name: string): Failure {
  return new Failure(`Driver "${oldDriver(name)}" not found. Do you have the plugin binary accessible in your PATH?`);
}

/** As seen from here: the engine where it answers, else the driver, else the port of its SSH server. */
export async function stateOf(
  machine: Machine,
  world: Call['world'],
  seconds = STATE_SECONDS,
): Promise<{ state: State; look: Look }> {
  const look = await lookAt(machine, world, seconds);
  return { state: oldState(machine, look), look: { ...look, trouble: inOldWords(look.trouble) } };
}

export function oldState({ spec }: Machine, { state }: Look): State {
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
export async function stateWithin(
  machine: Machine,
  world: Call['world'],
  seconds: number,
): Promise<{ state: State; look: Look } | undefined> {
  const late = new AbortController();
  try {
    return await Promise.race([
      stateOf(machine, world, seconds),
      sleep(seconds * 1000, undefined, { signal: late.signal, ref: false }),
    ]);
  } finally {
    late.abort();
  }
}

export const NOT_RUNNING = 'Host is not running';

/** Refuses a machine that does not run, as what needs its address or its engine does. */
export async function mustRun(machine: Machine, world: Call['world']): Promise<Look> {
  const { state, look } = await stateOf(machine, world);
  if (state === 'Running') return look;
  if (state === 'Error') throw new Failure(look.trouble);
  throw new Failure(NOT_RUNNING);
}

/** The live check that `env` and `config` make before they print a word. */
export async function mustAnswer(machine: Ready, world: Call['world'], before: string): Promise<void> {
  const look = await mustRun(machine, world).catch((error: unknown) => {
    throw error instanceof Failure ? new Failure(`${before}${error.message}`, { cause: error }) : error;
  });
  if (look.engine !== undefined) return;
  const where = machine.endpoint.url.replace(/^tcp:\/\//, '');
  throw new Failure(
    [
      `${before}Error checking and/or regenerating the certs: There was an error validating certificates for host "${where}": ${look.trouble}`,
      "You can attempt to regenerate them using 'docker-machine regenerate-certs [name]'.",
      'Containers go on running while it does.',
    ].join('\n'),
  );
}

/** The work on one of several machines, whose row then says how it ended. */
export async function ending(name: string, { ended }: Call, work: (name: string) => Promise<void>): Promise<void> {
  try {
    await work(name);
    ended(name);
  } catch (error) {
    ended(name, error);
    throw error;
  }
}

/** The same for each of these machines at once; all of them are known before anything is done, and all that fails is told. */
export async function each(names: readonly string[], call: Call, work: (name: string) => Promise<void>): Promise<void> {
  for (const name of names) await ownNamed(name, call.world);
  const done = await Promise.allSettled(names.map(async (name) => ending(name, call, work)));
  call.done();
  const failed = done.flatMap((one, at) =>
    one.status === 'rejected' ? [failureOf(one.reason as unknown, names[at])] : [],
  );
  const bug = failed.find((error) => !(error instanceof Failure));
  if (bug !== undefined) throw bug;
  const failures = failed as readonly Failure[];
  const [first] = failures;
  if (first === undefined) return;
  throw new Failure(failures.map(({ message }) => message).join('\n'), { status: first.status, cause: first });
}
