import { setTimeout as sleep } from 'node:timers/promises';
import { applyChanges, writeWhole } from './changes.ts';
import type { Computer } from './computer.ts';
export type { Instance } from './drivers/driver.ts';
import type { Boot, Call, Driver, Instance, MakingCall, Target } from './drivers/driver.ts';
import { driverNamed, drivers, targetOf } from './drivers/index.ts';
import { canceled, SlipwayError, type ErrorCode } from './errors.ts';
import { knownHostsLine, shownKey } from './host-key.ts';
import {
  clientCertificates,
  firstKeys,
  hostKeyReplaced,
  hostKeysOf,
  lastingHostKey,
  makeCertificates,
  pinOf,
  readCertificates,
  storeCertificates,
  writeClientPart,
} from './identity.ts';
import type { Asked, Created, Endpoint, Host, Machine, MachineSpec, Ready, SshHop, SshTarget } from './machine.ts';
import type { Log, Progress } from './progress.ts';
import { applyStep, type ReadTemplate } from './provision/apply.ts';
import { clientPart, serverPart, type Certificates } from './provision/certificates.ts';
import { settingsOf } from './provision/daemon-json.ts';
import { verifyEngine } from './provision/engine-api.ts';
import { gatherFacts, type Facts } from './provision/facts.ts';
import { filesForFirstStart, ownerOf, planDeprovision, planHostKey, planProvision } from './provision/plan.ts';
import { currentContext, switchContext } from './provision/profiles/current-context.ts';
import { contextName, contextOwner } from './provision/profiles/docker-context.ts';
import { profiles, profilesNamed } from './provision/profiles/index.ts';
import type { ClientPlaces } from './provision/profiles/profile.ts';
import type { Plan, Step } from './provision/step.ts';
import { planUpgrade, upgradedFrom, type Upgraded } from './provision/upgrade.ts';
import type { Connect, KeyPair, SshSession } from './ssh.ts';
import type { Store } from './store.ts';

/** Every effect the program has on the world, handed in. */
export type World = {
  readonly computer: Computer;
  readonly store: Store;
  readonly connect: Connect;
  readonly newKeyPair: (comment: string) => Promise<KeyPair>;
  readonly progress: Progress;
  readonly template: ReadTemplate;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly userHome: string;
  readonly sshAgent: string | undefined;
  readonly sudoPassword: string | undefined;
  readonly places: ClientPlaces;
  readonly debug: (line: string) => void;
};

const HOST_MINUTES = 5;
const ENGINE_SECONDS = 60;
/** Where machines of this computer's own are reached. */
const LOOPBACK = '127.0.0.1';

/**
 * Makes a machine, or finishes one whose making was stopped: the record is saved at every arrow, so each run goes on from
 * where the last one came to.
 */
export async function createMachine(wanted: MachineSpec, world: World): Promise<Ready> {
  const { store } = world;
  const driver = driverNamed(wanted.driver);
  const settled = await settle(driver, wanted, world);
  await using _lock = await store.lock(wanted.name);
  const { machine, spec, again } = await begin(settled, world);
  return await recordingFailure(machine, world, async (save) => {
    if (!driver.create) return provision(machine, driver, world, save);
    const target = targetOf(driver, spec, machine);
    const made = await world.progress.step('create', `Create ${spec.name} (${driver.name})`, async (log) =>
      driver.create?.(target, await bootOf(spec, driver, world), {
        ...callOf(world, log),
        asking: askingFor(machine, save, world),
      }),
    );
    if (again) await admit(driver, target, world);
    await waitForStart(machine, driver, target, world);
    return provision(machine, driver, world, save, made?.laid);
  });
}

/** Who made it from another network than the one of today would wait before a closed door. */
export async function admit(driver: Driver, target: Target<Record<string, unknown>>, world: World): Promise<void> {
  if (!driver.admit) return;
  await world.progress.step('admit', 'Let this computer’s address in', async (log) =>
    driver.admit?.(target, callOf(world, log)),
  );
}

/** All that is decided, refused and fetched before the name is taken: nothing is left of a create that could not begin. */
export async function settle(driver: Driver, wanted: MachineSpec, world: World): Promise<MachineSpec> {
  const { store, progress } = world;
  await checkSpec(driver, wanted, world);
  // Told now, and not after the minutes that an image may take.
  notReady(await store.find(wanted.name));
  const options = driver.settle
    ? await progress.step('settle', `Ask ${driver.name} for what was left open`, async (log) =>
        driver.settle?.(targetOf(driver, wanted), callOf(world, log)),
      )
    : undefined;
  const spec = options === undefined ? wanted : { ...wanted, options };
  if (driver.prepare)
    await progress.step('prepare', 'Prepare the image', async (log) =>
      driver.prepare?.(targetOf(driver, spec), callOf(world, log)),
    );
  return spec;
}

type Begun = { readonly machine: Machine; readonly spec: MachineSpec; readonly again: boolean };

