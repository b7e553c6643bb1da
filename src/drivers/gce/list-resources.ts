import { deleteByKind, oneByOne, toCloudResource } from '../cloud/list-resources.ts';
import { addCosts } from '../cloud/prices.ts';
import { parseBatchIndex } from '../cloud/resource-names.ts';
import { parseTaggedDescription } from '../cloud/tags.ts';
import type { DriverCall, CloudResource } from '../contract.ts';
import { deleteAddress } from './addresses.ts';
import { resourceNameOf, withGce } from './client.ts';
import { type FirewallRule, deleteFirewallRule } from './firewall-rules.ts';
import type { GceInstance } from './instances.ts';
import type { GceOptions } from './options.ts';
import { addressMonthlyCost, diskMonthlyCost, IDLE_ADDRESS_MONTHLY_COST, instanceMonthlyCost } from './prices.ts';
import { deleteDisk, deleteInstance } from './remove-machine.ts';

type GceDisk = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
  readonly zone?: string;
  readonly type?: string;
  readonly sizeGb?: string | number;
  readonly users?: readonly string[];
};
type DescribedResource = Pick<FirewallRule, 'name' | 'description' | 'creationTimestamp'>;
type GceAddress = DescribedResource & { readonly region?: string; readonly status?: string };

/** Lists the resources of one store of machines, or of all stores, in the project. */
export async function listResources(
  { options, home }: { readonly options: GceOptions; readonly home: string | undefined },
  call: DriverCall,
): Promise<readonly CloudResource[]> {
  return await withGce(options, call, async (gce) => {
    const doing = 'listing the resources of Slipway';
    const filter = home === undefined ? 'labels.slipway-id:*' : `labels.slipway-home=${home}`;
    const [instances, disks, addresses, firewalls] = await Promise.all([
      gce.list<GceInstance>(doing, 'InstancesClient', 'aggregatedList', { filter }),
      gce.list<GceDisk>(doing, 'DisksClient', 'aggregatedList', { filter }),
      gce.list<GceAddress>(doing, 'AddressesClient', 'aggregatedList', {}),
      gce.list<FirewallRule>(doing, 'FirewallsClient', 'list', {}),
    ]);
    // An emulator ignores filters, and lists other resources too.
    const isOwned = ({ labels = {} }: Pick<GceInstance, 'labels'>): boolean =>
      home === undefined ? labels['slipway-id'] !== undefined : labels['slipway-home'] === home;
    return [
      ...instances.filter(isOwned).map((instance) => toOwnedInstance(instance, disks)),
      ...disks.filter((disk) => isOwned(disk) && (disk.users ?? []).length === 0).map(toOwnedDisk),
      ...addresses.flatMap((address) => toOwnedAddress(address, home)),
      ...firewalls.flatMap((rule) => toOwnedFirewallRule(rule, home)),
    ];
  });
}

function toOwnedInstance(instance: GceInstance, allDisks: readonly GceDisk[]): CloudResource {
  const { name = '', status = '', machineType, zone, scheduling, labels = {}, creationTimestamp } = instance;
  const hasAddress = instance.networkInterfaces?.some(({ accessConfigs = [] }) => accessConfigs.length > 0) === true;
  const stopped = ['STOPPING', 'STOPPED', 'TERMINATED', 'SUSPENDED'].includes(status);
  const spot = scheduling?.preemptible === true || scheduling?.provisioningModel === 'SPOT';
  const disks = allDisks.filter(
    (disk) =>
      resourceNameOf(disk.zone) === resourceNameOf(zone) && disk.users?.some((user) => resourceNameOf(user) === name),
  );
  return toCloudResource(labels, {
    kind: 'instance',
    resource: name,
    place: resourceNameOf(zone),
    index: parseBatchIndex(name, labels['slipway-id'] ?? ''),
    state: status.toLowerCase(),
    createdAt: parseTimestamp(creationTimestamp),
    monthly: addCosts(
      instanceMonthlyCost(resourceNameOf(machineType), { spot, stopped }),
      // A stopped instance keeps only a reserved address, which is listed by itself.
      hasAddress && !stopped ? addressMonthlyCost({ spot }) : 0,
      ...disks.map(monthlyCostOfDisk),
    ),
  });
}

function toOwnedDisk(disk: GceDisk): CloudResource {
  return toCloudResource(disk.labels ?? {}, {
    kind: 'disk',
    resource: disk.name ?? '',
    place: resourceNameOf(disk.zone),
    state: 'unused',
    createdAt: parseTimestamp(disk.creationTimestamp),
    monthly: monthlyCostOfDisk(disk),
  });
}

const monthlyCostOfDisk = ({ type, sizeGb = 0 }: GceDisk): number | undefined =>
  diskMonthlyCost(resourceNameOf(type), Number(sizeGb));

function toOwnedAddress(address: GceAddress, home: string | undefined): readonly CloudResource[] {
  const { status = '', region } = address;
  return toDescribedResource(address, home, {
    kind: 'address',
    place: resourceNameOf(region),
    state: status.toLowerCase(),
    monthly: status === 'RESERVED' ? IDLE_ADDRESS_MONTHLY_COST : 0,
  });
}

function toOwnedFirewallRule(rule: FirewallRule, home: string | undefined): readonly CloudResource[] {
  return toDescribedResource(rule, home, { kind: 'firewall', place: 'global', state: '', monthly: 0 });
}

/**
 * Returns a resource without labels, whose description has the owner tags; an empty list if Slipway did not create it,
 * or it belongs to another store.
 */
function toDescribedResource(
  { name = '', description, creationTimestamp }: DescribedResource,
  home: string | undefined,
  known: Pick<CloudResource, 'kind' | 'place' | 'state' | 'monthly'>,
): readonly CloudResource[] {
  const tags = name.startsWith('slipway-') ? parseTaggedDescription(description) : undefined;
  if (!tags || (home !== undefined && tags['slipway-home'] !== home)) return [];
  return [toCloudResource(tags, { resource: name, createdAt: parseTimestamp(creationTimestamp), ...known })];
}

function parseTimestamp(timestamp: string | undefined): Date | undefined {
  return timestamp === undefined || timestamp === '' ? undefined : new Date(timestamp);
}

/** Deletes these resources and no others. */
export async function deleteResources(
  resources: readonly CloudResource[],
  options: GceOptions,
  call: DriverCall,
): Promise<void> {
  await withGce(options, call, (gce) =>
    deleteByKind(resources, {
      instance: oneByOne((name, zone) => deleteInstance(gce, name, zone)),
      disk: oneByOne((name, zone) => deleteDisk(gce, name, zone)),
      address: oneByOne((name, region) => deleteAddress(gce, name, region)),
      firewall: oneByOne((name) => deleteFirewallRule(gce, name)),
    }),
  );
}
