import { randomUUID } from 'node:crypto';
import type { CloudDriver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { shareFirstBootKeys } from './credentials.ts';
import { reserveName, createMachine, resolveCreateSpec } from './create.ts';
import { engineSettingsOf, type DaemonSettings } from '../provision/daemon-json.ts';
import { createFirstBootConfig } from './first-boot.ts';
import { announceAutoStop } from './lifetime.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { provisionToReady } from './provision.ts';
import { withFailureRecord, withRequest, type RequestRecorder } from './checkpoint.ts';
import { validateSpec } from './validate-spec.ts';
import {
  MAX_CONNECTIONS,
  runForMachines,
  type MachineDoneCallback,
  notStartedOutcome,
  type MachineOutcome,
  concurrencyLimit,
  type ConcurrencyLimit,
} from './concurrency.ts';
import { driverCallFor, type World } from './world.ts';
import type { LastRequest, Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import type { Store } from '../machine/store.ts';

/** How the creation of one machine ended; `started` is false for a machine that was ready before. */
export type CreateOutcome = MachineOutcome<ReadyMachine>;

/** How many machines are created at the same time where each needs a call of its own. */
const MAX_CREATES = 4;

/**
 * Creates machines with the same options, or continues interrupted creations; if one fails, the others go ahead.
 * `worldFor` returns the world with the machine's own progress, `onDone` is called for each machine as soon as it is
 * finished, and `limit` is shared with other work that runs at the same time.
 */
export async function createMachines(
  wanted: readonly MachineSpec[],
  world: World,
  worldFor: (name: string) => World,
  onDone: MachineDoneCallback = () => {},
  limit?: ConcurrencyLimit,
): Promise<readonly CreateOutcome[]> {
  const driver = await loadDriver(wanted[0]?.driver ?? '');
  const existing = await Promise.all(wanted.map(async ({ name }) => world.store.find(name)));
  const ready = existing.filter((machine) => machine?.phase === 'ready');
  for (const machine of ready) if (machine) onDone({ name: machine.spec.name });
  const remaining = wanted.filter(({ name }) => !ready.some((machine) => machine?.spec.name === name));
  const newSpecs = remaining.filter(({ name }) => !existing.some((machine) => machine?.spec.name === name));
  const outcomes =
    driver.kind === 'cloud'
      ? await createWithBatch(driver, remaining, { newSpecs, existing, world, worldFor, onDone, limit })
      : await createIndividually(remaining, { world, worldFor, onDone, limit });
  return wanted.map(({ name }): CreateOutcome => {
    const known = ready.find((machine) => machine?.spec.name === name);
    if (known?.phase === 'ready') return { name, value: known, started: false };
    const outcome = outcomes.find((done) => done.name === name);
    if (!outcome) throw new Error(`the creation of ${name} has no outcome`);
    return outcome;
  });
}

type BulkCreateContext = {
  readonly world: World;
  readonly worldFor: (name: string) => World;
  readonly onDone: MachineDoneCallback;
  readonly limit: ConcurrencyLimit | undefined;
};

type BatchCreateContext = BulkCreateContext & {
  readonly newSpecs: readonly MachineSpec[];
  readonly existing: readonly (Machine | undefined)[];
};

async function createWithBatch(
  driver: CloudDriver,
  specs: readonly MachineSpec[],
  { newSpecs, existing, ...context }: BatchCreateContext,
): Promise<readonly CreateOutcome[]> {
  const interruptedBatch = incompleteBatchOf(specs, existing);
  const batchSpecs = newSpecs.length > 1 ? withNewBatch(newSpecs) : interruptedBatch;
  const batchNames = new Set(batchSpecs.map(({ name }) => name));
  const singleSpecs = specs.filter(({ name }) => !batchNames.has(name));
  const [batch, singles] = await Promise.all([
    batchSpecs.length > 0 ? createBatch(driver, batchSpecs, context) : [],
    createIndividually(singleSpecs, context),
  ]);
  return [...batch, ...singles];
}

/** Creates each machine by a call of its own; after an interruption, no further creation starts. */
async function createIndividually(
  specs: readonly MachineSpec[],
  { world, worldFor, onDone, limit = concurrencyLimit(MAX_CREATES) }: BulkCreateContext,
): Promise<readonly CreateOutcome[]> {
  return await runForMachines(
    specs.map(({ name }) => name),
    { limit, onDone, signal: world.signal },
    async (name) => createMachine(specNamed(specs, name), worldFor(name)),
  );
}

function withNewBatch(specs: readonly MachineSpec[]): readonly MachineSpec[] {
  const id = randomUUID();
  return specs.map((spec, index) => ({ ...spec, batch: { id, index, size: specs.length } }));
}

/**
 * Returns the machines of an interrupted batch request if all of them are still as that request left them: only then
 * can the request be repeated. What the provider sees stays the same; the engine and the client profiles, which it does
 * not see, are taken from the present call. If nothing was requested, everything is taken from the present call.
 */
function incompleteBatchOf(
  wanted: readonly MachineSpec[],
  before: readonly (Machine | undefined)[],
): readonly MachineSpec[] {
  const incomplete = before.flatMap((machine) => (machine?.phase === 'creating' ? [machine.spec] : []));
  const id = incomplete.find(({ batch }) => batch !== undefined)?.batch?.id;
  const members = incomplete.filter(({ batch }) => batch !== undefined && batch.id === id);
  if (members.length === 0 || members.length !== members[0]?.batch?.size) return [];
  const isRequested = before.some((machine) => machine?.phase === 'creating' && machine.lastRequest !== undefined);
  return members.map((member) => {
    const now = wanted.find(({ name }) => name === member.name) ?? member;
    const { engine, profiles } = now;
    return isRequested ? { ...member, engine, profiles } : { ...now, id: member.id, ...batchOf(member) };
  });
}

const batchOf = ({ batch }: MachineSpec): Pick<MachineSpec, 'batch'> => (batch ? { batch } : {});

/** Creates a batch by one request. If the request fails, machines outside the batch still go ahead. */
async function createBatch(
  driver: CloudDriver,
  specs: readonly MachineSpec[],
  context: BulkCreateContext,
): Promise<readonly CreateOutcome[]> {
  const { world, onDone } = context;
  if (world.signal.aborted) return specs.map(({ name }) => notStartedOutcome(name));
  try {
    return await requestAndProvisionBatch(driver, specs, context);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    for (const { name } of specs) onDone({ name, error });
    return specs.map(({ name }) => ({ name, error, started: true }));
  }
}

async function requestAndProvisionBatch(
  driver: CloudDriver,
  specs: readonly MachineSpec[],
  { world, worldFor, onDone, limit = concurrencyLimit(MAX_CONNECTIONS) }: BulkCreateContext,
): Promise<readonly CreateOutcome[]> {
  // All machines of a batch have the same options, so the first one's are resolved for all.
  const first = await limit(async () => resolveCreateSpec(await validateSpec(firstOf(specs), world), world));
  const { options, userOptions } = first.spec;
  const engineSettings: EngineSettingsByName = new Map(
    specs.map(({ name, engine }) => [name, name === first.spec.name ? first.engineSettings : engineSettingsOf(engine)]),
  );
  await using _locks = await lockAll(
    specs.map(({ name }) => name),
    world.store,
  );
  const resolved = specs.map((spec) => ({ ...spec, options, ...(userOptions ? { userOptions } : {}) }));
  const { machines, failure } = await limit(async () =>
    requestMachines(driver, await reserveNames(resolved, world), engineSettings, world),
  );
  // Runs without the signal: all machines have been requested, so even after an interruption each record must say what
  // exists.
  const names = specs.map(({ name }) => name);
  return await runForMachines(names, { limit, onDone }, async (name) => {
    const machineWorld = worldFor(name);
    return await withFailureRecord(namedIn(machines, name), failure ? world : machineWorld, async (save) => {
      if (failure) throw failure;
      const machine = namedIn(machines, name);
      return provisionToReady({ machine, engineSettings: namedIn(engineSettings, name), save }, driver, machineWorld);
    });
  });
}

/** The engine settings of each machine of a batch: their engines may differ where their options do not. */
type EngineSettingsByName = ReadonlyMap<string, DaemonSettings>;

type BatchReservation = { readonly machines: Map<string, Machine>; readonly existedBefore: boolean };

/** Reserves all names or none: nothing has been requested yet, so a refusal leaves all names free. */
async function reserveNames(specs: readonly MachineSpec[], world: World): Promise<BatchReservation> {
  const machines = new Map<string, Machine>();
  const before = await Promise.all(specs.map(async ({ name }) => world.store.find(name)));
  try {
    for (const spec of specs) machines.set(spec.name, (await reserveName(spec, world)).machine);
  } catch (error) {
    for (const { name } of specs.filter((_, index) => !before[index])) await world.store.remove(name);
    throw error;
  }
  return { machines, existedBefore: before.some((machine) => machine !== undefined) };
}

/** Requests all machines by one call of the provider. Returns their records, and why the request failed, if it did. */
async function requestMachines(
  driver: CloudDriver,
  { machines, existedBefore }: BatchReservation,
  engineSettings: EngineSettingsByName,
  world: World,
): Promise<{ readonly machines: ReadonlyMap<string, Machine>; readonly failure?: SlipwayError }> {
  const all = formatNameRange([...machines.keys()]);
  // The machines of a batch start within a moment of each other, so one deadline describes all.
  announceAutoStop(firstOf([...machines.values()]), driver, world, `Each of ${all}`);
  const boot = await createSharedFirstBootConfig(driver, [...machines.values()], engineSettings, world);
  const targets = [...machines.values()].map((machine) => targetOf(driver, machine.spec, machine));
  const saveRequest = async (request: LastRequest | undefined): Promise<void> => {
    for (const [name, machine] of machines) {
      if (machine.phase !== 'creating') continue;
      const requested = withRequest(machine, request);
      await world.store.write(requested);
      machines.set(name, requested);
    }
  };
  const recorder: RequestRecorder = {
    recordRequest: async (what) => saveRequest({ what, at: world.now().toISOString() }),
    clearRequest: async () => saveRequest(undefined),
  };
  try {
    await world.progress.step('create', `Create ${all} (${driver.name}, one call)`, async (log) =>
      driver.cloud.createMany(targets, boot, { ...driverCallFor(world, log), ...recorder }),
    );
    if (existedBefore) await allowCallerIp(driver, firstOf(targets), world);
    return { machines };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { machines, failure: error };
  }
}

function specNamed(specs: readonly MachineSpec[], name: string): MachineSpec {
  const spec = specs.find((candidate) => candidate.name === name);
  if (!spec) throw new Error(`${name} is not among the machines to create`);
  return spec;
}

function namedIn<T>(batch: ReadonlyMap<string, T>, name: string): T {
  const found = batch.get(name);
  if (found === undefined) throw new Error(`${name} is not part of this batch`);
  return found;
}

/**
 * Returns the first-boot configuration of a whole batch. One request gives all machines the same user data, so they
 * share the login key and the bootstrap host key; the permanent host key is each machine's own.
 */
async function createSharedFirstBootConfig(
  driver: CloudDriver,
  machines: readonly Machine[],
  engineSettings: EngineSettingsByName,
  world: World,
): ReturnType<typeof createFirstBootConfig> {
  const names = machines.map(({ spec }) => spec.name);
  // Keys of an interrupted request take precedence over new ones.
  await shareFirstBootKeys(names, world.store);
  const createConfig = async (machine: Machine): ReturnType<typeof createFirstBootConfig> =>
    createFirstBootConfig(machine, namedIn(engineSettings, machine.spec.name), driver, world);
  await createConfig(firstOf(machines));
  await shareFirstBootKeys(names, world.store);
  const boots = await Promise.all(machines.map(createConfig));
  return firstOf(boots);
}

function firstOf<T>(items: readonly T[]): T {
  const [first] = items;
  if (first === undefined) throw new Error('a batch has at least one machine');
  return first;
}

async function lockAll(names: readonly string[], store: Store): Promise<AsyncDisposable> {
  const held: AsyncDisposable[] = [];
  const release = async (): Promise<void> => {
    for (const lock of held.splice(0)) await lock[Symbol.asyncDispose]();
  };
  try {
    // In a fixed order, so that two commands never wait for each other's locks.
    for (const name of names.toSorted()) held.push(await store.lock(name));
  } catch (error) {
    await release();
    throw error;
  }
  return { [Symbol.asyncDispose]: release };
}

function formatNameRange(names: readonly string[]): string {
  return names.length > 2 ? `${names[0]} … ${names.at(-1)}` : names.join(' and ');
}
