import { randomUUID } from 'node:crypto';
import type { CloudDriver } from '../drivers/contract.ts';
import { loadDriver, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { shareFirstBootKeys } from './credentials.ts';
import { reserveName, createMachine, resolveCreateSpec } from './create.ts';
import { createFirstBootConfig } from './first-boot.ts';
import { announceAutoStop } from './lifetime.ts';
import { allowCallerIp } from './allow-caller-ip.ts';
import { provisionToReady } from './provision.ts';
import { withFailureRecord } from './checkpoint.ts';
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
import type { Machine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import type { Store } from '../machine/store.ts';

/** How the making of one ended; for one that was ready before, nothing was begun. */
export type CreateOutcome = MachineOutcome<ReadyMachine>;

/** Machines of this computer's own, or of drivers without a call for many: each is a create of its own. */
const MAX_CREATES = 4;

/**
 * Makes machines of one kind, or finishes those whose making was stopped; one that fails keeps none of the others. `worldOf` is
 * the world with the machine's own progress; `ended` hears of each as soon as nothing more is done for it; `turns` are those of
 * other work that goes on meanwhile.
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
  const left = wanted.filter(({ name }) => !ready.some((machine) => machine?.spec.name === name));
  const newSpecs = left.filter(({ name }) => !existing.some((machine) => machine?.spec.name === name));
  const made =
    driver.kind === 'cloud'
      ? await createWithBatch(driver, left, { newSpecs, existing, world, worldFor, onDone, limit })
      : await createIndividually(left, { world, worldFor, onDone, limit });
  return wanted.map(({ name }): CreateOutcome => {
    const known = ready.find((machine) => machine?.spec.name === name);
    if (known?.phase === 'ready') return { name, value: known, started: false };
    const one = made.find((done) => done.name === name);
    if (!one) throw new Error(`nothing was made of ${name}`);
    return one;
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
  left: readonly MachineSpec[],
  { newSpecs, existing, ...making }: BatchCreateContext,
): Promise<readonly CreateOutcome[]> {
  const again = incompleteBatchOf(left, existing);
  const together = newSpecs.length > 1 ? withNewBatch(newSpecs) : again;
  const names = new Set(together.map(({ name }) => name));
  const alone = left.filter(({ name }) => !names.has(name));
  const [batch, singles] = await Promise.all([
    together.length > 0 ? createBatch(driver, together, making) : [],
    createIndividually(alone, making),
  ]);
  return [...batch, ...singles];
}

/** Each by a create of its own; after a Ctrl-C no other is begun. */
async function createIndividually(
  specs: readonly MachineSpec[],
  { world, worldFor, onDone, limit = concurrencyLimit(MAX_CREATES) }: BulkCreateContext,
): Promise<readonly CreateOutcome[]> {
  return await runForMachines(
    specs.map(({ name }) => name),
    { turns: limit, ended: onDone, signal: world.signal },
    async (name) => createMachine(specNamed(specs, name), worldFor(name)),
  );
}

function withNewBatch(specs: readonly MachineSpec[]): readonly MachineSpec[] {
  const id = randomUUID();
  return specs.map((spec, index) => ({ ...spec, batch: { id, index, size: specs.length } }));
}

/**
 * The machines of one bulk call, when all of them are as half-made as it left them: only then does it mean the same again. The
 * provider is asked for what it was asked for; what it knows nothing of, the engine and the clients, is as it is wanted by now.
 */
function incompleteBatchOf(
  wanted: readonly MachineSpec[],
  before: readonly (Machine | undefined)[],
): readonly MachineSpec[] {
  const half = before.flatMap((machine) => (machine?.phase === 'creating' ? [machine.spec] : []));
  const id = half.find(({ batch }) => batch !== undefined)?.batch?.id;
  const members = half.filter(({ batch }) => batch !== undefined && batch.id === id);
  if (members.length === 0 || members.length !== members[0]?.batch?.size) return [];
  return members.map((begun) => {
    const { engine, profiles } = wanted.find(({ name }) => name === begun.name) ?? begun;
    return { ...begun, engine, profiles };
  });
}

/** What keeps all of them from being asked for keeps nobody else's machines. */
async function createBatch(
  driver: CloudDriver,
  specs: readonly MachineSpec[],
  making: BulkCreateContext,
): Promise<readonly CreateOutcome[]> {
  const { world, onDone } = making;
  if (world.signal.aborted) return specs.map(({ name }) => notStartedOutcome(name));
  try {
    return await requestAndProvisionBatch(driver, specs, making);
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
  // What is decided for one is decided for all: they are of one kind.
  const { options, userOptions } = await limit(async () => resolveCreateSpec(driver, firstOf(specs), world));
  await using _locks = await lockAll(
    specs.map(({ name }) => name),
    world.store,
  );
  const alike = specs.map((spec) => ({ ...spec, options, ...(userOptions ? { userOptions } : {}) }));
  const { machines, failure } = await limit(async () =>
    requestMachines(driver, await reserveNames(alike, world), world),
  );
  // Also after a Ctrl-C: each of them has been asked for, and tells what there is of it.
  const names = specs.map(({ name }) => name);
  return await runForMachines(names, { turns: limit, ended: onDone }, async (name) => {
    const own = worldFor(name);
    return await withFailureRecord(machineNamed(machines, name), failure ? world : own, async (save) => {
      if (failure) throw failure;
      return provisionToReady(machineNamed(machines, name), driver, own, save);
    });
  });
}

type BatchReservation = { readonly machines: Map<string, Machine>; readonly existedBefore: boolean };

/** All or none: nobody has been asked for anything yet, so one that is refused leaves the names of all as free as they were. */
async function reserveNames(specs: readonly MachineSpec[], world: World): Promise<BatchReservation> {
  const machines = new Map<string, Machine>();
  const before = await Promise.all(specs.map(async ({ name }) => world.store.find(name)));
  try {
    for (const spec of specs) machines.set(spec.name, (await reserveName(spec, world)).machine);
  } catch (error) {
    for (const { name } of specs.filter((_, at) => !before[at])) await world.store.remove(name);
    throw error;
  }
  return { machines, existedBefore: before.some((machine) => machine !== undefined) };
}

/** Has them all made by one call of the provider; `failure` is why they are not. */
async function requestMachines(
  driver: CloudDriver,
  { machines, existedBefore }: BatchReservation,
  world: World,
): Promise<{ readonly machines: ReadonlyMap<string, Machine>; readonly failure?: SlipwayError }> {
  const all = formatNameRange([...machines.keys()]);
  // A batch is begun within a moment, so what is true of one is true of all.
  announceAutoStop(firstOf([...machines.values()]), driver, world, `each of ${all}`);
  const boot = await createSharedFirstBootConfig(driver, [...machines.values()], world);
  const targets = [...machines.values()].map((machine) => targetOf(driver, machine.spec, machine));
  const recordRequest = async (what: string): Promise<void> => {
    for (const [name, machine] of machines) {
      if (machine.phase !== 'creating') continue;
      const asked = { ...machine, lastRequest: { what, at: world.now().toISOString() } };
      await world.store.write(asked);
      machines.set(name, asked);
    }
  };
  try {
    await world.progress.step('create', `Create ${all} (${driver.name}, one call)`, async (log) =>
      driver.cloud.createMany(targets, boot, { ...driverCallFor(world, log), recordRequest }),
    );
    if (existedBefore) await allowCallerIp(driver, firstOf(targets), world);
    return { machines };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { machines, failure: error };
  }
}

function specNamed(specs: readonly MachineSpec[], name: string): MachineSpec {
  const spec = specs.find((one) => one.name === name);
  if (!spec) throw new Error(`${name} is not one of those that are to be made`);
  return spec;
}

function machineNamed(machines: ReadonlyMap<string, Machine>, name: string): Machine {
  const machine = machines.get(name);
  if (!machine) throw new Error(`${name} is not of this batch`);
  return machine;
}

/** The login key and the host key of the first visit are one for all, since one call gives all the same; what lasts is each one's own. */
async function createSharedFirstBootConfig(
  driver: CloudDriver,
  machines: readonly Machine[],
  world: World,
): ReturnType<typeof createFirstBootConfig> {
  const names = machines.map(({ spec }) => spec.name);
  // What an earlier try gave to one of them first, then what this one makes.
  await shareFirstBootKeys(names, world.store);
  await createFirstBootConfig(firstOf(machines), driver, world);
  await shareFirstBootKeys(names, world.store);
  const boots = await Promise.all(machines.map(async (machine) => createFirstBootConfig(machine, driver, world)));
  return firstOf(boots);
}

function firstOf<T>(items: readonly T[]): T {
  const [first] = items;
  if (first === undefined) throw new Error('a batch has machines');
  return first;
}

async function lockAll(names: readonly string[], store: Store): Promise<AsyncDisposable> {
  const held: AsyncDisposable[] = [];
  const release = async (): Promise<void> => {
    for (const lock of held.splice(0)) await lock[Symbol.asyncDispose]();
  };
  try {
    // In one order, so that two commands never wait for each other's.
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
