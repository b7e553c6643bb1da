import { readFile } from 'node:fs/promises';
import type { Instance } from '../drivers/contract.ts';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { clientCertificates } from './credentials.ts';
import { hasEnded, shownTime, troubleOfLife } from './deadline.ts';
import type { World } from './world.ts';
import { readIfThere } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { Machine, Ready } from '../machine/model.ts';
import { daysLeft, RENEW_DAYS } from '../provision/certificates.ts';
import { askInfo, askVersion, inWords, type EngineInfo } from '../provision/engine-api.ts';
import type { Vitals } from '../provision/host-metrics.ts';
import type { Store } from '../machine/store.ts';

export type Look = {
  /**
   * unfinished: its making was stopped; stopped, suspended, paused, missing: what its driver says of it; ended: it is gone, or answers no
   * longer, since its deadline; starting: it runs, and nothing in it answers yet; no engine: the host answers SSH, the engine
   * does not; unreachable: nothing does.
   */
  readonly state:
    | 'running'
    | 'unfinished'
    | 'stopped'
    | 'suspended'
    | 'paused'
    | 'missing'
    | 'ended'
    | 'starting'
    | 'no engine'
    | 'unreachable';
  readonly engine: string | undefined;
  /** Until the first of its certificates expires. */
  readonly days: number | undefined;
  /** What is wrong, in words; '' when nothing is. */
  readonly trouble: string;
};

/** How a machine is right now, asked of the engine itself: within the given seconds, and two for a host that is silent. */
export async function lookAt(
  machine: Machine,
  world: Pick<World, 'computer' | 'store' | 'signal' | 'debug' | 'now'>,
  seconds: number,
): Promise<Look> {
  const { store, signal } = world;
  const failed =
    machine.failure === undefined ? '' : `stopped at "${machine.failure.step}": ${machine.failure.message}`;
  if (machine.phase !== 'ready')
    return { state: 'unfinished', engine: undefined, days: undefined, trouble: failed || 'its making was stopped' };
  let days: number | undefined;
  try {
    days = await daysUntilExpiry(machine, store, world.now());
  } catch (error) {
    // Gone, or no certificates any more: `provision` makes them anew.
    const why = `its certificates can't be read (${systemCode(error) ?? 'they are no PEM'}); mend them: slipway provision ${machine.spec.name}`;
    return { state: 'unreachable', engine: undefined, days, trouble: [why, failed].filter(Boolean).join('; ') };
  }
  const expiry =
    days === undefined || days > RENEW_DAYS
      ? ''
      : days < 0
        ? 'its certificates have expired'
        : `its certificates expire in ${days} days`;
  const trouble = (...first: readonly string[]): string => [...first, expiry, failed].filter(Boolean).join('; ');
  const patience = patienceOf(machine, world, seconds);
  try {
    const { Version } = await askVersion(machine.endpoint, await clientCertificates(machine, store), {
      signal,
      seconds,
    });
    return { state: 'running', engine: Version, days, trouble: trouble(troubleOfLife(machine, world.now())) };
  } catch (error) {
    if (signal.aborted) throw error;
    const { state, why } = await silence(machine, error, world, patience);
    return { state, engine: undefined, days, trouble: trouble(why) };
  } finally {
    patience.end();
  }
}

/** What is left for the driver and the host once an engine was silent for all of its time. */
const REST_SECONDS = 1;
const PORT_SECONDS = 2;

/** What others than the engine say of it. */
type Others = { readonly instance: Instance | undefined; readonly why: string; readonly greeted: boolean };

type Patience = { readonly others: () => Promise<Others>; readonly end: () => void };

/**
 * Others are asked once the engine has failed, or has been silent for half of its time, so that what they say is there at its end.
 * Not right beside it: sshd holds it against a caller to connect and say nothing.
 */
function patienceOf(machine: Ready, world: Parameters<typeof lookAt>[1], seconds: number): Patience {
  const last = performance.now() + (seconds + REST_SECONDS) * 1000;
  let asked: Promise<Others> | undefined;
  const others = (): Promise<Others> => {
    asked ??= askOthers(machine, world, last);
    return asked;
  };
  // Nobody waits for it where the engine answers after all.
  const timer = setTimeout(() => others().catch(() => {}), seconds * 500);
  return { others, end: () => clearTimeout(timer) };
}

async function askOthers(machine: Ready, world: Parameters<typeof lookAt>[1], last: number): Promise<Others> {
  const left = (): number => Math.max(100, Math.round(last - performance.now()));
  const { instance, why } = await asItsDriverSays(machine, world, left());
  const { ssh } = machine.host;
  const runs = instance === undefined || instance.state === 'running' || instance.state === 'pending';
  return {
    instance,
    why,
    greeted: runs && ssh !== undefined && (await greets(ssh.address, ssh.port, Math.min(PORT_SECONDS * 1000, left()))),
  };
}

