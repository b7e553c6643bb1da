import {
  API_PATH,
  cpusOf,
  imageNamed,
  imageOfFamily,
  notFoundError,
  PROJECT,
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
      ['a2-highgpu-1g', 'e2-standard-4', 'e2-medium', 'e2-micro', 'n2-standard-2', 'c3-standard-88'].map((name) => ({
        name,
        place: 'global',
        made: 0,
      })),
      params,
      noLabels,
      ({ name }) => ({ kind: 'compute#machineType', name, guestCpus: cpusOf(name) ?? 12, memoryMb: 4096 }),
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
    const guestCpus = cpusOf(machineType);
    if (guestCpus === undefined) throw notFoundError(`projects/${PROJECT}/zones/${zone}/machineTypes/${machineType}`);
    const architecture = machineType.startsWith('c4a-') ? 'ARM64' : 'X86_64';
    return { kind: 'compute#machineType', name: machineType, guestCpus, memoryMb: guestCpus * 2048, architecture };
  },
  'images.get': (world, { project = '', image = '' }) => imageDocument(world, imageNamed(project, image)),
  'images.getFromFamily': (world, { project = '', family = '' }) =>
    imageDocument(world, imageOfFamily(project, family)),
  'subnetworks.get'(_world, { region, subnetwork }) {
    const found = SUBNETWORKS.find((one) => one.region === region && one.name === subnetwork);
    if (!found) throw notFoundError(`projects/${PROJECT}/regions/${region}/subnetworks/${subnetwork}`);
    return {
      kind: 'compute#subnetwork',
      name: found.name,
      network: linkTo(`global/networks/${found.network}`),
      ipCidrRange: found.name === 'default' ? '10.128.0.0/20' : '10.9.0.0/16',
    };
  },
};

const imageDocument = (
  world: GceWorld,
  { project, family, name }: { project: string; family: string; name: string },
): object => ({
  kind: 'compute#image',
  name,
  family,
  status: 'READY',
  ...(world.cloud.isEmulator
    ? {}
    : { selfLink: `https://www.googleapis.com${API_PATH}projects/${project}/global/images/${name}` }),
});