/** The first arrow, under the machine's lock: saved before anything exists, so that `rm` always finds a half-made machine. */
export async function begin(wanted: MachineSpec, { store, places }: World): Promise<Begun> {
  const before = await store.find(wanted.name);
  notReady(before);
  const { id = wanted.id, batch = wanted.batch } = before?.spec ?? {};
  const spec = { ...wanted, id, ...(batch ? { batch } : {}) };
  try {
    await noConflicts(spec, places);
  } catch (error) {
    // The lock's folder: a name that was refused is as free as before.
    if (!before) await store.remove(spec.name);
    throw error;
  }
  const machine: Machine = before === undefined ? { version: 1, phase: 'creating', spec } : { ...before, spec };
  await store.write(machine);
  return { machine, spec, again: before !== undefined };
}

/** Writes into the record what a provider is about to be asked for, while there is no host to show for it. */
function askingFor(machine: Machine, save: Save, { now }: World): MakingCall['asking'] {
  return async (what) => {
    if (machine.phase === 'creating') await save({ ...machine, asked: { what, at: now().toISOString() } });
  };
}

/** Starts a machine that is stopped, and does not end before its engine answers; its address may be another by then. */
export async function startMachine(name: string, world: World): Promise<Ready> {
  return await changeRun(name, 'start', world, async (machine, driver, target) => {
    const ran = (await driver.inspect(target, callOf(world, world.debug))).state === 'running';
    await world.progress.step('start', `Start ${name}`, async (log) => driver.start?.(target, callOf(world, log)));
    await admit(driver, target, world);
    await waitForStart(machine, driver, target, world).catch((error: unknown) => {
      // What one that ran said when it started may be mended since: its engine decides.
      if (!ran || !(error instanceof SlipwayError) || error.code !== 'BOOT_FAILED') throw error;
      world.progress.note(error.message);
    });
    return await recordingFailure(machine, world, (save) => reach(machine, driver, world, save));
  });
}

export async function stopMachine(name: string, seconds: number, world: World): Promise<void> {
  await changeRun(name, 'stop', world, async (_machine, driver, target) =>
    world.progress.step('stop', `Stop ${name}`, async (log) => driver.stop?.(target, { seconds }, callOf(world, log))),
  );
}

export async function killMachine(name: string, world: World): Promise<void> {
  await changeRun(name, 'kill', world, async (_machine, driver, target) =>
    world.progress.step('kill', `Kill ${name}`, async (log) => driver.kill?.(target, callOf(world, log))),
  );
}

/** How its driver sees a machine; undefined where the driver made nothing and so knows nothing, or is not in this version. */
export async function inspectMachine(
  { spec }: Machine,
  world: Pick<World, 'computer' | 'debug' | 'signal'>,
): Promise<Instance | undefined> {
  const driver = drivers.find(({ name }) => name === spec.driver);
  const { computer, debug, signal } = world;
  if (!driver?.create) return undefined;
  return await driver.inspect(targetOf(driver, spec), { computer, log: debug, note: debug, signal });
}

/** Safe to run again at any time: it changes what differs and restarts nothing when nothing does. */
export async function provisionMachine(
  name: string,
  change: (spec: MachineSpec) => MachineSpec,
  world: World,
): Promise<Ready> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const before = await store.read(name);
  const machine: Machine = { ...before, spec: change(before.spec) };
  const driver = driverNamed(machine.spec.driver);
  await checkSpec(driver, machine.spec, world);
  samePort(before, machine.spec);
  sameOptions(before, machine.spec, driver);
  await noConflicts(machine.spec, world.places);
  const start = before.phase === 'ready' ? { ...before, wanted: machine.spec } : machine;
  return await recordingFailure(start, world, async (save) => {
    await admit(driver, targetOf(driver, machine.spec), world);
    return provision(machine, driver, world, save);
  });
}

/** What `provisionMachine` would do on the host, done to nothing: no record, no file, no remote change. */
export async function dryRun(spec: MachineSpec, before: Machine | undefined, world: World): Promise<Plan> {
  const driver = driverNamed(spec.driver);
  await checkSpec(driver, spec, world);
  if (driver.create && before?.phase !== 'ready') return [await firstStart(spec, driver, world)];
  const host = await hostOf(before ? { ...before, spec } : { version: 1, phase: 'creating', spec }, driver, world);
  if (!host.ssh) return [];
  const certificates = await makeCertificates(spec, host.address, world);
  const { session } = await openSession(host.ssh, world);
  await using _session = session;
  const facts = await lookAtHost(session, host.ssh, world);
  return await planFor(spec, host.address, facts, certificates, world);
}

