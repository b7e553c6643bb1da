import { randomUUID } from 'node:crypto';
import type { Driver } from '../drivers/contract.ts';
import { driverNamed, targetOf } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { shareFirstKeys } from './credentials.ts';
import { begin, createMachine, settle } from './create.ts';
import { bootOf } from './first-boot.ts';
import { tellFate } from './lifetime.ts';
import { admit, provision } from './provision.ts';
import { recordingFailure } from './checkpoint.ts';
import { AT_ONCE, doEach, type Ended, notBegun, type Outcome, turnsFor, type Turns } from './concurrency.ts';
import { callOf, type World } from './world.ts';
import type { Machine, MachineSpec, Ready } from '../machine/model.ts';
import type { Store } from '../machine/store.ts';

/** How the making of one ended; for one that was ready before, nothing was begun. */
export type Made = Outcome<Ready>;

/** Machines of this computer's own, or of drivers without a call for many: each is a create of its own. */
const CREATES_AT_ONCE = 4;

/**
 * Makes machines of one kind, or finishes those whose making was stopped; one that fails keeps none of the others. `worldOf` is
 * the world with the machine's own progress; `ended` hears of each as soon as nothing more is done for it; `turns` are those of
 * other work that goes on meanwhile.
 */
export async function createMachines(
  wanted: readonly MachineSpec[],
  world: World,
  worldOf: (name: string) => World,
  ended: Ended = () => {},
  turns?: Turns,
): Promise<readonly Made[]> {
  const driver = driverNamed(wanted[0]?.driver ?? '');
  const before = await Promise.all(wanted.map(async ({ name }) => world.store.find(name)));
  const ready = before.filter((machine) => machine?.phase === 'ready');
  for (const machine of ready) if (machine) ended({ name: machine.spec.name });
  const left = wanted.filter(({ name }) => !ready.some((machine) => machine?.spec.name === name));
  const fresh = left.filter(({ name }) => !before.some((machine) => machine?.spec.name === name));
  const made = driver.createMany
    ? await createByOneCall(driver, left, { fresh, before, world, worldOf, ended, turns })
    : await createEach(left, { world, worldOf, ended, turns });
  return wanted.map(({ name }): Made => {
    const known = ready.find((machine) => machine?.spec.name === name);
    if (known?.phase === 'ready') return { name, value: known, begun: false };
    const one = made.find((done) => done.name === name);
    if (!one) throw new Error(`nothing was made of ${name}`);
    return one;
  });
}

type Making = {
  readonly world: World;
  readonly worldOf: (name: string) => World;
  readonly ended: Ended;
  readonly turns: Turns | undefined;
};

type Many = Making & { readonly fresh: readonly MachineSpec[]; readonly before: readonly (Machine | undefined)[] };

async function createByOneCall(
  driver: Driver,
  left: readonly MachineSpec[],
  { fresh, before, ...making }: Many,
): Promise<readonly Made[]> {
  const again = wholeBatch(left, before);
  const together = fresh.length > 1 ? inBatch(fresh) : again;
  const names = new Set(together.map(({ name }) => name));
  const alone = left.filter(({ name }) => !names.has(name));
  const [batch, singles] = await Promise.all([
    together.length > 0 ? createBatch(driver, together, making) : [],
    createEach(alone, making),
  ]);
  return [...batch, ...singles];
}

/** Each by a create of its own; after a Ctrl-C no other is begun. */
async function createEach(
  specs: readonly MachineSpec[],
  { world, worldOf, ended, turns = turnsFor(CREATES_AT_ONCE) }: Making,
): Promise<readonly Made[]> {
  return await doEach(
    specs.map(({ name }) => name),
    { turns, ended, signal: world.signal },
    async (name) => createMachine(specIn(specs, name), worldOf(name)),
  );
}

function inBatch(specs: readonly MachineSpec[]): readonly MachineSpec[] {
  const id = randomUUID();
  return specs.map((spec, index) => ({ ...spec, batch: { id, index, size: specs.length } }));
}

/**
 * The machines of one bulk call, when all of them are as half-made as it left them: only then does it mean the same again. The
 * provider is asked for what it was asked for; what it knows nothing of, the engine and the clients, is as it is wanted by now.
 */
