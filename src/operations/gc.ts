import {
  loadCode,
  type CloudDriver,
  type CloudManifest,
  type CloudResource,
  type DriverManifest,
} from '../drivers/contract.ts';
import { drivers } from '../drivers/registry.ts';
import { SlipwayError } from '../errors.ts';
import { getStoreId } from '../machine/store-id.ts';
import { driverCallFor, type World } from './world.ts';
import type { MachineSpec } from '../machine/model.ts';

/** A resource at a provider that belongs to no record, with the options that its driver needs to reach it. */
export type Orphan = CloudResource & { readonly driver: string; readonly options: Readonly<Record<string, unknown>> };

/** A driver whose provider could not be queried, and why. */
export type OrphanQueryFailure = { readonly driver: string; readonly error: SlipwayError };

export type OrphanSearch = {
  /** The only driver to query; undefined for all drivers that have machines here or are usable here. */
  readonly driver: string | undefined;
  /** Returns a driver's options from flags and environment. */
  readonly optionsOf: (driver: CloudManifest) => Readonly<Record<string, unknown>>;
  /** The store whose resources to find: this one, another one by its id, or all. */
  readonly home: 'this' | 'all' | { readonly id: string };
};

export type OrphanSearchResult = {
  readonly orphans: readonly Orphan[];
  readonly failures: readonly OrphanQueryFailure[];
};

/** Finds orphans: resources at providers that belong to no record, for example after failures or a lost store. */
export async function findOrphans(search: OrphanSearch, world: World): Promise<OrphanSearchResult> {
  const ownStoreId = await getStoreId(world.computer);
  const home = search.home === 'all' ? undefined : search.home === 'this' ? ownStoreId : search.home.id;
  const specs = await listRecordedSpecs(world);
  const answers = await Promise.all(
    (await loadDriversToQuery(search, specs, world)).flatMap((driver) =>
      accountsToQuery(driver, search, specs).map((options) => queryDriver(driver, options, home, world)),
    ),
  );
  // Read after the providers have answered: a machine that is being created has its record before its resources.
  const known = await listRecordedSpecs(world);
  const owned = withoutDuplicates(answers.flatMap((answer) => answer.orphans));
  return {
    // Whatever store the tags name: a machine that was imported keeps the tags of the store that created it.
    orphans: owned.filter((resource) => !known.some((spec) => isOwnedBy(resource, spec))),
    failures: answers.flatMap((answer) => answer.failures),
  };
}

/** Deletes these orphans, which the user has confirmed. Refuses if an unreadable record may own one of them. */
export async function deleteOrphans(orphans: readonly Orphan[], world: World): Promise<void> {
  const broken = (await world.store.list()).find((item) => 'broken' in item);
  if (broken && 'broken' in broken) {
    throw new SlipwayError(
      'RECORD_BROKEN',
      `No resources were removed: the record of machine "${broken.name}" is unreadable, so its resources are unknown`,
      {
        hint: `Fix the record, or remove it first: slipway rm --force ${broken.name}`,
        cause: broken.broken,
      },
    );
  }
  const groups = [...new Set(orphans.map(groupKeyOf))].map((group) =>
    orphans.filter((orphan) => groupKeyOf(orphan) === group),
  );
  for (const group of groups) {
    const [first] = group;
    const [driver] = await loadClouds(({ name }) => name === first?.driver);
    if (!first || !driver) continue;
    await world.progress.step(
      'discard',
      `Remove ${group.length} ${group.length === 1 ? 'resource' : 'resources'} (${driver.name})`,
      async (log) =>
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

function isOwnedBy({ id, index }: CloudResource, { id: machineId, batch }: MachineSpec): boolean {
  return id === machineId || (batch?.id === id && (index === undefined || index === batch.index));
}

async function loadClouds(isWanted: (cloud: DriverManifest) => boolean): Promise<readonly CloudDriver[]> {
  const loaded = await Promise.all(
    drivers.filter((driver) => driver.kind === 'cloud' && isWanted(driver)).map(loadCode),
  );
  return loaded.filter((driver) => driver.kind === 'cloud');
}

/** Loads the named driver, or the clouds that can be queried on this computer or that have machines here. */
async function loadDriversToQuery(
  { driver: wanted }: OrphanSearch,
  specs: readonly MachineSpec[],
  { computer }: World,
): Promise<readonly CloudDriver[]> {
  if (wanted !== undefined) return await loadClouds(({ name }) => name === wanted);
  const withMachines = new Set(specs.map(({ driver }) => driver));
  const health = await Promise.all(drivers.map((driver) => driver.checkHealth?.(computer)));
  const unusable = new Set(drivers.filter((_, index) => health[index]?.usable === false));
  return await loadClouds((driver) => withMachines.has(driver.name) || !unusable.has(driver));
}

/** Returns the accounts to query: that of flags and environment, and those of this driver's machines. */
function accountsToQuery(
  driver: CloudManifest,
  { optionsOf }: OrphanSearch,
  specs: readonly MachineSpec[],
): readonly Readonly<Record<string, unknown>>[] {
  const current = optionsOf(driver);
  const pick = (options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
    Object.fromEntries(
      driver.account.options.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])),
    );
  const ofMachines = specs.filter((spec) => spec.driver === driver.name).map((spec) => pick(spec.options));
  const others = ofMachines.filter((options) => JSON.stringify(options) !== JSON.stringify(pick(current)));
  const all = [current, ...others];
  return [...new Map(all.map((options) => [JSON.stringify(options), options])).values()];
}

async function queryDriver(
  driver: CloudDriver,
  options: Readonly<Record<string, unknown>>,
  home: string | undefined,
  world: World,
): Promise<{ readonly orphans: readonly Orphan[]; readonly failures: readonly OrphanQueryFailure[] }> {
  try {
    const resources = await world.progress.step('gc', `List resources at ${driver.name}`, async (log) =>
      driver.cloud.listResources({ options: driver.options.parse(options), home }, driverCallFor(world, log)),
    );
    return { orphans: resources.map((resource) => ({ ...resource, driver: driver.name, options })), failures: [] };
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'CANCELED') throw error;
    return { orphans: [], failures: [{ driver: driver.name, error }] };
  }
}

function withoutDuplicates(resources: readonly Orphan[]): readonly Orphan[] {
  const keyOf = ({ driver, place, kind, resource }: Orphan): string => `${driver} ${place} ${kind} ${resource}`;
  return [...new Map(resources.map((orphan) => [keyOf(orphan), orphan])).values()];
}
