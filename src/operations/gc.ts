import { loadCode, type CloudDriver, type CloudManifest, type CloudResource } from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { getHomeId } from '../machine/store-id.ts';
import { driverCallFor, type World } from './world.ts';
import type { MachineSpec } from '../machine/model.ts';

/** Something of ours at a provider that no record knows, and how its driver reaches it. */
export type Orphan = CloudResource & { readonly driver: string; readonly options: Readonly<Record<string, unknown>> };

/** What a driver could not be asked, and why. */
export type OrphanQueryFailure = { readonly driver: string; readonly error: SlipwayError };

export type OrphanSearch = {
  /** Only this driver; else all that have machines here or could work here. */
  readonly driver: string | undefined;
  /** A driver's options as flags and environment have them. */
  readonly optionsOf: (driver: CloudManifest) => Readonly<Record<string, unknown>>;
  /** This store, one by its id, or all of them. */
  readonly home: 'this' | 'all' | { readonly id: string };
};

export type OrphanSearchResult = {
  readonly orphans: readonly Orphan[];
  readonly failures: readonly OrphanQueryFailure[];
};

/** What providers have of ours that no record knows: the leftovers of lost stores and of what went wrong elsewhere. */
export async function findOrphans(search: OrphanSearch, world: World): Promise<OrphanSearchResult> {
  const own = await getHomeId(world.computer);
  const home = search.home === 'all' ? undefined : search.home === 'this' ? own : search.home.id;
  const specs = await listRecordedSpecs(world);
  const asked = await Promise.all(
    (await loadDriversToQuery(search, specs, world)).flatMap((driver) =>
      accountsToQuery(driver, search, specs).map((options) => queryDriver(driver, options, home, world)),
    ),
  );
  // Read after the providers were asked: what is being made meanwhile has its record first.
  const known = await listRecordedSpecs(world);
  const owned = withoutDuplicates(asked.flatMap((answer) => answer.owned));
  return {
    orphans: owned.filter((thing) => thing.home !== own || !known.some((spec) => isOwnedBy(thing, spec))),
    failures: asked.flatMap(({ unasked }) => unasked),
  };
}

/** Removes these, which the user has seen. */
export async function deleteOrphans(strays: readonly Orphan[], world: World): Promise<void> {
  const broken = (await world.store.list()).find((item) => 'broken' in item);
  if (broken && 'broken' in broken) {
    throw new SlipwayError(
      'RECORD_BROKEN',
      `Nothing is removed: what belongs to "${broken.name}" is not known, since its record can't be read`,
      {
        hint: `Mend it, or forget it first: slipway rm --force ${broken.name}`,
        cause: broken.broken,
      },
    );
  }
  const groups = [...new Set(strays.map(groupKeyOf))].map((group) =>
    strays.filter((stray) => groupKeyOf(stray) === group),
  );
  for (const group of groups) {
    const [first] = group;
    const driver = (await loadClouds()).find(({ name }) => name === first?.driver);
    if (!first || !driver) continue;
    await world.progress.step('discard', `Remove ${group.length} of ${driver.name}`, async (log) =>
      driver.cloud.deleteResources(group, driver.options.parse(first.options), driverCallFor(world, log)),
    );
  }
}

function groupKeyOf({ driver, options }: Orphan): string {
  return JSON.stringify([driver, options]);
}

async function listRecordedSpecs({ store }: World): Promise<readonly MachineSpec[]> {
  return (await store.list()).flatMap((item) => ('machine' in item ? [item.machine.spec] : []));
}

function isOwnedBy({ id, index }: CloudResource, { id: own, batch }: MachineSpec): boolean {
  return id === own || (batch?.id === id && (index === undefined || index === batch.index));
}

async function loadClouds(): Promise<readonly CloudDriver[]> {
  const loaded = await Promise.all(drivers.filter(({ kind }) => kind === 'cloud').map(loadCode));
  return loaded.filter((driver) => driver.kind === 'cloud');
}

async function loadDriversToQuery(
  { driver }: OrphanSearch,
  specs: readonly MachineSpec[],
  { computer }: World,
): Promise<readonly CloudDriver[]> {
  const able = await loadClouds();
  if (driver !== undefined) return able.filter(({ name }) => name === driver);
  const usable = await Promise.all(
    able.map(async (one) => specs.some((spec) => spec.driver === one.name) || (await one.health(computer)).usable),
  );
  return able.filter((_, at) => usable[at]);
}

/** The accounts and endpoints to ask: the one that is asked for now, and those of this driver's machines. */
function accountsToQuery(
  driver: CloudManifest,
  { optionsOf }: OrphanSearch,
  specs: readonly MachineSpec[],
): readonly Readonly<Record<string, unknown>>[] {
  const now = optionsOf(driver);
  const pick = (options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
    Object.fromEntries(
      driver.account.options.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])),
    );
  const theirs = specs.filter((spec) => spec.driver === driver.name).map((spec) => pick(spec.options));
  const others = theirs.filter((options) => JSON.stringify(options) !== JSON.stringify(pick(now)));
  // Without a machine of its own the present environment is all there is to go by.
  const all = [now, ...others];
  return [...new Map(all.map((options) => [JSON.stringify(options), options])).values()];
}

async function queryDriver(
  driver: CloudDriver,
  options: Readonly<Record<string, unknown>>,
  home: string | undefined,
  world: World,
): Promise<{ readonly owned: readonly Orphan[]; readonly unasked: readonly OrphanQueryFailure[] }> {
  try {
    const things = await world.progress.step('gc', `Ask ${driver.name} what it has of ours`, async (log) =>
      driver.cloud.listResources({ options: driver.options.parse(options), home }, driverCallFor(world, log)),
    );
    return { owned: things.map((thing) => ({ ...thing, driver: driver.name, options })), unasked: [] };
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    return { owned: [], unasked: [{ driver: driver.name, error }] };
  }
}

function withoutDuplicates(things: readonly Orphan[]): readonly Orphan[] {
  return [
    ...new Map(
      things.map((thing) => [`${thing.driver} ${thing.place} ${thing.kind} ${thing.resource}`, thing]),
    ).values(),
  ];
}
