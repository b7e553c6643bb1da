import { randomUUID } from 'node:crypto';
import type { Driver } from '../drivers/driver.ts';
import { driverNamed, targetOf } from '../drivers/index.ts';
import { SlipwayError } from '../errors.ts';
import { shareFirstKeys } from './identity.ts';
import { begin, createMachine, settle } from './create.ts';
import { bootOf } from './first-start.ts';
import { tellFate } from './life.ts';
import { admit, provision } from './provision.ts';
import { recordingFailure } from './records.ts';
import { callOf, type World } from './world.ts';
import type { Machine, MachineSpec, Ready } from '../machine.ts';
import type { Store } from '../store.ts';

/** How one of many ended. */
export type Made = { readonly name: string } & (
  | { readonly ready: Ready; readonly before: boolean; readonly error?: never }
  | { readonly error: SlipwayError; readonly ready?: never }
);

type Ended = (one: { readonly name: string; readonly error?: SlipwayError }) => void;

/** SSH connections and provisioning at the same time; the provider's own work is one call for all. */
const AT_ONCE = 8;
/** Machines of this computer's own, or of drivers without a call for many: each is a create of its own. */
const CREATES_AT_ONCE = 4;

/**
 * Makes machines of one kind, or finishes those whose making was stopped; one that fails keeps none of the others. `worldOf` is
 * the world with the machine's own progress; `ended` hears of each as soon as nothing more is done for it.
 */
export async function createMachines(
  wanted: readonly MachineSpec[],
  world: World,
  worldOf: (name: string) => World,
  ended: Ended = () => {},
): Promise<readonly Made[]> {
  const driver = driverNamed(wanted[0]?.driver ?? '');
  const before = await Promise.all(wanted.map(async ({ name }) => world.store.find(name)));
  const ready = before.filter((machine) => machine?.phase === 'ready');
  for (const machine of ready) if (machine) ended({ name: machine.spec.name });
  const left = wanted.filter(({ name }) => !ready.some((machine) => machine?.spec.name === name));
  const fresh = left.filter(({ name }) => !before.some((machine) => machine?.spec.name === name));
  const made = driver.createMany
    ? await createByOneCall(driver, left, { fresh, before, world, worldOf, ended })
    : await each(left, CREATES_AT_ONCE, ended, (spec) => createMachine(spec, worldOf(spec.name)));
  return wanted.map(({ name }): Made => {
    const known = ready.find((machine) => machine?.spec.name === name);
    if (known?.phase === 'ready') return { name, ready: known, before: true };
    return (
      made.find((one) => one.name === name) ?? { name, error: new SlipwayError('CANCELED', `"${name}" was not begun`) }
    );
  });
}

type Many = {
  readonly fresh: readonly MachineSpec[];
  readonly before: readonly (Machine | undefined)[];
  readonly world: World;
  readonly worldOf: (name: string) => World;
  readonly ended: Ended;
};

async function createByOneCall(
  driver: Driver,
  left: readonly MachineSpec[],
  { fresh, before, world, worldOf, ended }: Many,
): Promise<readonly Made[]> {
  const again = wholeBatch(before);
  const together = fresh.length > 1 ? inBatch(fresh) : again;
  const names = new Set(together.map(({ name }) => name));
  const alone = left.filter(({ name }) => !names.has(name));
  const [batch, singles] = await Promise.all([
    together.length > 0 ? createBatch(driver, together, { world, worldOf, ended }) : [],
    each(alone, CREATES_AT_ONCE, ended, (spec) => createMachine(spec, worldOf(spec.name))),
  ]);
  return [...batch, ...singles];
}

function inBatch(specs: readonly MachineSpec[]): readonly MachineSpec[] {
  const id = randomUUID();
  return specs.map((spec, index) => ({ ...spec, batch: { id, index, size: specs.length } }));
}

/** The machines of one bulk call, when all of them are as half-made as it left them: only then does it mean the same again. */
function wholeBatch(before: readonly (Machine | undefined)[]): readonly MachineSpec[] {
  const half = before.flatMap((machine) => (machine?.phase === 'creating' ? [machine.spec] : []));
  const id = half.find(({ batch }) => batch !== undefined)?.batch?.id;
  const members = half.filter(({ batch }) => batch !== undefined && batch.id === id);
  return members.length > 0 && members.length === members[0]?.batch?.size ? members : [];
}

async function createBatch(
  driver: Driver,
  specs: readonly MachineSpec[],
  { world, worldOf, ended }: Pick<Many, 'world' | 'worldOf' | 'ended'>,
): Promise<readonly Made[]> {
  // What is decided for one is decided for all: they are of one kind.
  const { options, given } = await settle(driver, firstOf(specs), world);
  const names = specs.map(({ name }) => name);
  await using _locks = await lockAll(names, world.store);
  const machines = new Map<string, Machine>();
  let again = false;
  for (const spec of specs) {
    const begun = await begin({ ...spec, options, ...(given ? { given } : {}) }, world);
    again ||= begun.again;
    machines.set(spec.name, begun.machine);
  }
  // A batch is begun within a moment, so what is true of one is true of all.
  tellFate(firstOf([...machines.values()]), driver, world, `each of ${range(names)}`);
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
    await world.progress.step('create', `Create ${range(names)} (${driver.name}, one call)`, async (log) =>
      driver.createMany?.(targets, boot, { ...callOf(world, log), asking }),
    );
  } catch (error) {
    return await each(specs, AT_ONCE, ended, async ({ name }) =>
      recordingFailure(machineIn(machines, name), world, async () => {
        throw error;
      }),
    );
  }
  if (again) await admit(driver, firstOf(targets), world);
  return await each(specs, AT_ONCE, ended, async ({ name }) => {
    const own = worldOf(name);
    return await recordingFailure(machineIn(machines, name), own, async (save) => {
      return provision(machineIn(machines, name), driver, own, save);
    });
  });
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

/** So many at a time; a failure that the user can act on is this one's own, a bug is everyone's. */
async function each(
  specs: readonly MachineSpec[],
  atOnce: number,
  ended: Ended,
  work: (spec: MachineSpec) => Promise<Ready>,
): Promise<readonly Made[]> {
  const made: Made[] = [];
  const queue = [...specs];
  const next = async (): Promise<void> => {
    for (let spec = queue.shift(); spec !== undefined; spec = queue.shift()) {
      const { name } = spec;
      try {
        made.push({ name, ready: await work(spec), before: false });
        ended({ name });
      } catch (error) {
        if (!(error instanceof SlipwayError)) throw error;
        made.push({ name, error });
        ended({ name, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, specs.length) }, next));
  return made;
}

function range(names: readonly string[]): string {
  return names.length > 2 ? `${names[0]} … ${names.at(-1)}` : names.join(' and ');
}