/** The making of a machine that gets its configuration before its first start, as `--dry-run` shows it. */
async function firstStart(spec: MachineSpec, driver: Driver, world: World): Promise<Step> {
  const given = Object.entries(targetOf(driver, spec).options).filter(([, value]) => value !== undefined);
  return {
    id: 'create',
    title: `Create ${spec.name} (${driver.name}), with these files laid before its first start`,
    template: '',
    variables: Object.fromEntries(given.map(([key, value]) => [key.replaceAll(/[A-Z]/g, '_$&'), String(value)])),
    files: driver.bootIsReadable ? [] : await laidFirst(spec, await makeCertificates(spec, LOOPBACK, world), world),
  };
}

export type Upgrade = { readonly plan: Plan; readonly url: string; readonly done: Upgraded | undefined };

/** Brings the engine's own packages to the newest of where they come from, or to the version that `change` asks for. */
export async function upgradeMachine(
  name: string,
  { change, dry }: { readonly change: ((spec: MachineSpec) => MachineSpec) | undefined; readonly dry: boolean },
  world: World,
): Promise<Upgrade> {
  const { store } = world;
  upgradable(await store.read(name), change !== undefined);
  await using _lock = dry ? undefined : await store.lock(name);
  const { before, ssh } = upgradable(await store.read(name), change !== undefined);
  const spec = change ? change(before.spec) : before.spec;
  if (dry) {
    const { session, facts } = await lookForUpgrade(before, ssh, world);
    await using _session = session;
    return { plan: planUpgrade(spec.engine, facts, ssh.address), url: before.endpoint.url, done: undefined };
  }
  return await recordingFailure({ ...before, wanted: spec }, world, async (save) => {
    const upgrade = await upgradeHost({ ...before, spec }, ssh, world);
    await save({ version: 1, phase: 'ready', spec, host: before.host, endpoint: before.endpoint });
    return upgrade;
  });
}

export type Removal = { readonly name: string; readonly stays: string | undefined; readonly contextReset: boolean };

/** Takes away what this machine put anywhere; `deprovision` includes what provisioning wrote on the host. */
export async function removeMachine(
  name: string,
  how: { readonly deprovision: boolean; readonly force: boolean },
  world: World,
): Promise<Removal> {
  const { store, places, progress } = world;
  await findOrBroken(name, how.force, store);
  await using _lock = await store.lock(name);
  const found = await findOrBroken(name, how.force, store);
  if (found && how.deprovision) await withdraw(found, how.force, world);
  // A context of that name that is not this machine's stays, also as the current one.
  const owner = await contextOwner(contextName(name), places);
  // Of a broken record we know no id; that the context is Slipway's and of its name has to do.
  const ours = found ? owner === found.spec.id : owner !== undefined && owner !== '';
  const current = await currentContext(places).catch((error: unknown) => {
    if (how.force) return undefined;
    throw error;
  });
  const reset =
    current === contextName(name) &&
    found?.spec.profiles.includes('docker-context') === true &&
    (ours || owner === undefined);
  // With --force also a machine of a driver that this version lacks can be forgotten.
  const driver =
    found &&
    (how.force ? drivers.find(({ name: known }) => known === found.spec.driver) : driverNamed(found.spec.driver));
  await progress.step('remove', `Remove ${name}`, async (log) => {
    if (driver && found) await driver.remove?.(targetOf(driver, found.spec, found), callOf(world, log));
    if (!found) await removeStrays(name, callOf(world, log));
    if (reset) await applyChanges(await switchContext(undefined, places));
    if (ours) await applyChanges(profiles.flatMap((profile) => profile.drop(name, places)));
    await store.remove(name);
  });
  if (!found && drivers.some(({ owned }) => owned !== undefined))
    progress.note('Whether a cloud has something of it is told by: slipway gc');
  return { name, stays: how.deprovision ? undefined : driver?.stays, contextReset: reset };
}

/** Of a broken record we know no driver and no id; drivers whose things lie on this computer know them by the name. */
async function removeStrays(name: string, call: Call): Promise<void> {
  for (const driver of drivers) {
    for (const id of (await driver.named?.(name, call)) ?? [])
      await driver.remove?.({ id, name, options: driver.options.parse({}) }, call);
  }
}

// --- the path from a spec to a ready machine -------------------------------------------------------------------------

export type Save = (machine: Machine) => Promise<void>;

/** `born`: it has just started for the first time, with all that it needs. */
export async function provision(
  machine: Machine,
  driver: Driver,
  world: World,
  save: Save,
  born = false,
): Promise<Ready> {
  const { spec } = machine;
  const host = await hostOf(machine, driver, world);
  const created: Created = { version: 1, phase: 'created', spec, host };
  if (machine.phase !== 'ready') await save(created);
  const ready =
    (born && (await bornReady(created, world))) ||
    (host.ssh
      ? await provisionHost({ ...created, host }, machine, patienceWith(machine, driver), world, save)
      : await adoptEngine(created, world));
  return await finish(ready, world, save);
}

