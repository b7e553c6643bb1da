import { applyFileChanges, writeFileAtomic } from '../computer/files.ts';
import type { OptionChange, Driver, DriverManifest, Target } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { userOptionsAfter, allKeysOf } from '../machine/user-options.ts';
import { knownHostsLine } from '../ssh/host-key.ts';
import {
  loadClientCertificates,
  loadOrRenewCertificates,
  readCertificateFiles,
  storeCertificates,
  writeClientCertificates,
} from './credentials.ts';
import type { CreatedMachine, Endpoint, Machine, MachineSpec, ReadyMachine, SshTarget } from '../machine/model.ts';
import { formatList, isSameValue } from '../machine/options.ts';
import { applyStep } from '../provision/run-step.ts';
import {
  type Certificates,
  clientCertificatesOf,
  type RenewalScope,
  serverCertificatesOf,
} from '../provision/certificates.ts';
import { daemonSettingsFor } from '../provision/daemon-json.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import type { Facts } from '../provision/facts.ts';
import { ownerOf, planProvision } from '../provision/plan.ts';
import { profilesNamed } from '../profiles/registry.ts';
import type { Plan } from '../provision/step.ts';
import { tagExisting } from './tag-existing.ts';
import { planCreateStep } from './first-boot.ts';
import {
  requireAutoStopSupported,
  describeClockSkew,
  resolveDeadline,
  lifetimeFieldsOf,
  loadHostLifetime,
  requireIdleStopSupported,
  announceAutoStop,
} from './lifetime.ts';
import {
  resolveHost,
  replaceBootstrapHostKey,
  gatherHostFacts,
  explainConnectionError,
  openSession,
  type SshRetryPolicy,
  retryPolicyFor,
  retrySsh,
  stepContextFor,
} from './host-session.ts';
import { requireNoConflicts, withFailureRecord, type Checkpoint } from './checkpoint.ts';
import { driverCallFor, type World } from './world.ts';

export const ENGINE_TIMEOUT_SECONDS = 60;
/** It has said that it is ready; a computer that is busy may take a moment to hear it. */
const FIRST_ANSWER_SECONDS = 5;

/** Who made it from another network than the one of today would wait before a closed door. */
export async function allowCallerIp(
  driver: Driver,
  target: Target<Record<string, unknown>>,
  world: World,
): Promise<void> {
  if (!driver.cloud) return;
  await world.progress.step('admit', "Let this computer's address in", async (log) =>
    driver.cloud?.allowCallerIp(target, driverCallFor(world, log)),
  );
}

/**
 * Safe to run again at any time: it changes what differs and restarts nothing when nothing does. `anew` counts the time that the
 * machine has from now on, also when it is the same as before; `renewal` makes certificates anew that would still serve.
 */
export async function provisionMachine(
  name: string,
  change: (spec: MachineSpec) => MachineSpec,
  world: World,
  { anew = false, renewal }: { readonly anew?: boolean; readonly renewal?: RenewalScope } = {},
): Promise<ReadyMachine> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const before = await tagExisting(await store.read(name), world);
  const spec = withUserOptions(before.spec, change(before.spec));
  const { deadline: _before, ...rest } = before;
  const machine: Machine = { ...rest, spec, ...resolveDeadline(before, spec, anew, world.now()) };
  const driver = await loadDriver(machine.spec.driver);
  await checkSpec(driver, machine.spec, world);
  requireSameEnginePort(before, machine.spec);
  requireChangeInPlace(before, machine.spec, driver);
  requireIdleStopSupported(machine.spec, machine.ending, driver);
  await requireNoConflicts(machine.spec, world.clientPaths);
  await checkOptionChange(before, machine.spec, driver, world);
  const waiting = await deferToNextStart(before, machine.spec, driver, world);
  if (waiting) return waiting;
  if (machine.deadline !== before.deadline || !isSameValue(machine.spec.life ?? {}, before.spec.life ?? {}))
    announceAutoStop(machine, driver, world);
  // Until its provider has heard of it, a change that is stopped has not begun.
  let carried = false;
  const { deadline } = machine;
  const wanted = (): Pick<Machine, 'spec' | 'deadline'> | undefined =>
    carried ? { spec: machine.spec, ...(deadline === undefined ? {} : { deadline }) } : undefined;
  const start = before.phase === 'ready' ? { ...before, wanted } : machine;
  return await withFailureRecord(start, world, async (save) => {
    await allowCallerIp(driver, targetOf(driver, machine.spec), world);
    await applyLiveChanges(before, machine.spec, driver, world, save);
    carried = true;
    // What waits for a start goes on waiting, whatever was changed meanwhile.
    const due = before.due === undefined ? {} : { due: before.due };
    const saving: Checkpoint = async (next) => {
      // Before the record says that they are no longer wanted.
      if (next.phase === 'ready') await removeUnwantedProfiles(before.spec, next.spec, world);
      await save({ ...next, ...due });
    };
    const ready = await provisionToReady(machine, driver, world, saving, { renewal });
    return { ...ready, ...due };
  });
}

