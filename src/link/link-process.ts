/**
 * The link of a machine is a process beside the running machine that makes its published ports reachable on this
 * computer, and serves its engine on a socket. It is a loop around one round: list what is wanted (the ports of the
 * containers), list what exists (the forwards of QEMU or of the SSH connection), and do the difference. The link
 * remembers nothing, so it can be killed and started again at any moment. Events of the engine, a lost connection and
 * the end of the computer's sleep only start the next round earlier.
 */
import { mkdir, stat } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { ignoreMissing } from '../computer/files.ts';
import { takeLock } from '../computer/lock.ts';
import { loadDriver } from '../drivers/registry.ts';
import { reasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { ReadyMachine } from '../machine/model.ts';
import { loadClientCertificates } from '../operations/credentials.ts';
import { inspectMachine } from '../operations/power.ts';
import type { World } from '../operations/world.ts';
import { fetchRunningContainers, unreachableReason } from '../provision/engine-api.ts';
import { followContainers, type EngineClient } from './container-events.ts';
import { dockerSocketPath, serveDockerSocket } from './docker-socket.ts';
import { openMachineForwarder, type MachineForwarder } from './forwarders.ts';
import { describePort, toPortDocument, writeLinkState, type LinkState } from './link-state.ts';
import { isLinkWanted } from './link-wanted.ts';
import { listPublishedPorts } from './published-ports.ts';
import { reconcileForwards } from './reconcile.ts';
import { createTrigger } from './trigger.ts';

/** Why a link ended, as the end of a sentence. */
export type LinkEnd = string;

export type LinkOptions = {
  /** Gets a line for each change, for the log or the terminal. */
  readonly report: (line: string) => void;
  /** Whether the user asked for this link, which then also runs for a machine that has none by itself. */
  readonly isAsked?: boolean;
  /** This program's own file. If it changes, Slipway was upgraded, and the next command starts a new link. */
  readonly program?: string;
};

const ROUND_SECONDS = 30;
const RETRY_SECONDS = 2;
const ANSWER_SECONDS = 10;
/** How often the link checks its clock, its record and its program. */
const WATCH_MILLISECONDS = 5000;
/** A clock that is this far ahead of the time that was waited has gone on while the computer was asleep. */
const SLEEP_MILLISECONDS = 10_000;

/** Runs the link of a machine until the machine stops, is removed, or the signal aborts. */
export async function runLink(name: string, world: World, options: LinkOptions): Promise<LinkEnd> {
  const machine = await findLinkedMachine(name, world, options);
  if (!machine) return `machine "${name}" has no link`;
  const { link: folder } = world.store.paths(name);
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if (systemCode(error) !== 'EEXIST') throw error;
  });
  await using lock = await takeLock(folder, `The link of machine "${name}"`);
  const stop = new AbortController();
  const signal = AbortSignal.any([world.signal, stop.signal]);
  const linkedWorld = { ...world, signal };
  const driver = await loadDriver(machine.spec.driver);
  if (!driver.openForwarder && !machine.host.ssh) throw noForwarderError(name);
  const findMachine = (): Promise<ReadyMachine> => requireLinkedMachine({ name, world, options });
  await using _socket = await serveSocket(name, findMachine, linkedWorld, options);
  await using forwarder = await openMachineForwarder(machine, findMachine, driver, linkedWorld);
  const link: Link = {
    id: machine.spec.id,
    name,
    folder,
    world: linkedWorld,
    forwarder,
    agent: new (machine.endpoint.tls ? HttpsAgent : HttpAgent)({ keepAlive: true }),
    builtAt: await readBuildTime(options),
    requireLock: () => lock.requireHeld(),
    options,
  };
  try {
    return await runRounds(link);
  } finally {
    stop.abort();
    link.agent.destroy();
    await closeUnwanted(link);
  }
}