/** The end of every path: profiles, then the record, which says that all is done. */
async function finish(ready: Ready, { progress, store, places }: World, save: Save): Promise<Ready> {
  const { spec } = ready;
  await progress.step('profiles', 'Write the client profiles', async () => {
    const tls = await clientCertificates(ready, store);
    await applyChanges(profilesNamed(spec.profiles).flatMap((profile) => profile.add({ machine: ready, tls, places })));
  });
  // Last, so that a run killed before has not finished: `create` then does the rest.
  await save(ready);
  return ready;
}

async function provisionHost(
  created: Created & { readonly host: { readonly ssh: SshTarget } },
  before: Machine,
  patience: Patience,
  world: World,
  save: Save,
): Promise<Ready> {
  const { spec, host } = created;
  const { progress } = world;
  const paths = world.store.paths(spec.name);
  const pinned = async (target: SshTarget): Promise<void> => {
    await writeWhole(
      paths.knownHosts,
      knownHostsLine(target) + (target.jump ? knownHostsLine(target.jump) : ''),
      0o600,
    );
    if (before.phase !== 'ready') await save({ ...created, host: { ...host, ssh: target } });
  };
  const {
    session,
    ssh: met,
    certificates,
  } = await progress.step('connect', `Connect to ${host.ssh.user}@${host.address}`, async (log) => {
    // Certificates take as long to make as a connection to open, so both happen at once.
    const [opened, made] = await Promise.allSettled([
      patiently(() => openSession(host.ssh, world, pinned), patience, log, world).catch((error: unknown) => {
        throw ofOurMaking(error, created);
      }),
      makeCertificates(spec, host.address, world),
    ]);
    if (opened.status === 'rejected') throw opened.reason;
    try {
      if (made.status === 'rejected') throw made.reason;
      await storeCertificates(made.value, paths);
      return { ...opened.value, certificates: made.value };
    } catch (error) {
      await opened.value.session[Symbol.asyncDispose]();
      throw error;
    }
  });
  await using _session = session;
  const facts = await progress.step('facts', 'Look at the host', () => lookAtHost(session, met, world));
  const ssh = await lastingSsh(met, session, facts, spec, world);
  const owner = ownerOf(facts);
  if (owner && owner.id !== spec.id) {
    progress.note(
      `${host.address} was provisioned as the machine "${owner.name}" before; its clients lose their access`,
    );
  }
  for (const step of await planFor(spec, host.address, facts, certificates, world)) {
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepSide(facts, world), session, address: host.address, log }),
    );
  }
  const endpoint = endpointOf(created);
  await progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, clientPart(certificates), { signal: world.signal, seconds: ENGINE_SECONDS }),
  );
  return { version: 1, phase: 'ready', spec, host: { ...host, ssh }, endpoint };
}

/** A host that was born with a key which others may have read gets its lasting one, over the connection that the first has verified. */
async function lastingSsh(
  { birthKey, ...ssh }: SshTarget,
  session: SshSession,
  facts: Facts,
  spec: MachineSpec,
  world: World,
): Promise<SshTarget> {
  if (birthKey === undefined) return ssh;
  const paths = world.store.paths(spec.name);
  if (session.hostKey === birthKey) {
    const step = planHostKey(await lastingHostKey(paths));
    await world.progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepSide(facts, world), session, address: ssh.address, log }),
    );
  }
  await hostKeyReplaced(paths);
  return ssh;
}

function stepSide(
  { become }: Facts,
  { template, sudoPassword }: World,
): Pick<Parameters<typeof applyStep>[1], 'become' | 'template' | 'sudoPassword'> {
  return { become, template, sudoPassword };
}

/** What may pass by itself before a machine lets us in, and for how long that is waited for. */
type Patience = { readonly seconds: number; readonly passing: ReadonlySet<ErrorCode> };

const NONE: Patience = { seconds: 0, passing: new Set() };
/** A boot. */
const START: Patience = { seconds: 180, passing: new Set(['SSH_UNREACHABLE', 'SSH_LOST']) };
/** A first boot, in which also the keys are laid: until then its SSH server shows a key of its own, and is refused. */
const BIRTH: Patience = {
  seconds: 300,
  passing: new Set(['SSH_UNREACHABLE', 'SSH_LOST', 'SSH_REFUSED', 'HOST_KEY']),
};

function patienceWith({ phase }: Machine, { bootIsReadable }: Driver): Patience {
  return bootIsReadable === true && phase !== 'ready' ? BIRTH : NONE;
}

async function patiently<T>(
  work: () => Promise<T>,
  { seconds, passing }: Patience,
  log: Log,
  world: World,
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SlipwayError) || !passing.has(error.code) || performance.now() > end) throw error;
      log(`Not yet: ${error.message}`);
      await pause(1000, world.signal);
    }
  }
}

