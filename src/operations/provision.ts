import { applyChanges, writeWhole } from '../computer/files.ts';
import type { Change, Driver, Target } from '../drivers/contract.ts';
import { driverNamed, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { givenWith, keysOf } from '../machine/user-options.ts';
import { knownHostsLine } from '../ssh/host-key.ts';
import {
  clientCertificates,
  makeCertificates,
  readCertificates,
  storeCertificates,
  writeClientPart,
} from './credentials.ts';
import type { Created, Endpoint, Machine, MachineSpec, Ready, SshTarget } from '../machine/model.ts';
import { listed, same } from '../machine/options.ts';
import { applyStep } from '../provision/run-step.ts';
import { type Certificates, clientPart, type Renewal, serverPart } from '../provision/certificates.ts';
import { settingsOf } from '../provision/daemon-json.ts';
import { verifyEngine } from '../provision/engine-api.ts';
import type { Facts } from '../provision/facts.ts';
import { ownerOf, planProvision } from '../provision/plan.ts';
import { profilesNamed } from '../profiles/registry.ts';
import type { Plan } from '../provision/step.ts';
import { adopted } from './tag-existing.ts';
import { firstStart } from './first-boot.ts';
import { canEndByItself, clockNote, deadlineAfter, lasting, lifeOf, stopsWhereItShould, tellFate } from './lifetime.ts';
import {
  hostOf,
  lastingSsh,
  lookAtHost,
  ofOurMaking,
  openSession,
  type Patience,
  patienceWith,
  patiently,
  stepSide,
} from './host-session.ts';
import { noConflicts, recordingFailure, type Save } from './checkpoint.ts';
import { callOf, type World } from './world.ts';

export const ENGINE_SECONDS = 60;
/** It has said that it is ready; a computer that is busy may take a moment to hear it. */
const FIRST_ANSWER_SECONDS = 5;

/** Who made it from another network than the one of today would wait before a closed door. */
export async function admit(driver: Driver, target: Target<Record<string, unknown>>, world: World): Promise<void> {
  if (!driver.admit) return;
  await world.progress.step('admit', 'Let this computer’s address in', async (log) =>
    driver.admit?.(target, callOf(world, log)),
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
  { anew = false, renewal }: { readonly anew?: boolean; readonly renewal?: Renewal } = {},
): Promise<Ready> {
  const { store } = world;
  await store.read(name);
  await using _lock = await store.lock(name);
  const before = await adopted(await store.read(name), world);
  const spec = withGiven(before.spec, change(before.spec));
  const { deadline: _before, ...rest } = before;
  const machine: Machine = { ...rest, spec, ...deadlineAfter(before, spec, anew, world.now()) };
  const driver = driverNamed(machine.spec.driver);
  await checkSpec(driver, machine.spec, world);
  samePort(before, machine.spec);
  sameOptions(before, machine.spec, driver);
  stopsWhereItShould(machine.spec, machine.ending, driver);
  await noConflicts(machine.spec, world.places);
  await possible(before, machine.spec, driver, world);
  const waiting = await forNextStart(before, machine.spec, driver, world);
  if (waiting) return waiting;
  if (machine.deadline !== before.deadline || !same(machine.spec.life ?? {}, before.spec.life ?? {}))
    tellFate(machine, driver, world);
  // Until its provider has heard of it, a change that is stopped has not begun.
  let carried = false;
  const { deadline } = machine;
  const wanted = (): Pick<Machine, 'spec' | 'deadline'> | undefined =>
    carried ? { spec: machine.spec, ...(deadline === undefined ? {} : { deadline }) } : undefined;
  const start = before.phase === 'ready' ? { ...before, wanted } : machine;
  return await recordingFailure(start, world, async (save) => {
    await admit(driver, targetOf(driver, machine.spec), world);
    await carryOver(before, machine.spec, driver, world, save);
    carried = true;
    // What waits for a start goes on waiting, whatever was changed meanwhile.
    const due = before.due === undefined ? {} : { due: before.due };
    const saving: Save = async (next) => {
      // Before the record says that they are no longer wanted.
      if (next.phase === 'ready') await dropProfiles(before.spec, next.spec, world);
      await save({ ...next, ...due });
    };
    const ready = await provision(machine, driver, world, saving, { renewal });
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
): Promise<Ready> {
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
export async function dryRun(
  spec: MachineSpec,
  before: Machine | undefined,
  world: World,
  { anew = false }: { readonly anew?: boolean } = {},
): Promise<Plan> {
  const driver = driverNamed(spec.driver);
  await checkSpec(driver, spec, world);
  stopsWhereItShould(spec, before?.ending, driver);
  const planned = { spec, ...deadlineAfter(before, spec, anew || before?.phase !== 'ready', world.now()) };
  if (driver.create && before?.phase !== 'ready') return [await firstStart(planned, driver, world)];
  const host = await hostOf(before ? { ...before, spec } : { version: 1, phase: 'creating', spec }, driver, world);
  if (!host.ssh) return [];
  const certificates = await makeCertificates(spec, host.address, world);
  const { session } = await openSession(host.ssh, world);
  await using _session = session;
  const facts = await lookAtHost(session, host.ssh, world);
  return await planFor(planned, host.address, facts, certificates, world);
}

/** `born`: it has just started for the first time, with all that it needs. */
export async function provision(
  machine: Machine,
  driver: Driver,
  world: World,
  save: Save,
  {
    born = false,
    renewal,
    started,
  }: {
    readonly born?: boolean;
    readonly renewal?: Renewal | undefined;
    /** The end of its start, which is not waited for where it is known to answer before. */
    readonly started?: Promise<void>;
  } = {},
): Promise<Ready> {
  const { spec } = machine;
  const host = await hostOf(machine, driver, world);
  const created: Created = { version: 1, phase: 'created', spec, host, ...lasting(machine) };
  if (machine.phase !== 'ready') await save(created);
  const answers = born && (await bornReady(created, world));
  await started;
  const ready =
    answers ||
    (host.ssh
      ? await provisionHost({ ...created, host }, machine, patienceWith(machine, driver), world, save, renewal)
      : await adoptEngine(created, world));
  return await finish(ready, world, save);
}

/** The end of every path: profiles, then the record, which says that all is done. */
export async function finish(ready: Ready, { progress, store, places }: World, save: Save): Promise<Ready> {
  const { spec } = ready;
  await progress.step('profiles', 'Write the client profiles', async () => {
    const tls = await clientCertificates(ready, store);
    await applyChanges(profilesNamed(spec.profiles).flatMap((profile) => profile.add({ machine: ready, tls, places })));
  });
  // Last, so that a run killed before has not finished: `create` then does the rest.
  await save(ready);
  return ready;
}

export async function provisionHost(
  created: Created & { readonly host: { readonly ssh: SshTarget } },
  before: Machine,
  patience: Patience,
  world: World,
  save: Save,
  renewal?: Renewal,
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
      makeCertificates(spec, host.address, world, renewal),
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
  for (const step of await planFor(created, host.address, facts, certificates, world)) {
    const differs = step.id === 'life' ? clockNote(created.deadline, facts, host.address) : undefined;
    if (differs !== undefined) progress.note(differs);
    await progress.step(step.id, step.title, (log) =>
      applyStep(step, { ...stepSide(facts, world), session, address: host.address, log }),
    );
    // From now on it is true, whatever becomes of the rest.
    if (step.id === 'life' && before.phase === 'ready') await save(withLifeOf(created, before));
  }
  const endpoint = endpointOf(created);
  await progress.step('verify', `Verify the engine at ${endpoint.url}`, () =>
    verifyEngine(endpoint, clientPart(certificates), { signal: world.signal, seconds: ENGINE_SECONDS }),
  );
  return { version: 1, phase: 'ready', spec, host: { ...host, ssh }, endpoint, ...lasting(created) };
}

function withLifeOf(changed: Created, before: Ready): Ready {
  const { life: _before, ...spec } = before.spec;
  const { deadline: _deadline, untold: _untold, ...rest } = before;
  const { life } = changed.spec;
  return { ...rest, ...lasting(changed), spec: { ...spec, ...(life ? { life } : {}) } };
}

export function endpointOf({ spec, host }: Created): Endpoint {
  const port = host.ssh ? host.enginePort : undefined;
  return { url: `tcp://${bracketed(host.address)}:${port ?? spec.engine.port}`, tls: true };
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
  planned: Pick<Machine, 'spec' | 'deadline'>,
  address: string,
  facts: Facts,
  certificates: Certificates,
  world: World,
): Promise<Plan> {
  const { spec } = planned;
  const dropInTemplate = await world.template('slipway.conf');
  return planProvision({
    id: spec.id,
    name: spec.name,
    address,
    engine: spec.engine,
    facts,
    tls: serverPart(certificates),
    dropInTemplate,
    life: await lifeOf(planned, world),
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
  await checkSpec(driverNamed(spec.driver), spec, world);
}

/** Refused before anything exists: what the driver can't do, and options that dockerd's configuration can't hold. */
export async function checkSpec(driver: Driver, spec: MachineSpec, world: World): Promise<void> {
  settingsOf(spec.engine, '', []);
  canEndByItself(spec, driver);
  await driver.check?.(targetOf(driver, spec), callOf(world, world.debug));
}

/** A port that was forwarded when the machine was made leads to where its engine listened then. */
function samePort(before: Machine, { name, engine }: MachineSpec): void {
  if (before.host?.ssh === undefined || before.host.enginePort === undefined) return;
  if (before.spec.engine.port === engine.port) return;
  throw new SlipwayError('USAGE', `The engine of "${name}" stays at port ${before.spec.engine.port} inside of it`, {
    hint: 'Clients reach it at a port of this computer, whatever that one is; leave --engine-port out',
  });
}

/** How an option of its driver changes on a machine that exists; what no driver has a word for takes another machine. */
export function changeOf(driver: Driver, key: string, from: unknown, to: unknown): Change {
  return driver.changeOf?.(key, from, to) ?? 'replace';
}

/** Options whose values differ. */
export function changedOptions(before: MachineSpec, { options }: Pick<MachineSpec, 'options'>): readonly string[] {
  return keysOf(before.options, options).filter((key) => !same(before.options[key], options[key]));
}

/** What was made stays as it was made: a region that was changed here alone would lead to nothing, or to somebody else's. */
export function sameOptions({ spec }: Machine, wanted: MachineSpec, driver: Driver): void {
  if (!driver.create) return;
  const changed = changedOptions(spec, wanted).filter(
    (key) => changeOf(driver, key, spec.options[key], wanted.options[key]) === 'replace',
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
export async function possible(before: Machine, wanted: MachineSpec, driver: Driver, world: World): Promise<void> {
  if (!driver.checkChange || changedOptions(before.spec, wanted).length === 0) return;
  await driver.checkChange(
    targetOf(driver, wanted),
    driver.options.parse(before.spec.options),
    callOf(world, world.debug),
  );
}

/** What a machine takes as it starts needs no visit, where it is stopped and nothing else is to change. */
async function forNextStart(
  before: Machine,
  wanted: MachineSpec,
  driver: Driver,
  world: World,
): Promise<Ready | undefined> {
  const changed = changedOptions(before.spec, wanted);
  const atStart = changed.filter(
    (key) => changeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'restart',
  );
  if (before.phase !== 'ready' || atStart.length === 0) return undefined;
  const state = await driver.inspect(targetOf(driver, before.spec), callOf(world, world.debug));
  if (state.state !== 'stopped') return undefined;
  const spec = withOptions(before.spec, wanted, atStart);
  const machine: Ready = { ...before, spec };
  await world.store.write(machine);
  world.progress.note(`"${spec.name}" is stopped: it takes ${listed(atStart)} at its next start`);
  return atStart.length === changed.length && sameBesides(before.spec, wanted) ? machine : undefined;
}

/** Whether all that is not an option of the driver is as it was. */
export function sameBesides(before: MachineSpec, wanted: MachineSpec): boolean {
  return (
    same(before.engine, wanted.engine) &&
    same(before.profiles, wanted.profiles) &&
    same(before.life ?? {}, wanted.life ?? {})
  );
}

/** What changes live at the provider, before anything here says that it has. */
async function carryOver(
  before: Machine,
  wanted: MachineSpec,
  driver: Driver,
  world: World,
  save: Save,
): Promise<void> {
  const changed = changedOptions(before.spec, wanted).filter(
    (key) => changeOf(driver, key, before.spec.options[key], wanted.options[key]) === 'live',
  );
  if (!driver.change || changed.length === 0) return;
  await world.progress.step('change', `Change ${listed(changed)} (${driver.name})`, async (log) =>
    driver.change?.(targetOf(driver, wanted), driver.options.parse(before.spec.options), callOf(world, log)),
  );
  // A host that can't be reached then does not make it untrue.
  if (before.phase === 'ready') await save({ ...before, spec: withOptions(before.spec, wanted, changed) });
}

/** A machine's spec with these options as they are wanted. */
export function withOptions(before: MachineSpec, wanted: MachineSpec, keys: readonly string[]): MachineSpec {
  const options = { ...before.options, ...Object.fromEntries(keys.map((key) => [key, wanted.options[key]])) };
  const given = givenWith(before, options);
  return { ...before, options, ...(given ? { given } : {}) };
}

function withGiven(before: MachineSpec, { given: asked, ...spec }: MachineSpec): MachineSpec {
  // A change that says nothing of it has the words of the machine as it was.
  const given = asked === undefined || asked === before.given ? givenWith(before, spec.options) : asked;
  return { ...spec, ...(given ? { given } : {}) };
}

/** Client settings that are not wanted any longer, where they are this machine's. */
async function dropProfiles(before: MachineSpec, { id, name, profiles }: MachineSpec, world: World): Promise<void> {
  for (const profile of profilesNamed(before.profiles.filter((known) => !profiles.includes(known)))) {
    if ((await profile.conflict(name, id, world.places)) === undefined)
      await applyChanges(profile.drop(name, world.places));
  }
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