/**
 * New certificates for the engine and its clients: of the CA that they have, so that whatever else it has signed goes on being
 * accepted, or with `all` of a new one. Stopped anywhere, `provision` goes on from what is stored.
 */
export async function regenerateCertificates(
  name: string,
  { all }: { readonly all: boolean },
  world: World,
): Promise<ReadyMachine> {
  const { phase, host } = await world.store.read(name);
  if (phase !== 'ready') {
    throw new SlipwayError('MACHINE_NOT_READY', `"${name}" is not finished: its making was stopped`, {
      hint: `Finish it: slipway create ${name}`,
    });
  }
  if (!host.ssh) {
    throw new SlipwayError(
      'DRIVER_UNSUPPORTED',
      `"${name}" has no SSH: who runs its engine has to renew its certificates`,
      {
        hint: `Connect to it anew with those: slipway provision ${name}, with what changed of --none-tls-ca, --none-tls-cert and --none-tls-key`,
      },
    );
  }
  return await provisionMachine(name, (spec) => spec, world, { renewal: all ? 'all' : 'leaves' });
}

/** What `provisionMachine` would do on the host, done to nothing: no record, no file, no remote change. */
export async function planDryRun(
  spec: MachineSpec,
  before: Machine | undefined,
  world: World,
  { anew = false }: { readonly anew?: boolean } = {},
): Promise<Plan> {
  const driver = await loadDriver(spec.driver);
  await checkSpec(driver, spec, world);
  requireIdleStopSupported(spec, before?.ending, driver);
  const planned = { spec, ...resolveDeadline(before, spec, anew || before?.phase !== 'ready', world.now()) };
  if (driver.kind !== 'existing' && before?.phase !== 'ready') return [await planCreateStep(planned, driver, world)];
  const host = await resolveHost(before ? { ...before, spec } : { version: 1, phase: 'creating', spec }, driver, world);
  if (!host.ssh) return [];
  const certificates = await loadOrRenewCertificates(spec, host.address, world);
  const { session } = await openSession(host.ssh, world);
  await using _session = session;
  const facts = await gatherHostFacts(session, host.ssh, world);
  return await planHost(planned, host.address, facts, certificates, world);
}

/** `born`: it has just started for the first time, with all that it needs. */
export async function provisionToReady(
  machine: Machine,
  driver: Driver,
  world: World,
  save: Checkpoint,
  {
    born = false,
    renewal,
    started,
  }: {
    readonly born?: boolean;
    readonly renewal?: RenewalScope | undefined;
    /** The end of its start, which is not waited for where it is known to answer before. */
    readonly started?: Promise<void>;
  } = {},
): Promise<ReadyMachine> {
  const { spec } = machine;
  const host = await resolveHost(machine, driver, world);
  const created: CreatedMachine = { version: 1, phase: 'created', spec, host, ...lifetimeFieldsOf(machine) };
  if (machine.phase !== 'ready') await save(created);
  const answers = born && (await checkFirstBootReady(created, world));
  await started;
  const ready =
    answers ||
    (host.ssh
      ? await provisionHost({ ...created, host }, machine, retryPolicyFor(machine, driver), world, save, renewal)
      : await connectExistingEngine(created, world));
  return await finishProvision(ready, world, save);
}

