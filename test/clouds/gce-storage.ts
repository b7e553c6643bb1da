import { ApiError } from './cloud-server.ts';
import {
  alreadyExistsError,
  fingerprintOf,
  invalidFieldError,
  PROJECT,
  REGIONS,
  requireValidLabels,
  ZONES,
} from './compute-catalog.ts';
import { listMethods } from './gce-lists.ts';
import { startOperation, inZone } from './gce-operations.ts';
import {
  linkTo,
  removeFrom,
  requireResource,
  userOf,
  type Address,
  type Disk,
  type GceWorld,
  type Labels,
  type Methods,
} from './gce-world.ts';

/** Methods for disks and addresses. */
export const storageMethods: Methods = {
  ...listMethods<Disk>({
    kind: 'disks',
    scope: 'zones',
    places: ZONES,
    all: ({ disks }) => disks,
    toDocument: (_world, one) => diskDocument(one),
  }),
  'disks.get': (world, { zone = '', disk }) => diskDocument(requireResource(world.disks, disk, zone, 'disks')),
  'disks.setLabels'(world, { zone = '', resource, requestId }, body, call) {
    const one = requireResource(world.disks, resource, zone, 'disks');
    const { labels = {}, labelFingerprint } = body as { labels?: Labels; labelFingerprint?: string };
    requireValidLabels(labels, 'resource.labels');
    if (labelFingerprint !== fingerprintOf(one.labels))
      throw new ApiError(412, 'conditionNotMet', 'Labels fingerprint either invalid or resource labels have changed');
    return startOperation(
      world,
      () => inZone(zone, 'setLabels', `disks/${resource}`, async () => void (one.labels = labels)),
      call,
      requestId,
    );
  },
  'disks.resize'(world, { zone = '', disk, requestId }, body, call) {
    const one = requireResource(world.disks, disk, zone, 'disks');
    const { sizeGb = '0' } = body as { sizeGb?: string };
    if (Number(sizeGb) <= Number(one.sizeGb))
      throw invalidFieldError('sizeGb', sizeGb, 'It must be larger than the disk is.');
    return startOperation(
      world,
      () => inZone(zone, 'resizeDisk', `disks/${disk}`, async () => void (one.sizeGb = sizeGb)),
      call,
      requestId,
    );
  },
  'disks.delete'(world, { zone = '', disk, requestId }, _body, call) {
    const one = requireResource(world.disks, disk, zone, 'disks');
    if (one.attachedInstance !== undefined)
      throw new ApiError(
        400,
        'resourceInUseByAnotherResource',
        `The disk resource '${disk}' is already being used by '${one.attachedInstance}'`,
      );
    return startOperation(
      world,
      () => inZone(zone, 'delete', `disks/${disk}`, async () => removeFrom(world.disks, one)),
      call,
      requestId,
    );
  },
  'addresses.get': (world, { region = '', address }) =>
    addressDocument(world, requireResource(world.addresses, address, region, 'addresses')),
  ...listMethods<Address>({
    kind: 'addresses',
    scope: 'regions',
    places: REGIONS,
    all: ({ addresses }) => addresses,
    toDocument: (world, one) => addressDocument(world, one),
  }),
  'addresses.insert'(world, { region = '', requestId }, body, call) {
    const { name, description = '', labels = {} } = body as { name: string; description?: string; labels?: Labels };
    return startOperation(
      world,
      () => {
        if (world.addresses.some((one) => one.name === name && one.place === region))
          throw alreadyExistsError(`projects/${PROJECT}/regions/${region}/addresses/${name}`);
        requireValidLabels(labels, 'resource.labels');
        const ip = `203.0.113.${world.nextNumber() % 250}`;
        const one = { name, place: region, made: Date.now(), ip, description, labels, isReady: false };
        world.addresses.push(one);
        const undo = async (): Promise<void> => removeFrom(world.addresses, one);
        return {
          scope: 'regions',
          place: region,
          type: 'insert',
          target: `regions/${region}/addresses/${name}`,
          work: async () => void (one.isReady = true),
          undo,
        };
      },
      call,
      requestId,
    );
  },
  'addresses.delete'(world, { region = '', address, requestId }, _body, call) {
    const one = requireResource(world.addresses, address, region, 'addresses');
    const user = userOf(world, one);
    if (user)
      throw new ApiError(
        400,
        'resourceInUseByAnotherResource',
        `The address resource '${address}' is already being used by '${user.name}'`,
      );
    const work = async (): Promise<void> => removeFrom(world.addresses, one);
    return startOperation(
      world,
      () => ({
        scope: 'regions',
        place: region,
        type: 'delete',
        target: `regions/${region}/addresses/${address}`,
        work,
      }),
      call,
      requestId,
    );
  },
};

const diskDocument = (one: Disk): object => ({
  kind: 'compute#disk',
  name: one.name,
  zone: linkTo(`zones/${one.place}`),
  type: linkTo(`zones/${one.place}/diskTypes/${one.type}`),
  sizeGb: one.sizeGb,
  status: 'READY',
  labels: one.labels,
  labelFingerprint: fingerprintOf(one.labels),
  creationTimestamp: new Date(one.made).toISOString(),
  ...(one.attachedInstance === undefined
    ? {}
    : { users: [linkTo(`zones/${one.place}/instances/${one.attachedInstance}`)] }),
});

const addressDocument = (world: GceWorld, one: Address): object => ({
  kind: 'compute#address',
  name: one.name,
  address: one.ip,
  addressType: 'EXTERNAL',
  description: one.description,
  region: linkTo(`regions/${one.place}`),
  status: userOf(world, one) ? 'IN_USE' : 'RESERVED',
  labels: one.labels,
  creationTimestamp: new Date(one.made).toISOString(),
});