/** The same error with what to do about a machine whose keys and firewall are of our own making. */
function ofOurMaking(error: unknown, { spec: { name, driver } }: Machine): unknown {
  if (!(error instanceof SlipwayError) || !driverNamed(driver).create) return error;
  const hints: Partial<Record<ErrorCode, string>> = {
    SSH_UNREACHABLE: `See whether it runs: slipway status ${name}; running this again also lets this computer’s present address in`,
    SSH_REFUSED: `Its user data may not have run; what the machine says as it boots is in the console of ${driver}`,
    HOST_KEY: `Slipway gave it its host key, so its user data did not run, or somebody stands in between; undo it: slipway rm ${name}`,
  };
  const { code, message, detail, cause } = error;
  const hint = hints[code] ?? error.hint;
  return new SlipwayError(code, message, { ...(hint === undefined ? {} : { hint }), detail, cause });
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {
    throw canceled();
  });
}

function endpointOf({ spec, host }: Created): Endpoint {
  const port = host.ssh ? host.enginePort : undefined;
  return { url: `tcp://${bracketed(host.address)}:${port ?? spec.engine.port}`, tls: true };
}

/** A finished machine whose host can be reached; one that is pinned to a version is upgraded to no other unasked. */
function upgradable(machine: Machine, asked: boolean): { readonly before: Ready; readonly ssh: SshTarget } {
  const { name, engine } = machine.spec;
  if (machine.phase !== 'ready') {
    throw new SlipwayError('MACHINE_NOT_READY', `"${name}" is not finished: its making was stopped`, {
      hint: `Finish it: slipway create ${name}`,
    });
  }
  const { ssh } = machine.host;
  if (!ssh) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `"${name}" has no SSH: who runs its engine has to upgrade it`, {
      hint: `See which version it is: slipway status ${name}`,
    });
  }
  if (engine.version !== undefined && !asked) {
    throw new SlipwayError('USAGE', `"${name}" is pinned to engine version ${engine.version}`, {
      hint: `Name another one: slipway upgrade ${name} --engine-version VERSION, or none for the newest: slipway upgrade ${name} --engine-version=`,
    });
  }
  return { before: machine, ssh };
}

async function lookForUpgrade(
  { spec }: Ready,
  ssh: SshTarget,
  world: World,
): Promise<{ readonly session: SshSession; readonly facts: Facts }> {
  const { session } = await world.progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
    openSession(ssh, world),
  );
  try {
    const facts = await world.progress.step('facts', 'Look at the host', () => lookAtHost(session, ssh, world));
    const owner = ownerOf(facts);
    if (!owner || owner.id === spec.id) return { session, facts };
    throw new SlipwayError('MACHINE_NOT_READY', `${ssh.address} is the machine "${owner.name}" by now`, {
      hint: `Take it back first: slipway provision ${spec.name}`,
    });
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

async function upgradeHost(machine: Ready, ssh: SshTarget, world: World): Promise<Upgrade> {
  const { spec, endpoint } = machine;
  const { progress, signal } = world;
  const { session, facts } = await lookForUpgrade(machine, ssh, world);
  await using _session = session;
  const plan = planUpgrade(spec.engine, facts, ssh.address);
  for (const step of plan) {
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepSide(facts, world), session, address: ssh.address, log }),
    );
  }
  const [after] = await progress.step('verify', `Verify the engine at ${endpoint.url}`, async () =>
    Promise.all([
      lookAtHost(session, ssh, world),
      verifyEngine(endpoint, await clientCertificates(machine, world.store), { signal, seconds: ENGINE_SECONDS }),
    ]),
  );
  return { plan, url: endpoint.url, done: upgradedFrom(facts, after) };
}

/** An engine that somebody else runs: its certificates are copied to where clients look, and it must answer. */
async function adoptEngine({ spec, host }: Created, world: World): Promise<Ready> {
  if (!host.engine) throw new Error(`driver ${spec.driver} gave neither an SSH address nor an engine`);
  const { url, tls } = host.engine;
  const endpoint: Endpoint = { url, tls: tls !== undefined };
  const certificates = tls && (await readCertificates(tls));
  if (certificates) await writeClientPart(certificates, world.store.paths(spec.name));
  await world.progress.step('verify', `Verify the engine at ${url}`, () =>
    verifyEngine(endpoint, certificates, { signal: world.signal, seconds: 10 }),
  );
  if (!tls && url.startsWith('tcp:'))
    world.progress.note(`${url} is open to whoever reaches it: it asks for no client certificate`);
  return { version: 1, phase: 'ready', spec, host, endpoint };
}

async function planFor(
  spec: MachineSpec,
  address: string,
  facts: Facts,
  certificates: Certificates,
  world: World,
): Promise<Plan> {
  const dropInTemplate = await world.template('slipway.conf');
  return planProvision({
    id: spec.id,
    name: spec.name,
    address,
    engine: spec.engine,
    facts,
    tls: serverPart(certificates),
    dropInTemplate,
  });
}

async function lookAtHost(session: SshSession, ssh: SshTarget, world: World): Promise<Facts> {
  return gatherFacts(session, await world.template('facts.sh'), {
    user: ssh.user,
    address: ssh.address,
    sudoPassword: world.sudoPassword,
  });
}

// --- machines that get their identity before their first start --------------------------------------------------------

