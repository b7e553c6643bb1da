import { randomUUID } from 'node:crypto';
import { getDriver } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { createMachines } from '../operations/create-many.ts';
import { changeMachine } from '../operations/change.ts';
import { createMachine, createResolvedMachine, resolveReplacement } from '../operations/create.ts';
import { keepResolvedOptions } from '../operations/diff-specs.ts';
import { removeMachine } from '../operations/remove.ts';
import { concurrencyLimit, type ConcurrencyLimit } from '../operations/concurrency.ts';
import type { World } from '../operations/world.ts';
import type { Machine, MachineSpec } from '../machine/model.ts';
import type { WantedSpec } from './build-fleet.ts';
import { type FleetPlan, hasWork, type FleetItem } from './plan-fleet.ts';

/** How it went with one machine; `machine` is what it is now, absent where it is gone. */
export type FleetItemResult = { readonly item: FleetItem } & (
  | { readonly machine: Machine | undefined; readonly error?: never }
  | { readonly error: SlipwayError; readonly machine?: never }
);

export type ApplyContext = {
  readonly world: World;
  /** The world with this machine's own progress. */
  readonly worldFor: (name: string) => World;
  /** Nothing more will be done for this machine. */
  readonly onMachineDone: (name: string, error: SlipwayError | undefined) => void;
  readonly concurrency: number;
};

/** One thing for a few machines: for one, or for those that one call of a provider makes. */
type ApplyJob = { readonly items: readonly FleetItem[]; readonly run: () => Promise<readonly FleetItemResult[]> };

/**
 * Does what was planned, so many at a time, and tells how each ended. What fails keeps none of the others, but for
 * removing: that comes last, and only where everything that was to be made is there. What was not begun is not told of.
 */
export async function applyFleetPlan(
  { fleetId, items }: FleetPlan,
  given: ApplyContext,
): Promise<readonly FleetItemResult[]> {
  const doing: JobContext = {
    ...given,
    onMachineDone: reportOnce(given.onMachineDone),
    limit: concurrencyLimit(given.concurrency),
  };
  const work = items.filter(hasWork);
  const kept = work.filter(({ action }) => action !== 'remove');
  const first = await runJobs(jobsOf(kept, fleetId, doing), doing);
  const told = new Map(first.map((one) => [one.item.name, one]));
  const missing = kept.some(
    ({ name, action }) => CREATING_ACTIONS.has(action) && told.get(name)?.machine === undefined,
  );
  const gone = work.filter(({ action }) => action === 'remove');
  const last = missing ? [] : await runJobs(gone.map(toSingleJob(fleetId, doing)), doing);
  for (const one of last) told.set(one.item.name, one);
  return items.flatMap(({ name }) => told.get(name) ?? []);
}

const CREATING_ACTIONS: ReadonlySet<FleetItem['action']> = new Set(['create', 'finish', 'replace']);

type JobContext = ApplyContext & { readonly limit: ConcurrencyLimit };

/** Of machines made together each ends by itself, and their job once more. */
function reportOnce(ended: ApplyContext['onMachineDone']): ApplyContext['onMachineDone'] {
  const names = new Set<string>();
  return (name, error) => {
    if (!names.has(name)) ended(name, error);
    names.add(name);
  };
}

async function runJobs(
  jobs: readonly ApplyJob[],
  { onMachineDone }: ApplyContext,
): Promise<readonly FleetItemResult[]> {
  const ends = await Promise.all(
    jobs.map(async (job) => {
      const done = await runJob(job);
      for (const { item, error } of done) onMachineDone(item.name, error);
      return done;
    }),
  );
  return ends.flat();
}

async function runJob({ items, run }: ApplyJob): Promise<readonly FleetItemResult[]> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return items.map((item) => ({ item, error }));
  }
}

function jobsOf(work: readonly FleetItem[], mark: string, doing: JobContext): readonly ApplyJob[] {
  const groups = groupBatches(work);
  const together = new Set(groups.flat());
  return [
    ...groups.map((group) => ({ items: group, run: async () => createBatch(group, mark, doing) })),
    ...work.filter((item) => !together.has(item)).map(toSingleJob(mark, doing)),
  ];
}

