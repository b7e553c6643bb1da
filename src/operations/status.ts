import { readFile } from 'node:fs/promises';
import type { InstanceStatus } from '../drivers/contract.ts';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { loadClientCertificates } from './credentials.ts';
import { hasEnded, formatTime, deadlineWarning } from './deadline.ts';
import type { World } from './world.ts';
import { readFileIfExists } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ClientCertificates, Machine, ReadyMachine } from '../machine/model.ts';
import { daysUntilFirstExpiry, RENEW_DAYS } from '../provision/certificates.ts';
import { fetchEngineInfo, fetchEngineVersion, unreachableReason, type EngineInfo } from '../provision/engine-api.ts';
import type { HostStatus, Vitals } from '../provision/host-metrics.ts';
import type { Store } from '../machine/store.ts';

export type MachineStatus = {
  /**
   * unfinished: its creation was interrupted. stopped, suspended, paused, missing: its state at the driver. ended: its
   * deadline has passed, and it no longer exists or answers. starting: it is running, but nothing in it answers yet. no
   * engine: SSH answers, the engine does not. unreachable: nothing answers.
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
  /** Days until the first of its certificates expires. */
  readonly days: number | undefined;
  /** A sentence about what is wrong; '' if nothing is. */
  readonly trouble: string;
};

/** The effects that a status query needs. */
type StatusWorld = Pick<World, 'computer' | 'store' | 'signal' | 'debug' | 'now'>;

/**
 * Returns a machine's present state. Queries the engine for `seconds`, and a silent machine's host for two seconds
 * more.
 */
export async function getStatus(machine: Machine, world: StatusWorld, seconds: number): Promise<MachineStatus> {
  const { store, signal } = world;
  const failure =
    machine.failure === undefined ? '' : `interrupted at "${machine.failure.step}": ${machine.failure.message}`;
  if (machine.phase !== 'ready')
    return {
      state: 'unfinished',
      engine: undefined,
      days: undefined,
      trouble: failure || 'its creation was interrupted',
    };
  let days: number | undefined;
  let tls: ClientCertificates | undefined;
  try {
    days = await readDaysUntilExpiry(machine, store, world.now());
    tls = await loadClientCertificates(machine, store);
  } catch (error) {
    // The files are missing or damaged: `provision` creates new ones.
    const cause = error instanceof SlipwayError ? error.cause : error;
    const why = `its certificates can't be read (${systemCode(cause) ?? 'invalid PEM'}); to fix them: slipway provision ${machine.spec.name}`;
    return { state: 'unreachable', engine: undefined, days, trouble: [why, failure].filter(Boolean).join('; ') };
  }
  const trouble = (problem: string): string => [problem, expiryWarning(days), failure].filter(Boolean).join('; ');
  const probe = scheduleFallbackProbe(machine, world, seconds);
  try {
    const { Version } = await fetchEngineVersion(machine.endpoint, tls, { signal, seconds });
    return { state: 'running', engine: Version, days, trouble: trouble(deadlineWarning(machine, world.now())) };
  } catch (error) {
    if (signal.aborted) throw error;
    const { state, why } = await diagnoseSilentEngine(machine, error, world, probe);
    return { state, engine: undefined, days, trouble: trouble(why) };
  } finally {
    probe.cancel();
  }
}

/** Returns a warning about certificates that have expired or expire soon; '' if none is needed. */
function expiryWarning(days: number | undefined): string {
  if (days === undefined || days > RENEW_DAYS) return '';
  return days < 0 ? 'its certificates have expired' : `its certificates expire in ${days} days`;
}

/** The extra time for the driver and the host after the engine's time is over. */
const EXTRA_SECONDS = 1;
const SSH_PROBE_SECONDS = 2;

/** The answers of the driver and SSH about a machine whose engine is silent. */
type ProbeResult = {
  readonly instance: InstanceStatus | undefined;
  readonly reason: string;
  readonly sshAnswered: boolean;
};

type FallbackProbe = { readonly getResult: () => Promise<ProbeResult>; readonly cancel: () => void };

/**
 * Queries the driver and SSH after the engine has failed, or has been silent for half of its time, so that their
 * answers are known when its time is over. Not at the same time as the engine, since sshd penalizes clients that
 * connect and send nothing.
 */
function scheduleFallbackProbe(machine: ReadyMachine, world: StatusWorld, seconds: number): FallbackProbe {
  const end = performance.now() + (seconds + EXTRA_SECONDS) * 1000;
  let result: Promise<ProbeResult> | undefined;
  const getResult = (): Promise<ProbeResult> => {
    result ??= probeDriverAndSsh(machine, world, end);
    return result;
  };
  // If the engine answers after all, nothing waits for the probe.
  const timer = setTimeout(() => getResult().catch(() => {}), seconds * 500);
  return { getResult, cancel: () => clearTimeout(timer) };
}

async function probeDriverAndSsh(machine: ReadyMachine, world: StatusWorld, end: number): Promise<ProbeResult> {
  const timeLeft = (): number => Math.max(100, Math.round(end - performance.now()));
  const { instance, why: reason } = await inspectThroughDriver(machine, world, timeLeft());
  const { ssh } = machine.host;
  const isRunning = instance === undefined || instance.state === 'running' || instance.state === 'pending';
  return {
    instance,
    reason,
    sshAnswered:
      isRunning &&
      ssh !== undefined &&
      (await isSshAnswering(ssh.address, ssh.port, Math.min(SSH_PROBE_SECONDS * 1000, timeLeft()))),
  };
}