/** What the engine and the SSH server of a new machine start with: made here, kept here, the same at every try. */
export async function bootOf(
  spec: MachineSpec,
  { bootIsReadable: readable = false }: Driver,
  world: World,
): Promise<Boot> {
  const { login, host } = await firstKeys(spec.name, readable, world);
  return {
    authorizedKey: login.public,
    hostKey: { private: host.private, public: pinOf(host.public) },
    enginePort: spec.engine.port,
    files: readable ? [] : await filesOfFirstStart(spec, world),
  };
}

async function filesOfFirstStart(spec: MachineSpec, world: World): Promise<Boot['files']> {
  const certificates = await makeCertificates(spec, LOOPBACK, world);
  await storeCertificates(certificates, world.store.paths(spec.name));
  return await laidFirst(spec, certificates, world);
}

async function laidFirst(spec: MachineSpec, certificates: Certificates, { template }: World): Promise<Boot['files']> {
  return filesForFirstStart({
    id: spec.id,
    name: spec.name,
    address: LOOPBACK,
    engine: spec.engine,
    tls: serverPart(certificates),
    dropInTemplate: await template('slipway.conf'),
  });
}

async function waitForStart(
  { phase, spec: { name } }: Machine,
  driver: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!driver.booted) return;
  await world.progress
    .step('boot', `Wait for ${name} to start`, async (log) => driver.booted?.(target, callOf(world, log)))
    .catch((error: unknown) => {
      if (!(error instanceof SlipwayError) || error.code !== 'BOOT_FAILED') throw error;
      const { code, message, detail, cause } = error;
      // What is on the disk of one that was ready must not be lost by following a hint.
      const next =
        phase === 'ready'
          ? `Try again: slipway restart ${name}`
          : `Try again: slipway create ${name}, or undo it: slipway rm ${name}`;
      throw new SlipwayError(code, message, { hint: `${next}. ${error.hint ?? ''}`.trim(), detail, cause });
    });
}

/**
 * A machine whose engine started with its configuration and certificates needs no visit. Undefined when it has to be visited
 * all the same: its image came without an engine, or with another than was asked for.
 */
async function bornReady(created: Created, world: World): Promise<Ready | undefined> {
  const { source, version } = created.spec.engine;
  if (version !== undefined) return undefined;
  if (source === 'url')
    world.progress.note('The image brings its engine, so the install script of --engine-install-url was not run');
  const endpoint = endpointOf(created);
  const tls = await clientCertificates({ ...created, phase: 'ready', endpoint }, world.store);
  try {
    await world.progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
      verifyEngine(endpoint, tls, { signal: world.signal, seconds: 1 }),
    );
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'ENGINE_UNREACHABLE') return undefined;
    throw error;
  }
  return { ...created, phase: 'ready', endpoint };
}

/** After a start: the same engine, perhaps at another address. */
async function reach(machine: Ready, driver: Driver, world: World, save: Save): Promise<Ready> {
  const { spec } = machine;
  const host = await hostOf(machine, driver, world);
  const created: Created = { version: 1, phase: 'created', spec, host };
  // Its certificate names the address: a new one needs a visit.
  if (host.ssh && host.address !== machine.host.address)
    return await finish(await provisionHost({ ...created, host }, machine, START, world, save), world, save);
  const endpoint = endpointOf(created);
  const tls = await clientCertificates(machine, world.store);
  await world.progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, tls, { signal: world.signal, seconds: ENGINE_SECONDS }),
  );
  return await finish({ version: 1, phase: 'ready', spec, host, endpoint }, world, save);
}

/** What start, stop and kill share: the lock, the record, and whether the driver can. */
async function changeRun<T>(
  name: string,
  verb: 'start' | 'stop' | 'kill',
  { store }: World,
  work: (machine: Ready, driver: Driver, target: Target<Record<string, unknown>>) => Promise<T>,
): Promise<T> {
  await store.read(name);
  await using _lock = await store.lock(name);
  const machine = await store.read(name);
  const driver = driverNamed(machine.spec.driver);
  if (!driver[verb]) {
    throw new SlipwayError('DRIVER_UNSUPPORTED', `Slipway can't ${verb} "${name}": its driver is ${driver.name}`, {
      hint: `Use its provider's own tools; slipway status ${name} shows how it is`,
    });
  }
  if (machine.phase !== 'ready') {
    throw new SlipwayError('MACHINE_NOT_READY', `The making of "${name}" was stopped before its end`, {
      hint: `Finish it: slipway create ${name}, or undo it: slipway rm ${name}`,
    });
  }
  return await work(machine, driver, targetOf(driver, machine.spec));
}

