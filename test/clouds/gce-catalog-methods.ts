import {
  API_PATH,
  diskTypeNamed,
  imageNamed,
  imageOfFamily,
  machineTypeNamed,
  NETWORKS,
  notFoundError,
  PROJECT,
  projectIdOf,
  regionOf,
  SUBNETWORKS,
  ZONES,
} from './compute-catalog.ts';
import { list, noLabels } from './gce-lists.ts';
import { linkTo, type GceWorld, type Methods } from './gce-world.ts';

/** Methods for zones, regions, machine types, images and subnetworks, which Slipway never creates. */
export const catalogMethods: Methods = {
  'zones.get': (_world, { zone = '' }) => ({
    kind: 'compute#zone',
    name: zone,
    status: 'UP',
    region: linkTo(`regions/${regionOf(zone)}`),
  }),
  'zones.list': (world, params) =>
    list(
      world,
      ZONES.map((name) => ({ name, place: 'global', made: 0 })),
      params,
      noLabels,
      ({ name }) => ({ kind: 'compute#zone', name, status: 'UP' }),
    ),
  'machineTypes.list': (world, params) =>
    list(
      world,
      LISTED_MACHINE_TYPES.map((name) => ({ name, place: 'global', made: 0 })),
      params,
      noLabels,
      ({ name }) => machineTypeDocument(name) ?? { kind: 'compute#machineType', name, guestCpus: 12, memoryMb: 4096 },
    ),
  'regions.get': (world, { region }) => ({
    kind: 'compute#region',
    name: region,
    status: 'UP',
    ...(world.cloud.isEmulator
      ? {}
      : { quotas: Object.entries(world.cloud.quotas).map(([metric, quota]) => ({ metric, ...quota })) }),
  }),
  'machineTypes.get'(_world, { machineType = '', zone }) {
    const found = machineTypeDocument(machineType);
    if (!found) throw notFoundError(`projects/${PROJECT}/zones/${zone}/machineTypes/${machineType}`);
    return found;
  },
  'diskTypes.get'(_world, { diskType = '', zone }) {
    const found = diskTypeNamed(diskType);
    if (!found) throw notFoundError(`projects/${PROJECT}/zones/${zone}/diskTypes/${diskType}`);
    return { kind: 'compute#diskType', name: diskType, validDiskSize: found.validDiskSize, defaultDiskSizeGb: '100' };
  },
  'networks.get'(_world, { project = PROJECT, network = '' }) {
    const found = NETWORKS.find((one) => one.name === network && one.project === projectIdOf(project));
    if (!found) throw notFoundError(`projects/${project}/global/networks/${network}`);
    return {
      kind: 'compute#network',
      name: network,
      autoCreateSubnetworks: found.isAuto,
      subnetworks: SUBNETWORKS.filter((one) => one.network === network).map(
        ({ name, region }) =>
          `https://www.googleapis.com${API_PATH}projects/${project}/regions/${region}/subnetworks/${name}`,
      ),
    };
  },
  'images.get': (world, { project = '', image = '' }) => imageDocument(world, imageNamed(project, image)),
  'images.getFromFamily': (world, { project = '', family = '' }) =>
    imageDocument(world, imageOfFamily(project, family)),
  'subnetworks.get'(_world, { project = PROJECT, region, subnetwork }) {
    const found = SUBNETWORKS.find(
      (one) => one.region === region && one.name === subnetwork && one.project === projectIdOf(project),
    );
    if (!found) throw notFoundError(`projects/${project}/regions/${region}/subnetworks/${subnetwork}`);
    return {
      kind: 'compute#subnetwork',
      name: found.name,
      network: `https://www.googleapis.com${API_PATH}projects/${project}/global/networks/${found.network}`,
      purpose: found.purpose,
      state: 'READY',
      stackType: 'IPV4_ONLY',
      ipCidrRange: found.name === 'default' ? '10.128.0.0/20' : '10.9.0.0/16',
    };
  },
};

const LISTED_MACHINE_TYPES = [
  'a2-highgpu-1g',
  'e2-standard-4',
  'e2-medium',
  'e2-micro',
  'n2-standard-2',
  'n4-standard-2',
  't2a-standard-1',
  'c3-standard-88',
];

function machineTypeDocument(name: string): object | undefined {
  const found = machineTypeNamed(name);
  return (
    found && {
      kind: 'compute#machineType',
      name,
      guestCpus: found.cpus,
      memoryMb: 4096,
      architecture: found.architecture,
      ...(found.isObsolete ? { deprecated: { state: 'OBSOLETE' } } : {}),
      ...(found.accelerators.length > 0
        ? {
            accelerators: found.accelerators.map((guestAcceleratorType) => ({
              guestAcceleratorType,
              guestAcceleratorCount: 1,
            })),
          }
        : {}),
    }
  );
}

const imageDocument = (
  world: GceWorld,
  { project, family, name, architecture, diskSizeGb, state }: ReturnType<typeof imageNamed>,
): object => ({
  kind: 'compute#image',
  name,
  family,
  status: 'READY',
  architecture,
  diskSizeGb: String(diskSizeGb),
  ...(state === 'ACTIVE' ? {} : { deprecated: { state } }),
  ...(world.cloud.isEmulator
    ? {}
    : { selfLink: `https://www.googleapis.com${API_PATH}projects/${project}/global/images/${name}` }),
});