/** Explains a silent engine, first by its machine's state at the driver, then by whether its host answers. */
async function diagnoseSilentEngine(
  machine: ReadyMachine,
  error: unknown,
  world: StatusWorld,
  { getResult }: FallbackProbe,
): Promise<{ readonly state: MachineStatus['state']; readonly why: string }> {
  const { instance, reason, sshAnswered } = await getResult();
  const ended = hasEnded(machine, world.now()) ? `ended at its deadline ${formatTime(machine.deadline ?? '')}` : '';
  if (instance?.state === 'stopped') {
    const hint = `to continue: slipway extend ${machine.spec.name} 2h, then slipway start ${machine.spec.name}`;
    return { state: instance.suspended ? 'suspended' : 'stopped', why: ended && `${ended}; ${hint}` };
  }
  if (instance?.state === 'paused') return { state: 'paused', why: instance.reason };
  if (instance?.state === 'missing') {
    if (ended) return { state: 'ended', why: ended };
    const gone = instance.reason ?? 'it no longer exists at its driver';
    return { state: 'missing', why: `${gone}; to remove its record: slipway rm ${machine.spec.name}` };
  }
  const engine = `engine: ${unreachableReason(error)}`;
  if (sshAnswered) return { state: 'no engine', why: engine };
  if (instance) return { state: 'starting', why: 'it runs, but nothing in it answers yet' };
  return ended
    ? { state: 'ended', why: ended }
    : { state: 'unreachable', why: [engine, reason].filter(Boolean).join('; ') };
}

/** Returns the machine's state at its driver, or why the provider did not answer in time. */
async function inspectThroughDriver(
  machine: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
  milliseconds: number,
): Promise<{ readonly instance: InstanceStatus | undefined; readonly why: string }> {
  // Loaded only for a silent engine, since it loads the drivers.
  const { inspectMachine } = await import('./power.ts');
  const timeout = AbortSignal.timeout(milliseconds);
  try {
    const signal = AbortSignal.any([world.signal, timeout]);
    return { instance: await inspectMachine(machine, { ...world, signal }), why: '' };
  } catch (error) {
    if (world.signal.aborted || !(error instanceof SlipwayError)) throw error;
    const why = timeout.aborted
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
  // A store that only shows the machine has no copy of the host's certificate.
  const ofEngine = host.ssh ? await readFileIfExists(serverCert) : undefined;
  return daysUntilFirstExpiry([...ofClient, ...(ofEngine === undefined ? [] : [ofEngine])], now);
}

/**
 * Returns whether an SSH server sends its greeting. An open port is not enough: QEMU opens a VM's forwarded port
 * itself.
 */
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

/** What an engine and its host report about themselves; `errors` says why one of them does not. */
export type StatusDetails = {
  readonly engine: EngineInfo | undefined;
  readonly host: Vitals | undefined;
  /** What is wrong on the host, although its engine may answer. */
  readonly problems: readonly string[];
  readonly errors: readonly string[];
};

/** Queries engine and host at the same time, the host by one remote command; each has `seconds`. */
export async function getStatusDetails(machine: Machine, world: World, seconds: number): Promise<StatusDetails> {
  const [engine, host] = await Promise.all([
    getEngineInfo(machine, world, seconds),
    getHostVitals(machine, world, seconds),
  ]);
  return {
    engine: typeof engine === 'string' ? undefined : engine,
    host: typeof host === 'string' ? undefined : host.vitals,
    problems:
      typeof host === 'string' || host.problems.length === 0
        ? []
        : [...host.problems, `to fix it: slipway provision ${machine.spec.name}`],
    errors: [engine, host].filter((answer) => typeof answer === 'string'),
  };
}

async function getEngineInfo(machine: Machine, world: World, seconds: number): Promise<EngineInfo | string> {
  if (machine.phase !== 'ready') return 'engine: not installed yet';
  const { store, signal } = world;
  try {
    return await fetchEngineInfo(machine.endpoint, await loadClientCertificates(machine, store), { signal, seconds });
  } catch (error) {
    if (signal.aborted) throw error;
    return `engine: ${unreachableReason(error)}`;
  }
}

async function getHostVitals({ host, spec }: Machine, world: World, seconds: number): Promise<HostStatus | string> {
  if (!host) return 'host: not created yet';
  if (!host.ssh) return `host: the driver ${spec.driver} has no SSH access`;
  const [{ openSession }, { gatherVitals }, { readVitalsScript }] = await Promise.all([
    import('./host-session.ts'),
    import('../provision/host-metrics.ts'),
    import('../provision/facts-script.ts'),
  ]);
  const timeout = AbortSignal.timeout(seconds * 1000);
  const signal = AbortSignal.any([world.signal, timeout]);
  try {
    const { session } = await openSession(host.ssh, { ...world, signal });
    await using _session = session;
    return await gatherVitals(session, await readVitalsScript(world.readTemplate), host.address);
  } catch (error) {
    if (world.signal.aborted || !(error instanceof SlipwayError)) throw error;
    return `host: ${timeout.aborted ? `no answer within ${seconds} s` : error.message}`;
  }
}