/** Serves the machine's engine on its socket. A link whose socket can't be created says so, and forwards ports. */
async function serveSocket(
  name: string,
  findMachine: () => Promise<ReadyMachine>,
  { store, computer }: World,
  { report }: LinkOptions,
): Promise<AsyncDisposable | undefined> {
  const path = dockerSocketPath(store.paths(name).folder, computer.platform);
  const findEngine = async (): Promise<EngineClient> => clientFor(await findMachine(), { store });
  try {
    return await serveDockerSocket({ path, platform: computer.platform, name, findEngine });
  } catch (error) {
    report(`The socket ${path} could not be created: ${reasonOf(error)}`);
    return undefined;
  }
}

function noForwarderError(name: string): SlipwayError {
  return new SlipwayError('DRIVER_UNSUPPORTED', `Machine "${name}" has no SSH access, which its link needs`, {
    hint: 'Only the owner of the host can forward its ports',
  });
}

/**
 * Closes the ports of a machine that runs on without a link. Otherwise they stay open where QEMU forwards them, for the
 * next link.
 */
async function closeUnwanted({ id, name, world, forwarder }: Link): Promise<void> {
  const machine = await world.store.find(name).catch(() => undefined);
  if (machine?.spec.id !== id || isLinkWanted(machine)) return;
  // The machine may have stopped, and its forwards with it.
  await reconcileForwards([], forwarder).catch((error: unknown) => world.debug(`the ports: ${reasonOf(error)}`));
}

/** What a running link consists of. Nothing in it changes. */
type Link = {
  readonly id: string;
  readonly name: string;
  readonly folder: string;
  readonly world: World;
  readonly forwarder: MachineForwarder;
  readonly agent: HttpAgent;
  readonly builtAt: number | undefined;
  readonly requireLock: () => Promise<void>;
  readonly options: LinkOptions;
};

async function runRounds(link: Link): Promise<LinkEnd> {
  const { name, world, folder, options } = link;
  const { signal } = world;
  const trigger = createTrigger();
  const events = createEventFollower(link, trigger.fire);
  using _watch = watchComputer(link, {
    onWake: () => {
      events.reconnect();
      link.agent.destroy();
      link.forwarder.reset();
      trigger.fire();
    },
    onEnd: trigger.fire,
  });
  let last: LinkState | undefined;
  for (;;) {
    const end = await findEnd(link);
    if (end !== undefined) return end;
    const state = await runRound(link, last);
    if (signal.aborted) return 'it was asked to';
    if (state === undefined) return `machine "${name}" does not run`;
    for (const line of describeChanges(last, state)) options.report(line);
    try {
      if (JSON.stringify(last) !== JSON.stringify(state)) await writeLinkState(folder, state);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return `machine "${name}" was removed`;
      throw error;
    }
    last = state;
    await trigger.wait((state.problem === undefined ? ROUND_SECONDS : RETRY_SECONDS) * 1000, signal);
  }
}

/** Does one round after the `last` one. Returns undefined if the machine does not run. */
async function runRound(link: Link, last: LinkState | undefined): Promise<LinkState | undefined> {
  const { name, world, agent, forwarder } = link;
  const base = { version: 1, pid: process.pid } as const;
  try {
    const machine = await requireLinkedMachine(link);
    const { endpoint, tls } = await clientFor(machine, world);
    const call = { signal: world.signal, seconds: ANSWER_SECONDS, agent };
    const containers = await fetchRunningContainers(endpoint, tls, call);
    const wanted = listPublishedPorts(containers, machine.spec.sharing?.publishOn);
    return { ...base, ports: await reconcileForwards(wanted, forwarder) };
  } catch (error) {
    if (world.signal.aborted || !(await mayRun(name, world))) return undefined;
    // Forwards outlive a silent engine, and its containers often do too.
    return { ...base, ports: last?.ports ?? [], problem: unreachableReason(error) };
  }
}