/** Why an engine does not answer: what its driver says of it, then what of its host does. */
async function silence(
  machine: Ready,
  error: unknown,
  world: Parameters<typeof lookAt>[1],
  { others }: Patience,
): Promise<{ readonly state: Look['state']; readonly why: string }> {
  const { instance, why, greeted } = await others();
  const ended = hasEnded(machine, world.now()) ? `ended at its deadline ${shownTime(machine.deadline ?? '')}` : '';
  if (instance?.state === 'stopped') {
    const more = `go on with it: slipway extend ${machine.spec.name} 2h, then slipway start ${machine.spec.name}`;
    return { state: instance.suspended ? 'suspended' : 'stopped', why: ended && `${ended}; ${more}` };
  }
  if (instance?.state === 'paused') return { state: 'paused', why: instance.reason };
  if (instance?.state === 'missing')
    return ended ? { state: 'ended', why: ended } : { state: 'missing', why: 'what its driver made is gone' };
  const engine = `engine: ${inWords(error)}`;
  if (greeted) return { state: 'no engine', why: engine };
  if (instance) return { state: 'starting', why: 'it runs, and nothing in it answers yet' };
  return ended
    ? { state: 'ended', why: ended }
    : { state: 'unreachable', why: [engine, why].filter(Boolean).join('; ') };
}

/** A provider that can't be asked, or answers late, is told beside what is known. */
async function asItsDriverSays(
  machine: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
  milliseconds: number,
): Promise<{ readonly instance: Instance | undefined; readonly why: string }> {
  // What knows drivers is read for an engine that is silent alone.
  const { inspectMachine } = await import('./power.ts');
  const late = AbortSignal.timeout(milliseconds);
  try {
    const signal = AbortSignal.any([world.signal, late]);
    return { instance: await inspectMachine(machine, { ...world, signal }), why: '' };
  } catch (error) {
    if (world.signal.aborted || !(error instanceof SlipwayError)) throw error;
    const why = late.aborted
      ? `${machine.spec.driver} did not answer within ${Math.round(milliseconds / 1000)} s`
      : error.message;
    return { instance: undefined, why };
  }
}

async function daysUntilExpiry({ spec, endpoint, host }: Ready, store: Store, now: Date): Promise<number | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls, serverCert } = store.paths(spec.name);
  const files = [join(tls, 'ca.pem'), join(tls, 'cert.pem')];
  const ofClient = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  // A store that only shows the machine has no copy of what lies on the host.
  const ofEngine = host.ssh ? await readIfThere(serverCert) : undefined;
  return daysLeft([...ofClient, ...(ofEngine === undefined ? [] : [ofEngine])], now);
}

/** Whether an SSH server says its first word. An open port is not enough: a VM's is opened by the program that runs it. */
function greets(host: string, port: number, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host, port, timeout });
    const answer = (greeted: boolean) => (): void => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once('data', (bytes: Buffer) => answer(bytes.toString('latin1').startsWith('SSH-'))());
    socket.once('error', answer(false)).once('timeout', answer(false)).once('close', answer(false));
  });
}

/** What an engine and its host say of themselves, or in words why they don't. */
export type Figures = {
  readonly engine: EngineInfo | undefined;
  readonly host: Vitals | undefined;
  readonly unasked: readonly string[];
};

/** Both are asked at once, the host by one remote execution, and each has these seconds. */
export async function figuresOf(machine: Machine, world: World, seconds: number): Promise<Figures> {
  const [engine, host] = await Promise.all([
    engineFigures(machine, world, seconds),
    hostFigures(machine, world, seconds),
  ]);
  return {
    engine: typeof engine === 'string' ? undefined : engine,
    host: typeof host === 'string' ? undefined : host,
    unasked: [engine, host].filter((answer) => typeof answer === 'string'),
  };
}

async function engineFigures(machine: Machine, world: World, seconds: number): Promise<EngineInfo | string> {
  if (machine.phase !== 'ready') return 'engine: there is none yet';
  const { store, signal } = world;
  try {
    return await askInfo(machine.endpoint, await clientCertificates(machine, store), { signal, seconds });
  } catch (error) {
    if (signal.aborted) throw error;
    return `engine: ${inWords(error)}`;
  }
}

async function hostFigures({ host, spec }: Machine, world: World, seconds: number): Promise<Vitals | string> {
  if (!host) return 'host: there is none yet';
  if (!host.ssh) return `host: not asked, since the driver ${spec.driver} has no SSH`;
  const [{ openSession }, { gatherVitals }] = await Promise.all([
    import('./host-session.ts'),
    import('../provision/host-metrics.ts'),
  ]);
  const late = AbortSignal.timeout(seconds * 1000);
  const signal = AbortSignal.any([world.signal, late]);
  try {
    const { session } = await openSession(host.ssh, { ...world, signal });
    await using _session = session;
    return await gatherVitals(session, await world.template('vitals.sh'), host.address);
  } catch (error) {
    if (world.signal.aborted || !(error instanceof SlipwayError)) throw error;
    return `host: ${late.aborted ? `no answer within ${seconds} s` : error.message}`;
  }
}
