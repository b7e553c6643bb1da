import { randomUUID } from 'node:crypto';
import { driverNamed } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { takenOver } from '../machine/user-options.ts';
import { createMachines } from '../operations/create-many.ts';
import { changeMachine } from '../operations/change.ts';
import { createMachine, createSettled, settleInPlaceOf } from '../operations/create.ts';
import { removeMachine } from '../operations/remove.ts';
import { turnsFor, type Turns } from '../operations/concurrency.ts';
import type { World } from '../operations/world.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import type { WantedSpec } from './fleet.ts';
import { type FleetPlan, hasWork, type Item } from './plan.ts';

/** How it went with one machine; `machine` is what it is now, absent where it is gone. */
export type Done = { readonly item: Item } & (
  | { readonly machine: Machine | undefined; readonly error?: never }
  | { readonly error: SlipwayError; readonly machine?: never }
);

export type Doing = {
  readonly world: World;
  /** The world with this machine's own progress. */
  readonly worldOf: (name: string) => World;
  /** Nothing more will be done for this machine. */
  readonly ended: (name: string, error: SlipwayError | undefined) => void;
  readonly concurrency: number;
};

/** One thing for a few machines: for one, or for those that one call of a provider makes. */
type Job = { readonly items: readonly Item[]; readonly run: () => Promise<readonly Done[]> };

/**
 * Does what was planned, so many at a time, and tells how each ended. What fails keeps none of the others, but for removing: that comes
 * last, and only where everything that was to be made is there. What was not begun is not told of.
 */
export async function applyPlan({ mark, items }: FleetPlan, given: Doing): Promise<readonly Done[]> {
  const doing = { ...given, ended: once(given.ended), turns: turnsFor(given.concurrency) };
  const work = items.filter(hasWork);
  const kept = work.filter(({ deed }) => deed !== 'remove');
  const first = await doAll(jobsOf(kept, mark, doing), doing);
  const told = new Map(first.map((one) => [one.item.name, one]));
  const missing = kept.some(({ name, deed }) => MAKING.has(deed) && told.get(name)?.machine === undefined);
  const gone = work.filter(({ deed }) => deed === 'remove');
  const last = missing ? [] : await doAll(gone.map(alone(mark, doing)), doing);
  for (const one of last) told.set(one.item.name, one);
  return items.flatMap(({ name }) => told.get(name) ?? []);
}

const MAKING: ReadonlySet<Item['deed']> = new Set(['create', 'finish', 'replace']);

type Under = Doing & { readonly turns: Turns };

/** Of machines made together each ends by itself, and their job once more. */
function once(ended: Doing['ended']): Doing['ended'] {
  const names = new Set<string>();
  return (name, error) => {
    if (!names.has(name)) ended(name, error);
    names.add(name);
  };
}

async function doAll(jobs: readonly Job[], { ended }: Doing): Promise<readonly Done[]> {
  const ends = await Promise.all(
    jobs.map(async (job) => {
      const done = await outcome(job);
      for (const { item, error } of done) ended(item.name, error);
      return done;
    }),
  );
  return ends.flat();
}

async function outcome({ items, run }: Job): Promise<readonly Done[]> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return items.map((item) => ({ item, error }));
  }
}

function jobsOf(work: readonly Item[], mark: string, doing: Under): readonly Job[] {
  const groups = bulk(work);
  const together = new Set(groups.flat());
  return [
    ...groups.map((group) => ({ items: group, run: async () => createTogether(group, mark, doing) })),
    ...work.filter((item) => !together.has(item)).map(alone(mark, doing)),
  ];
}

function alone(mark: string, { world: { signal }, worldOf, turns }: Under): (item: Item) => Job {
  return (item) => ({
    items: [item],
    run: async () =>
      turns(async () =>
        signal.aborted ? [] : [{ item, machine: await deeds[item.deed](item, mark, worldOf(item.name)) }],
      ),
  });
}

/** Machines of one entry that are to be made, or finished, and whose provider makes many by one call. */
function bulk(items: readonly Item[]): readonly (readonly Item[])[] {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    if (!item.wanted || !['create', 'finish'].includes(item.deed) || !driverNamed(item.driver).createMany) continue;
    groups.set(item.wanted.entry, [...(groups.get(item.wanted.entry) ?? []), item]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

async function createTogether(
  group: readonly Item[],
  mark: string,
  { world, worldOf, ended, turns }: Under,
): Promise<readonly Done[]> {
  const made = await createMachines(
    group.map((item) => specFor(item, mark)),
    world,
    worldOf,
    ({ name, error }) => ended(name, error),
    turns,
  );
  return group.flatMap((item): readonly Done[] => {
    const one = made.find(({ name }) => name === item.name);
    if (!one) throw new Error(`createMachines has left out ${item.name}`);
    if (!one.error) return [{ item, machine: one.value }];
    return one.begun ? [{ item, error: one.error }] : [];
  });
}

const deeds: Readonly<Record<Item['deed'], (item: Item, mark: string, world: World) => Promise<Machine | undefined>>> =
  {
    create: async (item, mark, world) => createMachine(specFor(item, mark), world),
    finish: async (item, mark, world) => createMachine(specFor(item, mark), world),
    replace,
    change: async (item, _mark, world) => changeMachine(item.name, (before) => changed(before, wantedOf(item)), world),
    async remove({ name }, _mark, world) {
      await takeAway(name, world);
      return undefined;
    },
    nothing: async ({ before }) => before,
    async broken({ broken }) {
      throw broken;
    },
  };

/** What can be told beforehand is told before the machine that is there goes. */
async function replace(item: Item, mark: string, world: World): Promise<Machine> {
  if (!item.before) throw new Error(`there is no ${item.name} to be replaced`);
  const spec = await settleInPlaceOf(item.before, specFor(item, mark), world);
  await takeAway(item.name, world);
  return await createSettled(spec, world);
}

async function takeAway(name: string, world: World): Promise<void> {
  const { contextReset } = await removeMachine(name, { deprovision: false, force: false }, world);
  if (contextReset) world.progress.note('The docker CLI’s current context is its default again');
}

function wantedOf({ name, wanted }: Item): WantedSpec {
  if (!wanted) throw new Error(`nothing is wanted of ${name}`);
  return wanted.spec;
}

/** What is wanted, as a spec: of a new machine, or of the half-made one that goes on with what was settled for it. */
function specFor(item: Item, mark: string): MachineSpec {
  const wanted = wantedOf(item);
  const begun = item.deed === 'finish' ? item.before?.spec : undefined;
  const fresh = { id: randomUUID(), fleet: mark, ...wanted };
  return begun ? changed(begun, wanted) : fresh;
}

/** A machine's spec with what is wanted of it; it stays the one that it is. */
function changed({ life: _life, ...before }: MachineSpec, wanted: WantedSpec): MachineSpec {
  const settles = driverNamed(wanted.driver).settle !== undefined;
  return {
    ...before,
    ...wanted,
    options: takenOver(before, wanted.options, settles),
    // Where nobody knows what was given, nobody shall believe that it was this.
    ...(before.given ? { given: wanted.options } : {}),
  };
}
