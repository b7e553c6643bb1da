import { readFile } from 'node:fs/promises';
import type { InstanceStatus } from '../drivers/contract.ts';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { loadClientCertificates } from './credentials.ts';
import { hasEnded, formatTime, deadlineWarning } from './deadline.ts';
import type { World } from './world.ts';
import { readFileIfExists } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { Machine, ReadyMachine } from '../machine/model.ts';
import { daysUntilFirstExpiry, RENEW_DAYS } from '../provision/certificates.ts';
import { fetchEngineInfo, fetchEngineVersion, unreachableReason, type EngineInfo } from '../provision/engine-api.ts';
import type { Vitals } from '../provision/host-metrics.ts';
import type { Store } from '../machine/store.ts';

export type MachineStatus = {
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
export async function getStatus(
  machine: Machine,
  world: Pick<World, 'computer' | 'store' | 'signal' | 'debug' | 'now'>,
  seconds: number,
): Promise<MachineStatus> {
  const { store, signal } = world;
  const failed =
    machine.failure === undefined ? '' : `stopped at "${machine.failure.step}": ${machine.failure.message}`;
  if (machine.phase !== 'ready')
    return { state: 'unfinished', engine: undefined, days: undefined, trouble: failed || 'its making was stopped' };
  let days: number | undefined;
  try {
    days = await readDaysUntilExpiry(machine, store, world.now());
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
  const patience = scheduleFallbackProbe(machine, world, seconds);
  try {
    const { Version } = await fetchEngineVersion(machine.endpoint, await loadClientCertificates(machine, store), {
      signal,
      seconds,
    });
    return { state: 'running', engine: Version, days, trouble: trouble(deadlineWarning(machine, world.now())) };
  } catch (error) {
    if (signal.aborted) throw error;
    const { state, why } = await diagnoseSilentEngine(machine, error, world, patience);
    return { state, engine: undefined, days, trouble: trouble(why) };
  } finally {
    patience.cancel();
  }
}

/** What is left for the driver and the host once an engine was silent for all of its time. */
const EXTRA_SECONDS = 1;
const SSH_PROBE_SECONDS = 2;

/** What others than the engine say of it. */
type ProbeResult = {
  readonly instance: InstanceStatus | undefined;
  readonly reason: string;
  readonly sshAnswered: boolean;
};

type FallbackProbe = { readonly getResult: () => Promise<ProbeResult>; readonly cancel: () => void };

/**
 * Others are asked once the engine has failed, or has been silent for half of its time, so that what they say is there at its end.
 * Not right beside it: sshd holds it against a caller to connect and say nothing.
 */
function scheduleFallbackProbe(
  machine: ReadyMachine,
  world: Parameters<typeof getStatus>[1],
  seconds: number,
): FallbackProbe {
  const last = performance.now() + (seconds + EXTRA_SECONDS) * 1000;
  let asked: Promise<ProbeResult> | undefined;
  const getResult = (): Promise<ProbeResult> => {
    asked ??= probeDriverAndSsh(machine, world, last);
    return asked;
  };
  // Nobody waits for it where the engine answers after all.
  const timer = setTimeout(() => getResult().catch(() => {}), seconds * 500);
  return { getResult, cancel: () => clearTimeout(timer) };
}

async function probeDriverAndSsh(
  machine: ReadyMachine,
  world: Parameters<typeof getStatus>[1],
  last: number,
): Promise<ProbeResult> {
  const left = (): number => Math.max(100, Math.round(last - performance.now()));
  const { instance, why: reason } = await inspectThroughDriver(machine, world, left());
  const { ssh } = machine.host;
  const runs = instance === undefined || instance.state === 'running' || instance.state === 'pending';
  return {
    instance,
    reason,
    sshAnswered:
      runs &&
      ssh !== undefined &&
      (await isSshAnswering(ssh.address, ssh.port, Math.min(SSH_PROBE_SECONDS * 1000, left()))),
  };
}

/** Why an engine does not answer: what its driver says of it, then what of its host does. */
async function diagnoseSilentEngine(
  machine: ReadyMachine,
  error: unknown,
  world: Parameters<typeof getStatus>[1],
  { getResult }: FallbackProbe,
): Promise<{ readonly state: MachineStatus['state']; readonly why: string }> {
  const { instance, reason, sshAnswered } = await getResult();
  const ended = hasEnded(machine, world.now()) ? `ended at its deadline ${formatTime(machine.deadline ?? '')}` : '';
  if (instance?.state === 'stopped') {
    const more = `go on with it: slipway extend ${machine.spec.name} 2h, then slipway start ${machine.spec.name}`;
    return { state: instance.suspended ? 'suspended' : 'stopped', why: ended && `${ended}; ${more}` };
  }
  if (instance?.state === 'paused') return { state: 'paused', why: instance.reason };
  if (instance?.state === 'missing')
    return ended ? { state: 'ended', why: ended } : { state: 'missing', why: 'what its driver made is gone' };
  const engine = `engine: ${unreachableReason(error)}`;
  if (sshAnswered) return { state: 'no engine', why: engine };
  if (instance) return { state: 'starting', why: 'it runs, and nothing in it answers yet' };
  return ended
    ? { state: 'ended', why: ended }
    : { state: 'unreachable', why: [engine, reason].filter(Boolean).join('; ') };
}

/** A provider that can't be asked, or answers late, is told beside what is known. */
async function inspectThroughDriver(
  machine: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
  milliseconds: number,
): Promise<{ readonly instance: InstanceStatus | undefined; readonly why: string }> {
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

async function readDaysUntilExpiry(
  { spec, endpoint, host }: ReadyMachine,
  store: Store,
  now: Date,
): Promise<number | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls, serverCert } = store.paths(spec.name);
  const files = [join(tls, 'ca.pem'), join(tls, 'cert.pem')];
  const ofClient = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  // A store that only shows the machine has no copy of what lies on the host.
  const ofEngine = host.ssh ? await readFileIfExists(serverCert) : undefined;
  return daysUntilFirstExpiry([...ofClient, ...(ofEngine === undefined ? [] : [ofEngine])], now);
}

/** Whether an SSH server says its first word. An open port is not enough: a VM's is opened by the program that runs it. */
function isSshAnswering(host: string, port: number, timeout: number): Promise<boolean> {
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
export type StatusDetails = {
  readonly engine: EngineInfo | undefined;
  readonly host: Vitals | undefined;
  readonly errors: readonly string[];
};

/** Both are asked at once, the host by one remote execution, and each has these seconds. */
export async function getStatusDetails(machine: Machine, world: World, seconds: number): Promise<StatusDetails> {
  const [engine, host] = await Promise.all([
    getEngineInfo(machine, world, seconds),
    getHostVitals(machine, world, seconds),
  ]);
  return {
    engine: typeof engine === 'string' ? undefined : engine,
    host: typeof host === 'string' ? undefined : host,
    errors: [engine, host].filter((answer) => typeof answer === 'string'),
  };
}

async function getEngineInfo(machine: Machine, world: World, seconds: number): Promise<EngineInfo | string> {
  if (machine.phase !== 'ready') return 'engine: there is none yet';
  const { store, signal } = world;
  try {
    return await fetchEngineInfo(machine.endpoint, await loadClientCertificates(machine, store), { signal, seconds });
  } catch (error) {
    if (signal.aborted) throw error;
    return `engine: ${unreachableReason(error)}`;
  }
}

async function getHostVitals({ host, spec }: Machine, world: World, seconds: number): Promise<Vitals | string> {
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
    return await gatherVitals(session, await world.readTemplate('vitals.sh'), host.address);
  } catch (error) {
    if (world.signal.aborted || !(error instanceof SlipwayError)) throw error;
    return `host: ${late.aborted ? `no answer within ${seconds} s` : error.message}`;
  }
}
