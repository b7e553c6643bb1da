import type { DriverCall, CloudResource } from '../contract.ts';
import { type GceConnection, resourceNameOf, withGce } from './client.ts';
import type { GceInstance } from './existing-instance.ts';
import { type FirewallRule, parseOwnerLabels, deleteFirewallRule } from './firewall-rules.ts';
import type { GceOptions } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { deleteAddress, deleteDisk, deleteInstance } from './remove-machine.ts';

type LabeledResource = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
};
type GceDisk = LabeledResource & {
  readonly zone?: string;
  readonly type?: string;
  readonly sizeGb?: string | number;
  readonly users?: readonly string[];
};
type GceAddress = FirewallRule & { readonly region?: string; readonly status?: string };

/** An unused address, a month. */
const IDLE_ADDRESS_MONTHLY_COST = 7.3;

export async function listResources(
  options: GceOptions,
  home: string | undefined,
  call: DriverCall,
): Promise<readonly CloudResource[]> {
  return await withGce(options, call, async (gce) => {
    const doing = 'looking for what is left over';
    const filter = home === undefined ? 'labels.slipway-id:*' : `labels.slipway-home=${home}`;
    const [instances, disks, addresses, firewalls] = await Promise.all([
      gce.list<GceInstance>(doing, 'InstancesClient', 'aggregatedList', { filter }),
      gce.list<GceDisk>(doing, 'DisksClient', 'aggregatedList', { filter }),
      gce.list<GceAddress>(doing, 'AddressesClient', 'aggregatedList', {}),
      gce.list<FirewallRule>(doing, 'FirewallsClient', 'list', {}),
    ]);
    // A list may show more than was asked for.
    const isOurs = ({ labels = {} }: Pick<LabeledResource, 'labels'>): boolean =>
      home === undefined ? labels['slipway-id'] !== undefined : labels['slipway-home'] === home;
    return [
      ...instances.filter(isOurs).map((instance) => toOwnedInstance(instance, disks)),
      ...disks.filter((disk) => isOurs(disk) && (disk.users ?? []).length === 0).map(toOwnedDisk),
      ...addresses.flatMap((address) => toOwnedAddress(address, home)),
      ...firewalls.flatMap((rule) => toOwnedFirewallRule(rule, home)),
    ];
  });
}

function ownershipOf({
  name = '',
  labels = {},
  creationTimestamp,
}: LabeledResource): Pick<CloudResource, 'id' | 'index' | 'name' | 'home' | 'resource' | 'made'> {
  return {
    id: labels['slipway-id'] ?? '',
    // Of a batch, the name ends with the place in it and the beginning of the batch's id.
    index: batchIndexOf(name, labels['slipway-id'] ?? ''),
    name: labels['slipway-name'] ?? '',
    home: labels['slipway-home'] ?? '',
    resource: name,
    made: parseTimestamp(creationTimestamp),
  };
}

function batchIndexOf(name: string, id: string): number | undefined {
  const [, index] = new RegExp(`-(\\d+)-${id.replaceAll('-', '').slice(0, 8)}$`).exec(name) ?? [];
  return index === undefined ? undefined : Number(index);
}

function toOwnedInstance(instance: GceInstance, all: readonly GceDisk[]): CloudResource {
  const { name, status = '', machineType, zone, scheduling } = instance;
  const stopped = ['STOPPING', 'STOPPED', 'TERMINATED', 'SUSPENDED'].includes(status);
  const spot = scheduling?.preemptible === true || scheduling?.provisioningModel === 'SPOT';
  const machine = instanceMonthlyCost(resourceNameOf(machineType), stopped, spot);
  const disks = all.filter(({ users = [], zone: place }) =>
    users.some((user) => resourceNameOf(user) === name && resourceNameOf(place) === resourceNameOf(zone)),
  );
  const kept = disks.map(({ sizeGb = 0, type }) => diskMonthlyCost(resourceNameOf(type), Number(sizeGb)));
  return {
    ...ownershipOf(instance),
    kind: 'instance',
    place: resourceNameOf(zone),
    state: status.toLowerCase(),
    monthly: [machine, ...kept].reduce(
      (left, right) => (left === undefined || right === undefined ? undefined : left + right),
      0,
    ),
  };
}

function toOwnedDisk(disk: GceDisk): CloudResource {
  return {
    ...ownershipOf(disk),
    index: undefined,
    kind: 'disk',
    place: resourceNameOf(disk.zone),
    state: 'unused',
    monthly: diskMonthlyCost(resourceNameOf(disk.type), Number(disk.sizeGb ?? 0)),
  };
}

function toOwnedAddress(address: GceAddress, home: string | undefined): readonly CloudResource[] {
  const { status = '', region } = address;
  return toOwnedByDescription(address, home, {
    kind: 'address',
    place: resourceNameOf(region),
    state: status.toLowerCase(),
    monthly: status === 'RESERVED' ? IDLE_ADDRESS_MONTHLY_COST : 0,
  });
}

function toOwnedFirewallRule(rule: FirewallRule, home: string | undefined): readonly CloudResource[] {
  return toOwnedByDescription(rule, home, { kind: 'firewall', place: 'global', state: '', monthly: 0 });
}

/** What has no labels carries the marks in its description. */
function toOwnedByDescription(
  { name = '', description, creationTimestamp }: FirewallRule,
  home: string | undefined,
  more: Pick<CloudResource, 'kind' | 'place' | 'state' | 'monthly'>,
): readonly CloudResource[] {
  const marks = name.startsWith('slipway-') ? parseOwnerLabels(description) : undefined;
  if (!marks || (home !== undefined && marks['slipway-home'] !== home)) return [];
  return [
    {
      id: marks['slipway-id'],
      index: undefined,
      name: marks['slipway-name'],
      home: marks['slipway-home'],
      resource: name,
      made: parseTimestamp(creationTimestamp),
      ...more,
    },
  ];
}

function parseTimestamp(timestamp: string | undefined): Date | undefined {
  return timestamp === undefined || timestamp === '' ? undefined : new Date(timestamp);
}

/** These and nothing else. Instances first: they hold what the others are. */
export async function deleteResources(
  things: readonly CloudResource[],
  options: GceOptions,
  call: DriverCall,
): Promise<void> {
  await withGce(options, call, async (gce: GceConnection) => {
    for (const { resource, place } of resourcesOfKind(things, 'instance')) await deleteInstance(gce, resource, place);
    for (const { resource, place } of resourcesOfKind(things, 'disk')) await deleteDisk(gce, resource, place);
    for (const { resource, place } of resourcesOfKind(things, 'address')) await deleteAddress(gce, resource, place);
    for (const { resource } of resourcesOfKind(things, 'firewall')) await deleteFirewallRule(gce, resource);
  });
}

function resourcesOfKind(things: readonly CloudResource[], kind: CloudResource['kind']): readonly CloudResource[] {
  return things.filter((thing) => thing.kind === kind);
}
