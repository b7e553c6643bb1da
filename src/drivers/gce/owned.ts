import type { Call, Owned } from '../contract.ts';
import { type Gce, nameIn, withGce } from './client.ts';
import type { Instance } from './existing.ts';
import { type Firewall, marksIn, removeFirewall } from './firewall.ts';
import type { Options } from './options.ts';
import { diskMonthly, machineMonthly } from './prices.ts';
import { removeAddress, removeDisk, removeInstance } from './remove.ts';

type Labelled = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
};
type Disk = Labelled & {
  readonly zone?: string;
  readonly type?: string;
  readonly sizeGb?: string | number;
  readonly users?: readonly string[];
};
type Address = Firewall & { readonly region?: string; readonly status?: string };

/** An unused address, a month. */
const IDLE_ADDRESS = 7.3;

export async function ownedIn(options: Options, home: string | undefined, call: Call): Promise<readonly Owned[]> {
  return await withGce(options, call, async (gce) => {
    const doing = 'looking for what is left over';
    const filter = home === undefined ? 'labels.slipway-id:*' : `labels.slipway-home=${home}`;
    const [instances, disks, addresses, firewalls] = await Promise.all([
      gce.list<Instance>(doing, 'InstancesClient', 'aggregatedList', { filter }),
      gce.list<Disk>(doing, 'DisksClient', 'aggregatedList', { filter }),
      gce.list<Address>(doing, 'AddressesClient', 'aggregatedList', {}),
      gce.list<Firewall>(doing, 'FirewallsClient', 'list', {}),
    ]);
    // A list may show more than was asked for.
    const isOurs = ({ labels = {} }: Pick<Labelled, 'labels'>): boolean =>
      home === undefined ? labels['slipway-id'] !== undefined : labels['slipway-home'] === home;
    return [
      ...instances.filter(isOurs).map((instance) => ownedInstance(instance, disks)),
      ...disks.filter((disk) => isOurs(disk) && (disk.users ?? []).length === 0).map(ownedDisk),
      ...addresses.flatMap((address) => ownedAddress(address, home)),
      ...firewalls.flatMap((rule) => ownedFirewall(rule, home)),
    ];
  });
}

function marked({
  name = '',
  labels = {},
  creationTimestamp,
}: Labelled): Pick<Owned, 'id' | 'index' | 'name' | 'home' | 'resource' | 'made'> {
  return {
    id: labels['slipway-id'] ?? '',
    // Of a batch, the name ends with the place in it and the beginning of the batch's id.
    index: indexIn(name, labels['slipway-id'] ?? ''),
    name: labels['slipway-name'] ?? '',
    home: labels['slipway-home'] ?? '',
    resource: name,
    made: madeAt(creationTimestamp),
  };
}

function indexIn(name: string, id: string): number | undefined {
  const [, index] = new RegExp(`-(\\d+)-${id.replaceAll('-', '').slice(0, 8)}$`).exec(name) ?? [];
  return index === undefined ? undefined : Number(index);
}

function ownedInstance(instance: Instance, all: readonly Disk[]): Owned {
  const { name, status = '', machineType, zone, scheduling } = instance;
  const stopped = ['STOPPING', 'STOPPED', 'TERMINATED', 'SUSPENDED'].includes(status);
  const spot = scheduling?.preemptible === true || scheduling?.provisioningModel === 'SPOT';
  const machine = machineMonthly(nameIn(machineType), stopped, spot);
  const disks = all.filter(({ users = [], zone: place }) =>
    users.some((user) => nameIn(user) === name && nameIn(place) === nameIn(zone)),
  );
  const kept = disks.map(({ sizeGb = 0, type }) => diskMonthly(nameIn(type), Number(sizeGb)));
  return {
    ...marked(instance),
    kind: 'instance',
    place: nameIn(zone),
    state: status.toLowerCase(),
    monthly: [machine, ...kept].reduce(
      (left, right) => (left === undefined || right === undefined ? undefined : left + right),
      0,
    ),
  };
}

function ownedDisk(disk: Disk): Owned {
  return {
    ...marked(disk),
    index: undefined,
    kind: 'disk',
    place: nameIn(disk.zone),
    state: 'unused',
    monthly: diskMonthly(nameIn(disk.type), Number(disk.sizeGb ?? 0)),
  };
}

function ownedAddress(address: Address, home: string | undefined): readonly Owned[] {
  const { status = '', region } = address;
  return byDescription(address, home, {
    kind: 'address',
    place: nameIn(region),
    state: status.toLowerCase(),
    monthly: status === 'RESERVED' ? IDLE_ADDRESS : 0,
  });
}

function ownedFirewall(rule: Firewall, home: string | undefined): readonly Owned[] {
  return byDescription(rule, home, { kind: 'firewall', place: 'global', state: '', monthly: 0 });
}

/** What has no labels carries the marks in its description. */
function byDescription(
  { name = '', description, creationTimestamp }: Firewall,
  home: string | undefined,
  more: Pick<Owned, 'kind' | 'place' | 'state' | 'monthly'>,
): readonly Owned[] {
  const marks = name.startsWith('slipway-') ? marksIn(description) : undefined;
  if (!marks || (home !== undefined && marks['slipway-home'] !== home)) return [];
  return [
    {
      id: marks['slipway-id'],
      index: undefined,
      name: marks['slipway-name'],
      home: marks['slipway-home'],
      resource: name,
      made: madeAt(creationTimestamp),
      ...more,
    },
  ];
}

function madeAt(timestamp: string | undefined): Date | undefined {
  return timestamp === undefined || timestamp === '' ? undefined : new Date(timestamp);
}

/** These and nothing else. Instances first: they hold what the others are. */
export async function discardThese(things: readonly Owned[], options: Options, call: Call): Promise<void> {
  await withGce(options, call, async (gce: Gce) => {
    for (const { resource, place } of of(things, 'instance')) await removeInstance(gce, resource, place);
    for (const { resource, place } of of(things, 'disk')) await removeDisk(gce, resource, place);
    for (const { resource, place } of of(things, 'address')) await removeAddress(gce, resource, place);
    for (const { resource } of of(things, 'firewall')) await removeFirewall(gce, resource);
  });
}

function of(things: readonly Owned[], kind: Owned['kind']): readonly Owned[] {
  return things.filter((thing) => thing.kind === kind);
}