/** Where a machine is, with the keys that are its own. */
async function hostOf(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const { spec } = machine;
  const host = await waitForHost(machine, driver, world);
  if (!driver.create || !host.ssh) return keepPins(host, machine);
  const keys = await hostKeysOf(world.store.paths(spec.name));
  const ssh = { ...host.ssh, keyFile: host.ssh.keyFile ?? keys.login };
  // Somebody else gave it its host key, and the driver knows which one.
  if (ssh.expectedKey !== undefined) return keepPins({ ...host, ssh }, machine);
  if (keys.pinned === undefined) {
    throw new SlipwayError(
      'HOST_KEY',
      `The host key that was made with "${spec.name}" is gone from ${keys.login}’s folder`,
      {
        hint: 'No other key is taken for it; put the folder back from a backup, or make the machine anew',
      },
    );
  }
  return { ...host, ssh: { ...ssh, hostKey: keys.pinned, ...(keys.birth ? { birthKey: keys.birth } : {}) } };
}

/** Polls the driver, so that no driver polls by itself: one timeout, one message, one place to cancel. */
async function waitForHost(machine: Machine, driver: Driver, world: World): Promise<Host> {
  const target = targetOf(driver, machine.spec);
  const { signal, debug } = world;
  const end = performance.now() + HOST_MINUTES * 60_000;
  for (;;) {
    const instance = await driver.inspect(target, callOf(world, debug));
    if (instance.state === 'running') return instance.host;
    if (instance.state === 'stopped' || instance.state === 'paused') throw notRunning(machine, instance);
    if (performance.now() > end) {
      throw new SlipwayError(
        'CREATE_TIMEOUT',
        `${target.name} is still ${instance.state} after ${HOST_MINUTES} minutes`,
        {
          hint: `Wait for it with: slipway create ${target.name}, or undo it with: slipway rm ${target.name}`,
        },
      );
    }
    await pause(1000, signal);
  }
}

function notRunning({ phase, spec: { name } }: Machine, instance: Instance): SlipwayError {
  const why = instance.state === 'paused' ? `is held up: ${instance.reason}` : 'is stopped';
  return new SlipwayError('MACHINE_NOT_READY', `"${name}" ${why}`, {
    hint: phase === 'ready' ? `Start it: slipway start ${name}` : `Finish it: slipway create ${name}`,
  });
}

// --- SSH: pins -------------------------------------------------------------------------------------------------------

/** A key seen before goes on being demanded, unless the user gave another one to expect. */
function keepPins(host: Host, before: Machine | undefined): Host {
  const old = before?.host?.ssh;
  if (!host.ssh || !old) return host;
  const { jump } = host.ssh;
  return { ...host, ssh: { ...pin(host.ssh, old), ...(jump && old.jump ? { jump: pin(jump, old.jump) } : {}) } };
}

function pin<H extends SshHop>(hop: H, old: SshHop): H {
  const sameHop = hop.address === old.address && hop.port === old.port && hop.expectedKey === old.expectedKey;
  return sameHop && old.hostKey !== undefined ? { ...hop, hostKey: old.hostKey } : hop;
}

/** Opens the one connection of a run. A key is pinned as soon as it was shown, also when the login then fails. */
async function openSession(
  target: SshTarget,
  world: World,
  save?: (pinned: SshTarget) => Promise<void>,
): Promise<{ readonly session: SshSession; readonly ssh: SshTarget }> {
  let ssh = target;
  let fresh = false;
  const side = { userHome: world.userHome, agent: world.sshAgent, signal: world.signal, debug: world.debug };
  try {
    const session = await world.connect(target, side, (hop, key, judgement) => {
      if (judgement.verdict === 'first-seen') {
        const pinned = save ? ' and from now on demanded' : '';
        world.progress.note(`Host key of ${hop.address}, first seen${pinned}: ${shownKey(key)}`);
      }
      if (key === hop.birthKey) return;
      fresh ||= hop.hostKey === undefined;
      ssh = hop === target.jump ? { ...ssh, jump: { ...hop, hostKey: key } } : { ...ssh, hostKey: key };
    });
    return { session, ssh };
  } finally {
    if (fresh) await save?.(ssh);
  }
}

// --- records ---------------------------------------------------------------------------------------------------------

const INTERRUPTIONS: ReadonlySet<ErrorCode> = new Set(['CANCELED', 'SSH_LOST', 'HOST_FULL', 'LOCAL_FILES']);

/** Runs the rest of a path whose failure the record shall tell, from the last state that was saved. */
export async function recordingFailure<T>(
  { wanted, ...start }: Machine & { readonly wanted?: MachineSpec },
  { store, progress, now }: World,
  work: (save: Save) => Promise<T>,
): Promise<T> {
  let last = start;
  const save: Save = async (machine) => {
    last = machine;
    await store.write(machine);
  };
  try {
    return await work(save);
  } catch (error) {
    if (error instanceof SlipwayError) {
      const failure = { at: now().toISOString(), step: progress.last(), code: error.code, message: error.message };
      // A ready machine is what its record says until the change has worked, or a refused option would come back with
      // each run. What merely stopped a change leaves it to be finished.
      const spec = wanted && INTERRUPTIONS.has(error.code) ? wanted : last.spec;
      await store.write({ ...last, spec, failure }).catch((second: unknown) => {
        // The disk that is too full for this note is what the first error is about.
        if (!(second instanceof SlipwayError)) throw second;
      });
      if (error.code === 'CANCELED') throw canceledAt(last, error);
    }
    throw error;
  }
}