/** The end of every path: profiles, then the record, which says that all is done. */
export async function finishProvision(
  ready: ReadyMachine,
  { progress, store, clientPaths }: World,
  save: Checkpoint,
): Promise<ReadyMachine> {
  const { spec } = ready;
  await progress.step('profiles', 'Write the client profiles', async () => {
    const tls = await loadClientCertificates(ready, store);
    await applyFileChanges(
      profilesNamed(spec.profiles).flatMap((profile) => profile.changesToAdd({ machine: ready, tls, clientPaths })),
    );
  });
  // Last, so that a run killed before has not finished: `create` then does the rest.
  await save(ready);
  return ready;
}

export async function provisionHost(
  created: CreatedMachine & { readonly host: { readonly ssh: SshTarget } },
  before: Machine,
  patience: SshRetryPolicy,
  world: World,
  save: Checkpoint,
  renewal?: RenewalScope,
): Promise<ReadyMachine> {
  const { spec, host } = created;
  const { progress } = world;
  const paths = world.store.paths(spec.name);
  const pinned = async (target: SshTarget): Promise<void> => {
    await writeFileAtomic(
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
      retrySsh(() => openSession(host.ssh, world, pinned), patience, log, world).catch((error: unknown) => {
        throw explainConnectionError(error, created);
      }),
      loadOrRenewCertificates(spec, host.address, world, renewal),
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
  const facts = await progress.step('facts', 'Look at the host', () => gatherHostFacts(session, met, world));
  const ssh = await replaceBootstrapHostKey(met, session, facts, spec, world);
  const owner = ownerOf(facts);
  if (owner && owner.id !== spec.id) {
    progress.note(
      `${host.address} was provisioned as the machine "${owner.name}" before; its clients lose their access`,
    );
  }
  for (const step of await planHost(created, host.address, facts, certificates, world)) {
    const differs = step.id === 'life' ? describeClockSkew(created.deadline, facts, host.address) : undefined;
    if (differs !== undefined) progress.note(differs);
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepContextFor(facts, world), session, address: host.address, log }),
    );
    // From now on it is true, whatever becomes of the rest.
    if (step.id === 'life' && before.phase === 'ready') await save(withLifetimeOf(created, before));
  }
  const endpoint = endpointOf(created);
  await progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, clientCertificatesOf(certificates), {
      signal: world.signal,
      seconds: ENGINE_TIMEOUT_SECONDS,
    }),
  );
  return { version: 1, phase: 'ready', spec, host: { ...host, ssh }, endpoint, ...lifetimeFieldsOf(created) };
}

function withLifetimeOf(changed: CreatedMachine, before: ReadyMachine): ReadyMachine {
  const { life: _before, ...spec } = before.spec;
  const { deadline: _deadline, untold: _untold, ...rest } = before;
  const { life } = changed.spec;
  return { ...rest, ...lifetimeFieldsOf(changed), spec: { ...spec, ...(life ? { life } : {}) } };
}

export function endpointOf({ spec, host }: CreatedMachine): Endpoint {
  const port = host.ssh ? host.enginePort : undefined;
  return { url: `tcp://${bracketIpv6(host.address)}:${port ?? spec.engine.port}`, tls: true };
}

/** An engine that somebody else runs: its certificates are copied to where clients look, and it must answer. */
async function connectExistingEngine({ spec, host }: CreatedMachine, world: World): Promise<ReadyMachine> {
  if (!host.engine) throw new Error(`driver ${spec.driver} gave neither an SSH address nor an engine`);
  const { url, tls } = host.engine;
  const endpoint: Endpoint = { url, tls: tls !== undefined };
  const certificates = tls && (await readCertificateFiles(tls));
  if (certificates) await writeClientCertificates(certificates, world.store.paths(spec.name));
  await world.progress.step('verify', `Verify the engine at ${url}`, () =>
    verifyEngine(endpoint, certificates, { signal: world.signal, seconds: 10 }),
  );
  if (!tls && url.startsWith('tcp:'))
    world.progress.note(`${url} is open to whoever reaches it: it asks for no client certificate`);
  return { version: 1, phase: 'ready', spec, host, endpoint };
}

