import { randomUUID } from 'node:crypto';
import { driverNamed } from '../drivers/index.ts';
import { canceled, SlipwayError } from '../errors.ts';
import { takenOver } from '../given.ts';
import { createMachines } from '../lifecycle/bulk.ts';
import { changeMachine } from '../lifecycle/change.ts';
import { createMachine } from '../lifecycle/create.ts';
import { checkMachine } from '../lifecycle/provision.ts';
import { removeMachine } from '../lifecycle/remove.ts';
import type { World } from '../lifecycle/world.ts';
import type { Machine, MachineSpec } from '../machine.ts';
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

/** One thing at a time for a few machines: one, or those that one call of a provider makes. */
type Job = { readonly items: readonly Item[]; readonly run: () => Promise<readonly Done[]> };

/** Does what was planned, so many at a time. What fails keeps none of the others; each is told by its own end. */
export async function applyPlan(plan: FleetPlan, given: Doing): Promise<readonly Done[]> {
  const done = new Map<string, Done>();
  const doing = { ...given, ended: once(given.ended) };
  const queue = [...jobsOf(plan, doing)];
  const next = async (): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift())
      for (const one of await outcome(job, doing.world)) {
        done.set(one.item.name, one);
        doing.ended(one.item.name, one.error);
      }
  };
  await Promise.all(Array.from({ length: Math.min(doing.concurrency, queue.length) }, next));
  return plan.items.flatMap(({ name }) => done.get(name) ?? []);
}

/** Of machines made together each ends by itself, and their job once more. */
function once(ended: Doing['ended']): Doing['ended'] {
  const names = new Set<string>();
  return (name, error) => {
    if (!names.has(name)) ended(name, error);
    names.add(name);
  };
}

async function outcome({ items, run }: Job, { signal }: World): Promise<readonly Done[]> {
  try {
    if (signal.aborted) throw canceled();
    return await run();
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return items.map((item) => ({ item, error }));
  }
}

/** Removing comes last: what takes a machine's place is there before that one goes. */
function jobsOf({ mark, items }: FleetPlan, doing: Doing): readonly Job[] {
  const work = items.filter(hasWork);
  const groups = bulk(work);
  const together = new Set(groups.flat());
  const alone = work
    .filter((item) => !together.has(item))
    .toSorted((left, right) => Number(left.deed === 'remove') - Number(right.deed === 'remove'));
  return [
    ...groups.map((group) => ({ items: group, run: async () => createTogether(group, mark, doing) })),
    ...alone.map((item) => ({
      items: [item],
      run: async () => [{ item, machine: await deeds[item.deed](item, mark, doing.worldOf(item.name)) }],
    })),
  ];
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
  { world, worldOf, ended }: Doing,
): Promise<readonly Done[]> {
  const made = await createMachines(
    group.map((item) => specFor(item, mark)),
    world,
    worldOf,
    ({ name, error }) => ended(name, error),
  );
  return group.map((item): Done => {
    const one = made.find(({ name }) => name === item.name);
    if (!one) throw new Error(`createMachines has left out ${item.name}`);
    return one.error ? { item, error: one.error } : { item, machine: one.ready };
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
  const spec = specFor(item, mark);
  const { before } = item;
  // A port that the old one holds is free for the new one.
  const id = before?.spec.driver === spec.driver ? before.spec.id : spec.id;
  await checkMachine({ ...spec, id }, world);
  await takeAway(item.name, world);
  return await createMachine(spec, world);
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