/** Returns whether a machine whose engine does not answer may still run. What can't be asked may run. */
async function mayRun(name: string, world: World): Promise<boolean> {
  try {
    const machine = await world.store.find(name);
    if (machine === undefined) return false;
    const instance = await inspectMachine(machine, world);
    return instance === undefined || !['missing', 'stopped'].includes(instance.state);
  } catch (error) {
    world.debug(`the state of "${name}": ${reasonOf(error)}`);
    return true;
  }
}

/** Returns why the link has to end, or undefined while it is wanted. */
async function findEnd({ id, name, world, options, builtAt, requireLock }: Link): Promise<LinkEnd | undefined> {
  if (world.signal.aborted) return 'it was asked to';
  const machine = await findLinkedMachine(name, world, options);
  if (machine?.spec.id !== id) return `machine "${name}" was removed, or has no link any more`;
  if ((await readBuildTime(options)) !== builtAt) return 'Slipway was upgraded';
  return await requireLock().then(
    () => undefined,
    (error: unknown) => reasonOf(error),
  );
}

async function findLinkedMachine(
  name: string,
  { store }: World,
  { isAsked = false }: LinkOptions,
): Promise<ReadyMachine | undefined> {
  const machine = await store.find(name);
  return machine?.phase === 'ready' && (isAsked || isLinkWanted(machine)) ? machine : undefined;
}

async function requireLinkedMachine({
  name,
  world,
  options,
}: Pick<Link, 'name' | 'world' | 'options'>): Promise<ReadyMachine> {
  const machine = await findLinkedMachine(name, world, options);
  if (!machine) throw new Error(`machine "${name}" was removed`);
  return machine;
}

async function clientFor(machine: ReadyMachine, { store }: Pick<World, 'store'>): Promise<EngineClient> {
  return { endpoint: machine.endpoint, tls: await loadClientCertificates(machine, store) };
}

async function readBuildTime({ program = import.meta.filename }: LinkOptions): Promise<number | undefined> {
  return (await ignoreMissing(stat(program)))?.ctimeMs;
}

/** Follows the engine's events in the background. `reconnect` drops a connection that may be dead. */
function createEventFollower(link: Link, onChange: () => void): { readonly reconnect: () => void } {
  const { world } = link;
  let connection = new AbortController();
  const follow = (): void => {
    connection = new AbortController();
    const signal = AbortSignal.any([world.signal, connection.signal]);
    const getClient = async (): Promise<EngineClient> => clientFor(await requireLinkedMachine(link), world);
    void followContainers(getClient, onChange, signal);
  };
  follow();
  return {
    reconnect() {
      connection.abort();
      follow();
    },
  };
}

/** Watches for the end of the computer's sleep, and for the end of the link's purpose. */
function watchComputer(
  link: Link,
  { onWake, onEnd }: { readonly onWake: () => void; readonly onEnd: () => void },
): Disposable {
  let before = Date.now();
  const timer = setInterval(() => {
    const now = Date.now();
    if (now - before > WATCH_MILLISECONDS + SLEEP_MILLISECONDS) onWake();
    before = now;
    void findEnd(link).then(
      (end) => end !== undefined && onEnd(),
      () => undefined,
    );
  }, WATCH_MILLISECONDS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Returns a line for each port that was opened, closed or refused since the last round. */
function describeChanges(before: LinkState | undefined, after: LinkState): readonly string[] {
  const linesOf = (state: LinkState | undefined): readonly string[] =>
    (state?.ports ?? []).map(toPortDocument).map(describePort);
  const [old, current] = [linesOf(before), linesOf(after)];
  return [
    ...(after.problem !== undefined && after.problem !== before?.problem
      ? [`The engine does not answer: ${after.problem}`]
      : []),
    ...old.filter((line) => !current.includes(line)).map((line) => `- ${line}`),
    ...current.filter((line) => !old.includes(line)).map((line) => `+ ${line}`),
  ];
}