/** Ctrl-C asks nothing and tells what exists, and how to go on or undo. */
function canceledAt(
  { phase, asked, spec: { name, driver } }: Machine & { readonly asked?: Asked },
  cause: SlipwayError,
): SlipwayError {
  return phase === 'ready'
    ? new SlipwayError('CANCELED', `Stopped before the end, as you asked: "${name}" may be half changed`, {
        hint: `Go on with: slipway provision ${name}`,
        cause,
      })
    : new SlipwayError(
        'CANCELED',
        `Stopped before the end, as you asked: "${name}" is half made${asked ? `; ${driver} was asked for its ${asked.what}` : ''}`,
        {
          hint: `Go on with: slipway create ${name}, or undo with: slipway rm ${name}`,
          cause,
        },
      );
}

/** As create would refuse it, before anything is done for it. */
export async function checkMachine(spec: MachineSpec, world: World): Promise<void> {
  await checkSpec(driverNamed(spec.driver), spec, world);
}

/** Refused before anything exists: what the driver can't do, and options that dockerd's configuration can't hold. */
async function checkSpec(driver: Driver, spec: MachineSpec, world: World): Promise<void> {
  settingsOf(spec.engine, '', []);
  await driver.check?.(targetOf(driver, spec), callOf(world, world.debug));
}

export function callOf({ computer, progress, signal }: World, log: Log): Call {
  return { computer, log, note: (text) => progress.note(text), signal };
}

/** A port that was forwarded when the machine was made leads to where its engine listened then. */
function samePort(before: Machine, { name, engine }: MachineSpec): void {
  if (before.host?.ssh === undefined || before.host.enginePort === undefined) return;
  if (before.spec.engine.port === engine.port) return;
  throw new SlipwayError('USAGE', `The engine of "${name}" stays at port ${before.spec.engine.port} inside of it`, {
    hint: 'Clients reach it at a port of this computer, whatever that one is; leave --engine-port out',
  });
}

/** What a provider made stays as it was made: a region that was changed here alone would lead to nothing, or to somebody else's. */
function sameOptions({ spec: { options } }: Machine, wanted: MachineSpec, driver: Driver): void {
  if (!driver.settle) return;
  const keys = [...new Set([...Object.keys(options), ...Object.keys(wanted.options)])];
  const changed = keys.filter((key) => JSON.stringify(options[key]) !== JSON.stringify(wanted.options[key]));
  if (changed.length === 0) return;
  throw new SlipwayError(
    'USAGE',
    `"${wanted.name}" was made with other options of ${driver.name} (${changed.join(', ')}), and they stay`,
    {
      hint: `Make another machine with them, or this one anew: slipway rm ${wanted.name}`,
    },
  );
}

async function noConflicts(spec: MachineSpec, places: ClientPlaces): Promise<void> {
  for (const profile of profilesNamed(spec.profiles)) {
    const conflict = await profile.conflict(spec.name, spec.id, places);
    if (conflict) throw conflict;
  }
}

function notReady(machine: Machine | undefined): void {
  if (machine?.phase !== 'ready') return;
  const { spec } = machine;
  throw new SlipwayError('MACHINE_EXISTS', `There is a machine named "${spec.name}" already (${spec.driver})`, {
    hint: `Bring it up to date with: slipway provision ${spec.name}, or remove it first: slipway rm ${spec.name}`,
  });
}

async function findOrBroken(name: string, force: boolean, store: Store): Promise<Machine | undefined> {
  try {
    return await store.read(name);
  } catch (error) {
    if (force && error instanceof SlipwayError && error.code === 'RECORD_BROKEN') return undefined;
    throw error;
  }
}

async function withdraw(machine: Machine, force: boolean, world: World): Promise<void> {
  const ssh = machine.host?.ssh;
  if (!ssh) return;
  try {
    const { session } = await world.progress.step('connect', `Connect to ${ssh.user}@${ssh.address}`, () =>
      openSession(ssh, world),
    );
    await using _session = session;
    const facts = await lookAtHost(session, ssh, world);
    const owner = ownerOf(facts);
    if (owner && owner.id !== machine.spec.id) {
      world.progress.note(`${ssh.address} is the machine "${owner.name}" by now, so what is written there stays`);
      return;
    }
    for (const step of planDeprovision(facts, ssh.address)) {
      await world.progress.step(step.id, step.title, (log: Log) =>
        applyStep(step, { ...stepSide(facts, world), session, address: ssh.address, log }),
      );
    }
  } catch (error) {
    if (!force || !(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    world.progress.note(`The host keeps what was written on it: ${error.message}`);
  }
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
