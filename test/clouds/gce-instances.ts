import { ApiError } from './cloud-server.ts';
import {
  fingerprintOf,
  invalidFieldError,
  lastPathSegment,
  networkFromLink,
  notFoundError,
  PROJECT,
  regionOf,
  requireValidLabels,
  SUBNETWORKS,
  ZONES,
} from './compute-catalog.ts';
import { checkProperties, checkQuota } from './gce-instance-checks.ts';
import { destroy, halt, insert, provisionAll, wake, undoInsert } from './gce-instance-lifecycle.ts';
import { listMethods } from './gce-lists.ts';
import { startOperation, inZone } from './gce-operations.ts';
import {
  linkTo,
  type GceInstance,
  type GceWorld,
  type InstanceProperties,
  type Labels,
  type MetadataItem,
  type Method,
  type Methods,
  type RequestParams,
} from './gce-world.ts';

/** Returns a method such as start, stop, suspend or resume, which is allowed in the states `from`. */
function powerMethod(
  type: string,
  from: readonly GceInstance['status'][],
  work: (world: GceWorld, one: GceInstance) => Promise<void>,
): Method {
  return (world, params, _body, call) => {
    const one = requireChangeable(world, params);
    return startOperation(
      world,
      () => {
        if (!from.includes(one.status))
          throw new ApiError(400, 'invalid', `Invalid resource state: instance is ${one.status}, can't ${type}.`);
        return inZone(one.place, type, `instances/${one.name}`, () => work(world, one));
      },
      call,
      params.requestId,
    );
  };
}

/** Returns a method that sets a field, which the request has to name with its current fingerprint. */
function setterMethod(
  type: string,
  fingerprint: (one: GceInstance) => string,
  set: (one: GceInstance, body: never) => void,
): Method {
  return (world, params, body, call) => {
    const one = requireChangeable(world, params);
    return startOperation(
      world,
      () => {
        const { fingerprint: given, labelFingerprint = given } = body as Record<string, string | undefined>;
        if (labelFingerprint !== fingerprint(one))
          throw new ApiError(412, 'conditionNotMet', 'Supplied fingerprint does not match current fingerprint.');
        return inZone(one.place, type, `instances/${one.name}`, async () => set(one, body as never));
      },
      call,
      params.requestId,
    );
  };
}

export const instanceMethods: Methods = {
  'instances.get': (world, params) => instanceDocument(world, instanceAt(world, params)),
  ...listMethods<GceInstance>({
    kind: 'instances',
    scope: 'zones',
    places: ZONES,
    all: ({ instances }) => instances,
    toDocument: instanceDocument,
  }),
  'instances.insert'(world, { zone = '', requestId }, body, call) {
    return startOperation(
      world,
      () => {
        const { name, ...properties } = body as InstanceProperties & { name: string };
        checkProperties(world, properties, zone, false);
        checkQuota(world, zone, properties.machineType, 1);
        const made = insert(world, [name], zone, properties);
        const change = inZone(zone, 'insert', `instances/${name}`, () => provisionAll(world, made));
        return { ...change, undo: () => undoInsert(world, made) };
      },
      call,
      requestId,
    );
  },
  'instances.bulkInsert'(world, { zone = '', requestId }, body, call) {
    return startOperation(
      world,
      () => {
        const {
          count,
          minCount = count,
          perInstanceProperties = {},
          instanceProperties,
        } = body as {
          count: string;
          minCount?: string;
          perInstanceProperties?: Record<string, { name?: string }>;
          instanceProperties: InstanceProperties;
        };
        const names = Object.keys(perInstanceProperties);
        if (names.length !== Number(count) || minCount !== count)
          throw invalidFieldError('resource.count', count, 'The number of names differs.');
        if (Object.values(perInstanceProperties).some(({ name }) => name !== undefined))
          throw invalidFieldError('resource.perInstanceProperties', '', 'name is only temporary. Do not use it.');
        checkProperties(world, instanceProperties, zone, true);
        checkQuota(world, zone, instanceProperties.machineType, names.length);
        const made = insert(world, names, zone, instanceProperties);
        const change = inZone(zone, 'bulkInsert', `instances/${names[0]}`, () => provisionAll(world, made));
        return { ...change, undo: () => undoInsert(world, made) };
      },
      call,
      requestId,
    );
  },
  'instances.delete'(world, params, _body, call) {
    const one = requireChangeable(world, params);
    return startOperation(
      world,
      () => inZone(one.place, 'delete', `instances/${one.name}`, () => destroy(world, one)),
      call,
      params.requestId,
    );
  },
  'instances.start': powerMethod('start', ['TERMINATED', 'RUNNING', 'STAGING'], wake),
  'instances.stop': powerMethod('stop', ['RUNNING', 'STAGING', 'STOPPING', 'TERMINATED'], (world, one) =>
    halt(world, one, 'STOPPING', 'TERMINATED'),
  ),
  'instances.suspend': powerMethod('suspend', ['RUNNING'], (world, one) => halt(world, one, 'SUSPENDING', 'SUSPENDED')),
  'instances.resume': powerMethod('resume', ['SUSPENDED'], wake),
  'instances.setMetadata': setterMethod(
    'setMetadata',
    ({ metadata }) => fingerprintOf(metadata),
    (one, { items = [] }: { items?: readonly MetadataItem[] }) => void (one.metadata = items),
  ),
  'instances.setTags': setterMethod(
    'setTags',
    ({ tags }) => fingerprintOf(tags),
    (one, { items = [] }: { items?: readonly string[] }) => void (one.tags = items),
  ),
  'instances.setMachineType'(world, params, body, call) {
    const one = requireChangeable(world, params);
    const { machineType = '' } = body as { machineType?: string };
    return startOperation(
      world,
      () => {
        if (one.status !== 'TERMINATED')
          throw new ApiError(400, 'resourceNotReady', 'The machine type can be changed while the instance is stopped.');
        return inZone(one.place, 'setMachineType', `instances/${one.name}`, async () => {
          one.properties = { ...one.properties, machineType };
        });
      },
      call,
      params.requestId,
    );
  },
  'instances.setLabels': setterMethod(
    'setLabels',
    ({ labels }) => fingerprintOf(labels),
    (one, { labels = {} }: { labels?: Labels }) => {
      requireValidLabels(labels, 'resource.labels');
      one.labels = labels;
    },
  ),
  'instances.getGuestAttributes'(world, params) {
    const { guestAttributes } = instanceAt(world, params);
    if (!guestAttributes) throw new ApiError(412, 'conditionNotMet', 'Guest attributes endpoint access is disabled.');
    const items = guestAttributes.filter(({ namespace }) => `${namespace}/` === params.queryPath);
    if (items.length === 0) throw notFoundError(`${params.zone}/instances/${params.instance}/guestAttributes`);
    return { kind: 'compute#guestAttributes', queryPath: params.queryPath, queryValue: { items } };
  },
};

