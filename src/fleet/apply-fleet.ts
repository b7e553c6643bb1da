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

/** The result for one machine. `machine` is its state now, or undefined once it is removed. */
export type FleetItemResult = { readonly item: FleetItem } & (
  | { readonly machine: Machine | undefined; readonly error?: never }
  | { readonly error: SlipwayError; readonly machine?: never }
);

export type ApplyContext = {
  readonly world: World;
  /** Returns the world with this machine's own progress. */
  readonly worldFor: (name: string) => World;
  /** Called once per machine, when no more work follows for it. */
  readonly onMachineDone: (name: string, error: SlipwayError | undefined) => void;
  readonly concurrency: number;
};

/** A unit of work: one machine, or the machines that one call to a provider creates. */
type ApplyJob = { readonly items: readonly FleetItem[]; readonly run: () => Promise<readonly FleetItemResult[]> };

/**
 * Carries out a plan with limited concurrency and returns one result per machine that was started. If a machine fails,
 * the others continue, except for removals: they come last, and only if every machine that should be created exists.
 */
export async function applyFleetPlan(
  { fleetId, items }: FleetPlan,
  context: ApplyContext,
): Promise<readonly FleetItemResult[]> {
  const jobContext: JobContext = {
    ...context,
    onMachineDone: reportOnce(context.onMachineDone),
    limit: concurrencyLimit(context.concurrency),
  };
  const work = items.filter(hasWork);
  const retained = work.filter(({ action }) => action !== 'remove');
  const retainedResults = await runJobs(jobsOf(retained, fleetId, jobContext), jobContext);
  const results = new Map(retainedResults.map((result) => [result.item.name, result]));
  const isIncomplete = retained.some(
    ({ name, action }) => CREATING_ACTIONS.has(action) && results.get(name)?.machine === undefined,
  );
  const removals = work.filter(({ action }) => action === 'remove');
  const removalJobs = isIncomplete ? [] : removals.map(toSingleJob(fleetId, jobContext));
  for (const result of await runJobs(removalJobs, jobContext)) results.set(result.item.name, result);
  return items.flatMap(({ name }) => results.get(name) ?? []);
}

const CREATING_ACTIONS: ReadonlySet<FleetItem['action']> = new Set(['create', 'finish', 'replace']);

type JobContext = ApplyContext & { readonly limit: ConcurrencyLimit };

/** Drops repeated reports: a batch reports each machine when it is done, and again when the whole job is done. */
function reportOnce(report: ApplyContext['onMachineDone']): ApplyContext['onMachineDone'] {
  const names = new Set<string>();
  return (name, error) => {
    if (!names.has(name)) report(name, error);
    names.add(name);
  };
}

async function runJobs(
  jobs: readonly ApplyJob[],
  { onMachineDone }: ApplyContext,
): Promise<readonly FleetItemResult[]> {
  const results = await Promise.all(
    jobs.map(async (job) => {
      const jobResults = await runJob(job);
      for (const { item, error } of jobResults) onMachineDone(item.name, error);
      return jobResults;
    }),
  );
  return results.flat();
}

async function runJob({ items, run }: ApplyJob): Promise<readonly FleetItemResult[]> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return items.map((item) => ({ item, error }));
  }
}

function jobsOf(work: readonly FleetItem[], fleetId: string, jobContext: JobContext): readonly ApplyJob[] {
  const groups = groupBatches(work);
  const batched = new Set(groups.flat());
  return [
    ...groups.map((group) => ({ items: group, run: async () => createBatch(group, fleetId, jobContext) })),
    ...work.filter((item) => !batched.has(item)).map(toSingleJob(fleetId, jobContext)),
  ];
}

function toSingleJob(
  fleetId: string,
  { world: { signal }, worldFor, limit }: JobContext,
): (item: FleetItem) => ApplyJob {
  return (item) => ({
    items: [item],
    run: async () =>
      limit(async () =>
        signal.aborted
          ? []
          : [{ item, machine: await actionHandlers[item.action](item, fleetId, worldFor(item.name)) }],
      ),
  });
}

/** Groups machines to create or finish by entry, if their provider creates many with one call. */
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
  fleetId: string,
  { world, worldFor, onMachineDone, limit }: JobContext,
): Promise<readonly FleetItemResult[]> {
  const results = await createMachines(
    group.map((item) => specFor(item, fleetId)),
    world,
    worldFor,
    ({ name, error }) => onMachineDone(name, error),
    limit,
  );
  return group.flatMap((item): readonly FleetItemResult[] => {
    const result = results.find(({ name }) => name === item.name);
    if (!result) throw new Error(`createMachines returned no result for ${item.name}`);
    if (!result.error) return [{ item, machine: result.value }];
    return result.started ? [{ item, error: result.error }] : [];
  });
}

const actionHandlers: Readonly<
  Record<FleetItem['action'], (item: FleetItem, fleetId: string, world: World) => Promise<Machine | undefined>>
> = {
  create: async (item, fleetId, world) => createMachine(specFor(item, fleetId), world),
  finish: async (item, fleetId, world) => createMachine(specFor(item, fleetId), world),
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

/** Validates the replacement fully before the current machine is removed. */
async function replaceMachine(item: FleetItem, fleetId: string, world: World): Promise<Machine> {
  if (!item.current) throw new Error(`${item.name} has no current machine to replace`);
  const spec = await resolveReplacement(item.current, specFor(item, fleetId), world);
  await removeAndReport(item.name, world);
  return await createResolvedMachine(spec, world);
}

async function removeAndReport(name: string, world: World): Promise<void> {
  const { contextReset } = await removeMachine(name, { deprovision: false, force: false }, world);
  if (contextReset) world.progress.note('The docker CLI uses its default context again');
}

function requireWantedSpec({ name, wanted }: FleetItem): WantedSpec {
  if (!wanted) throw new Error(`${name} has no wanted spec`);
  return wanted.spec;
}

/** Returns the full spec of a new machine, or of an incomplete one, which keeps the options resolved for it before. */
function specFor(item: FleetItem, fleetId: string): MachineSpec {
  const wanted = requireWantedSpec(item);
  const unfinished = item.action === 'finish' ? item.current?.spec : undefined;
  return unfinished ? withWantedSpec(unfinished, wanted) : { id: randomUUID(), fleet: fleetId, ...wanted };
}

/** Returns a machine's spec with the wanted settings. Its identity and the options resolved for it stay. */
function withWantedSpec(
  { lifetime: _life, sharing: _shared, ...before }: MachineSpec,
  wanted: WantedSpec,
): MachineSpec {
  return {
    ...before,
    ...keepResolvedOptions(before, wanted, getDriver(wanted.driver)),
    // A record without user options does not tell what the user gave, so none are written into it.
    ...(before.userOptions ? { userOptions: wanted.options } : {}),
  };
}