function toSingleJob(mark: string, { world: { signal }, worldFor, limit }: JobContext): (item: FleetItem) => ApplyJob {
  return (item) => ({
    items: [item],
    run: async () =>
      limit(async () =>
        signal.aborted ? [] : [{ item, machine: await actionHandlers[item.action](item, mark, worldFor(item.name)) }],
      ),
  });
}

/** Machines of one entry that are to be made, or finished, and whose provider makes many by one call. */
function groupBatches(items: readonly FleetItem[]): readonly (readonly FleetItem[])[] {
  const groups = new Map<string, FleetItem[]>();
  for (const item of items) {
    if (!item.wanted || !['create', 'finish'].includes(item.action) || getDriver(item.driver).kind !== 'cloud')
      continue;
    groups.set(item.wanted.entry, [...(groups.get(item.wanted.entry) ?? []), item]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

async function createBatch(
  group: readonly FleetItem[],
  mark: string,
  { world, worldFor, onMachineDone, limit }: JobContext,
): Promise<readonly FleetItemResult[]> {
  const made = await createMachines(
    group.map((item) => specFor(item, mark)),
    world,
    worldFor,
    ({ name, error }) => onMachineDone(name, error),
    limit,
  );
  return group.flatMap((item): readonly FleetItemResult[] => {
    const one = made.find(({ name }) => name === item.name);
    if (!one) throw new Error(`createMachines has left out ${item.name}`);
    if (!one.error) return [{ item, machine: one.value }];
    return one.started ? [{ item, error: one.error }] : [];
  });
}

const actionHandlers: Readonly<
  Record<FleetItem['action'], (item: FleetItem, mark: string, world: World) => Promise<Machine | undefined>>
> = {
  create: async (item, mark, world) => createMachine(specFor(item, mark), world),
  finish: async (item, mark, world) => createMachine(specFor(item, mark), world),
  replace: replaceMachine,
  change: async (item, _mark, world) =>
    changeMachine(item.name, (before) => withWantedSpec(before, requireWantedSpec(item)), world),
  async remove({ name }, _mark, world) {
    await removeAndReport(name, world);
    return undefined;
  },
  nothing: async ({ current }) => current,
  async broken({ broken }) {
    throw broken;
  },
};

/** What can be told beforehand is told before the machine that is there goes. */
async function replaceMachine(item: FleetItem, mark: string, world: World): Promise<Machine> {
  if (!item.current) throw new Error(`there is no ${item.name} to be replaced`);
  const spec = await resolveReplacement(item.current, specFor(item, mark), world);
  await removeAndReport(item.name, world);
  return await createResolvedMachine(spec, world);
}

async function removeAndReport(name: string, world: World): Promise<void> {
  const { contextReset } = await removeMachine(name, { deprovision: false, force: false }, world);
  if (contextReset) world.progress.note("The docker CLI's current context is its default again");
}

function requireWantedSpec({ name, wanted }: FleetItem): WantedSpec {
  if (!wanted) throw new Error(`nothing is wanted of ${name}`);
  return wanted.spec;
}

/** What is wanted, as a spec: of a new machine, or of the half-made one that goes on with what was settled for it. */
function specFor(item: FleetItem, mark: string): MachineSpec {
  const wanted = requireWantedSpec(item);
  const begun = item.action === 'finish' ? item.current?.spec : undefined;
  const fresh = { id: randomUUID(), fleet: mark, ...wanted };
  return begun ? withWantedSpec(begun, wanted) : fresh;
}

/** A machine's spec with what is wanted of it; it stays the one that it is. */
function withWantedSpec({ lifetime: _life, ...before }: MachineSpec, wanted: WantedSpec): MachineSpec {
  return {
    ...before,
    ...keepResolvedOptions(before, wanted, getDriver(wanted.driver)),
    // Where nobody knows what was given, nobody shall believe that it was this.
    ...(before.userOptions ? { userOptions: wanted.options } : {}),
  };
}