/** Returns an instance. It shows as soon as its insert is done, and before that only when it is old enough. */
function instanceAt(world: GceWorld, { instance, zone = '' }: RequestParams): GceInstance {
  const found = world.instances.find((one) => one.name === instance && one.place === zone);
  if (!found || (!found.isReady && Date.now() < found.made + world.cloud.lateness))
    throw notFoundError(`projects/${PROJECT}/zones/${zone}/instances/${instance}`);
  return found;
}

/** Returns an instance whose insert is done: until then it can't be changed. */
function requireChangeable(world: GceWorld, params: RequestParams): GceInstance {
  const found = instanceAt(world, params);
  if (found.isReady) return found;
  throw new ApiError(400, 'resourceNotReady', `The resource '${found.place}/instances/${found.name}' is not ready`);
}

function instanceDocument(world: GceWorld, one: GceInstance): object {
  const { name, place, properties, status, labels, tags, metadata, made, address, internalIp } = one;
  const [networkInterface] = properties.networkInterfaces ?? [];
  const [access] = networkInterface?.accessConfigs ?? [];
  const zone = linkTo(`zones/${place}`);
  return {
    kind: 'compute#instance',
    id: `${made}`,
    name,
    creationTimestamp: new Date(made).toISOString(),
    ...(properties.description === undefined ? {} : { description: properties.description }),
    zone,
    status,
    machineType: `${zone}/machineTypes/${lastPathSegment(properties.machineType)}`,
    labels,
    labelFingerprint: fingerprintOf(labels),
    tags: { items: tags, fingerprint: fingerprintOf(tags) },
    metadata: { kind: 'compute#metadata', items: metadata, fingerprint: fingerprintOf(metadata) },
    scheduling: properties.scheduling ?? {},
    disks: world.disks
      .filter(({ attachedInstance }) => attachedInstance === name)
      .map((disk) => ({
        type: 'PERSISTENT',
        boot: true,
        source: linkTo(`zones/${disk.place}/disks/${disk.name}`),
        diskSizeGb: disk.sizeGb,
        autoDelete: disk.autoDelete,
      })),
    networkInterfaces: [
      {
        name: 'nic0',
        network: linkTo(`global/networks/${networkOf(one)}`),
        subnetwork: linkTo(
          `regions/${regionOf(place)}/subnetworks/${lastPathSegment(networkInterface?.subnetwork ?? 'default')}`,
        ),
        ...(status === 'PROVISIONING' ? {} : { networkIP: internalIp }),
        ...(access ? { accessConfigs: [{ ...access, ...(address === undefined ? {} : { natIP: address }) }] } : {}),
      },
    ],
    selfLink: `${zone}/instances/${name}`,
  };
}

export function networkOf({ place, properties }: GceInstance): string {
  const [networkInterface] = properties.networkInterfaces ?? [];
  if (networkInterface?.network !== undefined) return networkFromLink(networkInterface.network);
  const wanted = lastPathSegment(networkInterface?.subnetwork ?? 'default');
  return SUBNETWORKS.find(({ name, region }) => name === wanted && region === regionOf(place))?.network ?? 'default';
}