async function planHost(
  planned: Pick<Machine, 'spec' | 'deadline'>,
  address: string,
  facts: Facts,
  certificates: Certificates,
  world: World,
): Promise<Plan> {
  const { spec } = planned;
  const dropInTemplate = await world.readTemplate('slipway.conf');
  return planProvision({
    id: spec.id,
    name: spec.name,
    address,
    engine: spec.engine,
    facts,
    tls: serverCertificatesOf(certificates),
    dropInTemplate,
    lifetime: await loadHostLifetime(planned, world),
  });
}

/**
 * A machine whose engine started with its configuration and certificates needs no visit. Undefined when it has to be visited
 * all the same: its image came without an engine, or with another than was asked for.
 */
async function checkFirstBootReady(created: CreatedMachine, world: World): Promise<ReadyMachine | undefined> {
  const { source, version } = created.spec.engine;
  if (version !== undefined) return undefined;
  if (source === 'url')
    world.progress.note('The image brings its engine, so the install script of --engine-install-url was not run');
  const endpoint = endpointOf(created);
  const tls = await loadClientCertificates({ ...created, phase: 'ready', endpoint }, world.store);
  // That it does not answer yet is an answer, and no failure: the visit that follows tells why.
  const answers = await world.progress.step('verify', `Verify the engine at ${endpoint.url}`, async () => {
    try {
      await verifyEngine(endpoint, tls, { signal: world.signal, seconds: FIRST_ANSWER_SECONDS });
      return true;
    } catch (error) {
      if (error instanceof SlipwayError && error.code === 'ENGINE_UNREACHABLE') return false;
      throw error;
    }
  });
  return answers ? { ...created, phase: 'ready', endpoint } : undefined;
}

/** As create would refuse it, before anything is done for it. */
export async function checkMachine(spec: MachineSpec, world: World): Promise<void> {
  await checkSpec(await loadDriver(spec.driver), spec, world);
}

/** Refused before anything exists: what the driver can't do, and options that dockerd's configuration can't hold. */
export async function checkSpec(driver: Driver, spec: MachineSpec, world: World): Promise<void> {
  daemonSettingsFor(spec.engine, '', []);
  requireAutoStopSupported(spec, driver);
  await driver.machines.validate?.(targetOf(driver, spec), driverCallFor(world, world.debug));
}

/** A port that was forwarded when the machine was made leads to where its engine listened then. */
function requireSameEnginePort(before: Machine, { name, engine }: MachineSpec): void {
  if (before.host?.ssh === undefined || before.host.enginePort === undefined) return;
  if (before.spec.engine.port === engine.port) return;
  throw new SlipwayError('USAGE', `The engine of "${name}" stays at port ${before.spec.engine.port} inside of it`, {
    hint: 'Clients reach it at a port of this computer, whatever that one is; leave --engine-port out',
  });
}

/** How an option of its driver changes on a machine that exists; what no driver has a word for takes another machine. */
export function optionChangeOf(driver: DriverManifest, key: string, from: unknown, to: unknown): OptionChange {
  return driver.changeKindOf?.(key, from, to) ?? 'replace';
}

/** Options whose values differ. */
export function changedOptions(before: MachineSpec, { options }: Pick<MachineSpec, 'options'>): readonly string[] {
  return allKeysOf(before.options, options).filter((key) => !isSameValue(before.options[key], options[key]));
}

/** What was made stays as it was made: a region that was changed here alone would lead to nothing, or to somebody else's. */
export function requireChangeInPlace({ spec }: Machine, wanted: MachineSpec, driver: DriverManifest): void {
  if (driver.kind === 'existing') return;
  const changed = changedOptions(spec, wanted).filter(
    (key) => optionChangeOf(driver, key, spec.options[key], wanted.options[key]) === 'replace',
  );
  if (changed.length === 0) return;
  throw new SlipwayError(
    'USAGE',
    `"${wanted.name}" was made with other options of ${driver.name} (${changed.join(', ')}), and they stay`,
    {
      hint: `Make another machine with them, or this one anew: slipway rm ${wanted.name}`,
    },
  );
}