function wholeBatch(wanted: readonly MachineSpec[], before: readonly (Machine | undefined)[]): readonly MachineSpec[] {
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
async function createBatch(driver: Driver, specs: readonly MachineSpec[], making: Making): Promise<readonly Made[]> {
  const { world, ended } = making;
  if (world.signal.aborted) return specs.map(({ name }) => notBegun(name));
  try {
    return await askedTogether(driver, specs, making);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    for (const { name } of specs) ended({ name, error });
    return specs.map(({ name }) => ({ name, error, begun: true }));
  }
}

async function askedTogether(
  driver: Driver,
  specs: readonly MachineSpec[],
  { world, worldOf, ended, turns = turnsFor(AT_ONCE) }: Making,
): Promise<readonly Made[]> {
  // What is decided for one is decided for all: they are of one kind.
  const { options, given } = await turns(async () => settle(driver, firstOf(specs), world));
  await using _locks = await lockAll(
    specs.map(({ name }) => name),
    world.store,
  );
  const alike = specs.map((spec) => ({ ...spec, options, ...(given ? { given } : {}) }));
  const { machines, failure } = await turns(async () => askForAll(driver, await beginAll(alike, world), world));
  // Also after a Ctrl-C: each of them has been asked for, and tells what there is of it.
  const names = specs.map(({ name }) => name);
  return await doEach(names, { turns, ended }, async (name) => {
    const own = worldOf(name);
    return await recordingFailure(machineIn(machines, name), failure ? world : own, async (save) => {
      if (failure) throw failure;
      return provision(machineIn(machines, name), driver, own, save);
    });
  });
}

type AllBegun = { readonly machines: Map<string, Machine>; readonly again: boolean };

/** All or none: nobody has been asked for anything yet, so one that is refused leaves the names of all as free as they were. */
async function beginAll(specs: readonly MachineSpec[], world: World): Promise<AllBegun> {
  const machines = new Map<string, Machine>();
  const before = await Promise.all(specs.map(async ({ name }) => world.store.find(name)));
  try {
    for (const spec of specs) machines.set(spec.name, (await begin(spec, world)).machine);
  } catch (error) {
    for (const { name } of specs.filter((_, at) => !before[at])) await world.store.remove(name);
    throw error;
  }
  return { machines, again: before.some((machine) => machine !== undefined) };
}

/** Has them all made by one call of the provider; `failure` is why they are not. */
async function askForAll(
  driver: Driver,
  { machines, again }: AllBegun,
  world: World,
): Promise<{ readonly machines: ReadonlyMap<string, Machine>; readonly failure?: SlipwayError }> {
  const all = range([...machines.keys()]);
  // A batch is begun within a moment, so what is true of one is true of all.
  tellFate(firstOf([...machines.values()]), driver, world, `each of ${all}`);
  const boot = await sharedBoot(driver, [...machines.values()], world);
  const targets = [...machines.values()].map((machine) => targetOf(driver, machine.spec, machine));
  const asking = async (what: string): Promise<void> => {
    for (const [name, machine] of machines) {
      if (machine.phase !== 'creating') continue;
      const asked = { ...machine, asked: { what, at: world.now().toISOString() } };
      await world.store.write(asked);
      machines.set(name, asked);
    }
  };
  try {
    await world.progress.step('create', `Create ${all} (${driver.name}, one call)`, async (log) =>
      driver.createMany?.(targets, boot, { ...callOf(world, log), asking }),
    );
    if (again) await admit(driver, firstOf(targets), world);
    return { machines };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { machines, failure: error };
  }
}

function specIn(specs: readonly MachineSpec[], name: string): MachineSpec {
  const spec = specs.find((one) => one.name === name);
  if (!spec) throw new Error(`${name} is not one of those that are to be made`);
  return spec;
}

function machineIn(machines: ReadonlyMap<string, Machine>, name: string): Machine {
  const machine = machines.get(name);
  if (!machine) throw new Error(`${name} is not of this batch`);
  return machine;
}

/** The login key and the host key of the first visit are one for all, since one call gives all the same; what lasts is each one's own. */
async function sharedBoot(driver: Driver, machines: readonly Machine[], world: World): ReturnType<typeof bootOf> {
  const names = machines.map(({ spec }) => spec.name);
  // What an earlier try gave to one of them first, then what this one makes.
  await shareFirstKeys(names, world.store);
  await bootOf(firstOf(machines), driver, world);
  await shareFirstKeys(names, world.store);
  const boots = await Promise.all(machines.map(async (machine) => bootOf(machine, driver, world)));
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

function range(names: readonly string[]): string {
  return names.length > 2 ? `${names[0]} … ${names.at(-1)}` : names.join(' and ');
}
