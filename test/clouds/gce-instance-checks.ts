import { ApiError } from './cloud-server.ts';
import {
  bootDiskProblem,
  cpusOf,
  imageFromLink,
  invalidFieldError,
  lastPathSegment,
  machineTypeNamed,
  networkFromLink,
  NETWORKS,
  regionOf,
  requireValidLabels,
  resourceNameFrom,
  SUBNETWORKS,
} from './compute-catalog.ts';
import { userOf, type GceWorld, type InstanceProperties } from './gce-world.ts';

export function checkProperties(world: GceWorld, given: InstanceProperties, zone: string, bulk: boolean): void {
  const named = (kind: string, value: string, field: string): string =>
    resourceNameFrom(kind, value, zone, bulk, field);
  named('machineTypes', given.machineType, 'resource.machineType');
  requireValidLabels(given.labels ?? {}, 'resource.labels');
  if ((given.description ?? '').length > 2048)
    throw invalidFieldError('resource.description', given.description, 'Too long.');
  const keys = (given.metadata?.items ?? []).map(({ key }) => key);
  if (new Set(keys).size < keys.length)
    throw invalidFieldError('resource.metadata', keys, 'Metadata has duplicate keys.');
  const [disk, ...others] = given.disks ?? [];
  const first = disk?.initializeParams;
  if (!disk?.boot || others.length > 0 || first?.sourceImage === undefined)
    throw invalidFieldError('resource.disks', '', 'One boot disk is needed.');
  checkBootDisk(first, lastPathSegment(given.machineType));
  if (first.diskType !== undefined) named('diskTypes', first.diskType, 'resource.disks[0].initializeParams.diskType');
  requireValidLabels(first.labels ?? {}, 'resource.disks[0].initializeParams.labels');
  for (const one of given.guestAccelerators ?? [])
    named('acceleratorTypes', one.acceleratorType, 'resource.guestAccelerators[0].acceleratorType');
  checkScheduling(given);
  checkNetworkInterfaces(world, given, zone);
}

type BootDisk = NonNullable<NonNullable<InstanceProperties['disks']>[number]['initializeParams']>;

/** Refuses a disk and an image with which an instance of the type can't boot. */
function checkBootDisk(
  { sourceImage = '', diskType = 'pd-standard', diskSizeGb = '10' }: BootDisk,
  type: string,
): void {
  const image = imageFromLink(sourceImage);
  const field = 'resource.disks[0].initializeParams';
  if (Number(diskSizeGb) < image.diskSizeGb)
    throw invalidFieldError(
      `${field}.diskSizeGb`,
      diskSizeGb,
      `Requested disk size cannot be smaller than the image size (${image.diskSizeGb} GB).`,
    );
  const problem = bootDiskProblem(type, lastPathSegment(diskType));
  if (problem !== undefined) throw new ApiError(400, 'badRequest', problem);
  const architecture = machineTypeNamed(type)?.architecture;
  if (architecture !== image.architecture)
    throw new ApiError(400, 'badRequest', `The ${image.architecture} image does not match ${type} (${architecture}).`);
}

function checkScheduling({ scheduling = {}, guestAccelerators = [], machineType }: InstanceProperties): void {
  const { provisioningModel, preemptible, automaticRestart, onHostMaintenance, instanceTerminationAction } = scheduling;
  const isPreemptible = provisioningModel === 'SPOT' || preemptible === true;
  if (isPreemptible && automaticRestart !== false)
    throw invalidFieldError(
      'resource.scheduling',
      'automaticRestart',
      'Scheduling must have automaticRestart be false when preemptible.',
    );
  const type = machineTypeNamed(lastPathSegment(machineType));
  const hasAccelerators = guestAccelerators.length > 0 || (type?.accelerators ?? []).length > 0;
  if (guestAccelerators.length > 0 && (type?.accelerators ?? []).length === 0 && !type?.name.startsWith('n1-'))
    throw new ApiError(400, 'badRequest', `Instance with guest accelerators does not support ${type?.name}.`);
  if ((isPreemptible || hasAccelerators) && onHostMaintenance !== 'TERMINATE')
    throw invalidFieldError('resource.scheduling', 'onHostMaintenance', 'Must be TERMINATE.');
  if (instanceTerminationAction !== undefined && provisioningModel !== 'SPOT')
    throw invalidFieldError('resource.scheduling', 'instanceTerminationAction', 'Only for Spot VMs.');
}

function checkNetworkInterfaces(world: GceWorld, { networkInterfaces = [] }: InstanceProperties, zone: string): void {
  const [networkInterface, ...others] = networkInterfaces;
  if (!networkInterface || others.length > 0)
    throw invalidFieldError('resource.networkInterfaces', '', 'One is needed.');
  if (networkInterface.network !== undefined && networkInterface.subnetwork === undefined) {
    const name = networkFromLink(networkInterface.network);
    if (NETWORKS.find((one) => one.name === name)?.isAuto !== true)
      throw invalidFieldError(
        'resource.networkInterfaces[0]',
        name,
        'Subnetwork should be specified for custom subnetmode network',
      );
  }
  if (networkInterface.subnetwork !== undefined) {
    const [, region, name] = /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(networkInterface.subnetwork) ?? [];
    const found = SUBNETWORKS.find((one) => one.region === region && one.name === name);
    if (found && found.purpose !== 'PRIVATE')
      throw invalidFieldError('resource.networkInterfaces[0].subnetwork', name, `Its purpose is ${found.purpose}.`);
    if (region !== regionOf(zone) || !found)
      throw invalidFieldError(
        'resource.networkInterfaces[0].subnetwork',
        networkInterface.subnetwork,
        'The referenced subnetwork resource cannot be found.',
      );
  }
  const natIP = networkInterface.accessConfigs?.[0]?.natIP;
  if (natIP === undefined) return;
  const reserved = world.addresses.find(({ ip, place }) => ip === natIP && place === regionOf(zone));
  if (!reserved)
    throw invalidFieldError(
      'resource.networkInterfaces[0].accessConfigs[0].natIP',
      natIP,
      'The specified external IP address was not found.',
    );
  if (userOf(world, reserved))
    throw new ApiError(400, 'resourceInUseByAnotherResource', `External IP address ${natIP} is already in-use.`);
}

export function checkQuota(world: GceWorld, zone: string, machineType: string, count: number): void {
  const quota = world.cloud.quotas.CPUS;
  if (quota && quota.usage + (cpusOf(lastPathSegment(machineType)) ?? 0) * count > quota.limit)
    throw new ApiError(
      403,
      'quotaExceeded',
      `Quota 'CPUS' exceeded.  Limit: ${quota.limit}.0 in region ${regionOf(zone)}.`,
    );
}