/** Refused before anything is recorded or stopped for it: a type that does not exist, a firewall that others share. */
export async function checkOptionChange(
  before: Machine,
  wanted: MachineSpec,
  driver: Driver,
  world: World,
): Promise<void> {
  if (!driver.changes?.validate || changedOptions(before.spec, wanted).length === 0) return;
  await driver.changes.validate(
    targetOf(driver, wanted),
    driver.options.parse(before.spec.options),
    driverCallFor(world, world.debug),
  );
}

/** What a machine takes as it starts needs no visit, where it is stopped and nothing else is to change. */
async function deferToNextStart(
  before: Machine,
  wanted: MachineSpec,
  driver: Driver,
  world: World,
): Promise<ReadyMachine | undefined> {
  const changed = changedOptions(before.spec, wanted);
  const atStart = changed.filter(
    (key) => optionChangeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'restart',
  );
  if (before.phase !== 'ready' || atStart.length === 0) return undefined;
  const state = await driver.machines.inspect(targetOf(driver, before.spec), driverCallFor(world, world.debug));
  if (state.state !== 'stopped') return undefined;
  const spec = withOptions(before.spec, wanted, atStart);
  const machine: ReadyMachine = { ...before, spec };
  await world.store.write(machine);
  world.progress.note(`"${spec.name}" is stopped: it takes ${formatList(atStart)} at its next start`);
  return atStart.length === changed.length && isSameExceptOptions(before.spec, wanted) ? machine : undefined;
}

/** Whether all that is not an option of the driver is as it was. */
export function isSameExceptOptions(before: MachineSpec, wanted: MachineSpec): boolean {
  return (
    isSameValue(before.engine, wanted.engine) &&
    isSameValue(before.profiles, wanted.profiles) &&
    isSameValue(before.life ?? {}, wanted.life ?? {})
  );
}

/** What changes live at the provider, before anything here says that it has. */
async function applyLiveChanges(
  before: Machine,
  wanted: MachineSpec,
  driver: Driver,
  world: World,
  save: Checkpoint,
): Promise<void> {
  const changed = changedOptions(before.spec, wanted).filter(
    (key) => optionChangeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'live',
  );
  if (!driver.changes?.apply || changed.length === 0) return;
  await world.progress.step('change', `Change ${formatList(changed)} (${driver.name})`, async (log) =>
    driver.changes?.apply?.(
      targetOf(driver, wanted),
      driver.options.parse(before.spec.options),
      driverCallFor(world, log),
    ),
  );
  // A host that can't be reached then does not make it untrue.
  if (before.phase === 'ready') await save({ ...before, spec: withOptions(before.spec, wanted, changed) });
}

/** A machine's spec with these options as they are wanted. */
export function withOptions(before: MachineSpec, wanted: MachineSpec, keys: readonly string[]): MachineSpec {
  const options = { ...before.options, ...Object.fromEntries(keys.map((key) => [key, wanted.options[key]])) };
  const given = userOptionsAfter(before, options);
  return { ...before, options, ...(given ? { given } : {}) };
}

function withUserOptions(before: MachineSpec, { given: asked, ...spec }: MachineSpec): MachineSpec {
  // A change that says nothing of it has the words of the machine as it was.
  const given = asked === undefined || asked === before.given ? userOptionsAfter(before, spec.options) : asked;
  return { ...spec, ...(given ? { given } : {}) };
}

/** Client settings that are not wanted any longer, where they are this machine's. */
async function removeUnwantedProfiles(
  before: MachineSpec,
  { id, name, profiles }: MachineSpec,
  world: World,
): Promise<void> {
  for (const profile of profilesNamed(before.profiles.filter((known) => !profiles.includes(known)))) {
    if ((await profile.findConflict(name, id, world.clientPaths)) === undefined)
      await applyFileChanges(profile.changesToRemove(name, world.clientPaths));
  }
}

function bracketIpv6(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
