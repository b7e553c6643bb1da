import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from './cloud-server.ts';
import { ACCOUNT, IMAGES } from './ec2-catalog.ts';
import { fieldOf, listOf, textOf, textsOf, type QueryParams } from './ec2-query-protocol.ts';
import {
  bootInstance,
  defaultGroups,
  endInstance,
  filterResources,
  newId,
  requireInstances,
  tagsFor,
  tagSet,
  type Ec2Instance,
  type Ec2Operations,
  type Ec2World,
} from './ec2-world.ts';

/** Refuses to start or stop an instance in any other state. */
function requireState({ id, state }: Ec2Instance, required: Ec2Instance['state'], change: 'started' | 'stopped'): void {
  if (state === required) return;
  const message = `The instance '${id}' is not in a state from which it can be ${change}.`;
  throw new ApiError(400, 'IncorrectInstanceState', message);
}

/** Operations on instances, and on the spot requests that they come from. */
export const instanceOperations: Ec2Operations = {
  RunInstances: runInstances,
  DescribeInstances(world, params, region) {
    const wanted = textsOf(params.InstanceId);
    const all =
      wanted.length > 0
        ? requireInstances(world, region, wanted)
        : world.instances.filter((one) => one.region === region && world.cloud.isShown(one));
    const found = filterResources(
      params,
      all,
      (one) => ({ 'instance-state-name': one.state, 'launch-index': String(one.index), 'instance-id': one.id }),
      (one) => one.tags,
    );
    const from = Number(textOf(params.NextToken) || 0);
    const most = Number(textOf(params.MaxResults) || 5);
    const page = found.slice(from, from + most);
    return {
      reservationSet: page.map((one) => ({
        reservationId: one.reservation,
        ownerId: ACCOUNT,
        instancesSet: [instanceDocument(world, one)],
      })),
      nextToken: from + most < found.length ? String(from + most) : undefined,
    };
  },
  StartInstances(world, params, region) {
    for (const one of requireInstances(world, region, textsOf(params.InstanceId))) {
      if (one.state === 'running' || one.state === 'pending') continue;
      requireState(one, 'stopped', 'started');
      one.state = 'pending';
      world.cloud.runInBackground(
        (async (): Promise<void> => {
          one.address = await one.guest?.start();
          await sleep(world.cloud.bootTime);
          one.state = 'running';
        })(),
      );
    }
    return { instancesSet: [] };
  },
  StopInstances(world, params, region) {
    for (const one of requireInstances(world, region, textsOf(params.InstanceId))) {
      if (one.params.InstanceMarketOptions)
        throw new ApiError(400, 'UnsupportedOperation', "You can't stop a one-time spot instance");
      if (one.state === 'stopped' || one.state === 'stopping') continue;
      requireState(one, 'running', 'stopped');
      one.state = 'stopping';
      world.cloud.runInBackground(
        (async (): Promise<void> => {
          await one.guest?.stop();
          one.state = 'stopped';
        })(),
      );
    }
    return { instancesSet: [] };
  },
  TerminateInstances(world, params, region) {
    for (const one of requireInstances(world, region, textsOf(params.InstanceId))) {
      if (one.state === 'terminated' || one.state === 'shutting-down') continue;
      const { state } = one;
      one.state = 'shutting-down';
      world.cloud.runInBackground(
        (async (): Promise<void> => {
          // An instance that still boots removes its guest itself.
          if (state !== 'pending') await one.guest?.remove();
          await sleep(world.cloud.bootTime);
          one.reason = {
            code: 'Client.UserInitiatedShutdown',
            message: 'Client.UserInitiatedShutdown: User initiated shutdown',
          };
          endInstance(world, one);
        })(),
      );
    }
    return { instancesSet: [] };
  },
  ModifyInstanceAttribute(world, params, region) {
    const [one] = requireInstances(world, region, [textOf(params.InstanceId)]);
    const behavior = textOf(fieldOf(params.InstanceInitiatedShutdownBehavior, 'Value'));
    if (behavior !== '' && params.InstanceType !== undefined)
      throw new ApiError(400, 'InvalidParameterCombination', 'Fields for multiple attribute types specified');
    if (one && behavior !== '') {
      if (one.params.InstanceMarketOptions)
        throw new ApiError(400, 'UnsupportedOperation', 'The operation is not supported for a spot instance');
      one.shutdownBehavior = behavior;
      return { return: true };
    }
    if (one?.state !== 'stopped')
      throw new ApiError(
        400,
        'IncorrectInstanceState',
        `The instance '${textOf(params.InstanceId)}' is not in the 'stopped' state.`,
      );
    one.type = textOf(fieldOf(params.InstanceType, 'Value'));
    return { return: true };
  },
  DescribeSpotInstanceRequests(world, params, region) {
    const found = filterResources(
      params,
      world.spots.filter((one) => one.region === region),
      (one) => ({ state: one.state }),
      (one) => one.tags,
    );
    return {
      spotInstanceRequestSet: found.map((one) => ({
        spotInstanceRequestId: one.id,
        state: one.state,
        tagSet: tagSet(one.tags),
        instanceId: one.instance,
      })),
    };
  },
  CancelSpotInstanceRequests(world, params) {
    for (const one of world.spots.filter((spot) => textsOf(params.SpotInstanceRequestId).includes(spot.id)))
      one.state = 'cancelled';
    return { spotInstanceRequestSet: [] };
  },
};

const instanceDocument = (world: Ec2World, one: Ec2Instance): object => ({
  instanceId: one.id,
  imageId: textOf(one.params.ImageId),
  instanceState: { code: 0, name: one.state },
  instanceType: one.type,
  architecture: IMAGES.find(({ id: known }) => known === textOf(one.params.ImageId))?.architecture,
  rootDeviceName: '/dev/xvda',
  blockDeviceMapping: world.volumes
    .filter(({ instance }) => instance === one.id)
    .map(({ id: volumeId, deleteOnTermination }) => ({
      deviceName: '/dev/xvda',
      ebs: { volumeId, status: 'attached', deleteOnTermination },
    })),
  keyName: textOf(one.params.KeyName) || undefined,
  spotInstanceRequestId: world.spots.find(({ instance }) => instance === one.id)?.id,
  networkInterfaceSet: world.nics
    .filter(({ instance }) => instance === one.id)
    .map(({ id: networkInterfaceId }) => ({ networkInterfaceId, status: 'in-use' })),
  amiLaunchIndex: one.index,
  launchTime: new Date(one.made),
  ipAddress:
    one.state === 'running' &&
    (textOf(fieldOf(listOf(one.params.NetworkInterface)[0], 'AssociatePublicIpAddress')) ||
      String(world.cloud.assignsPublicAddresses)) === 'true'
      ? one.address
      : undefined,
  privateIpAddress: one.guest?.host ? one.address : '10.0.0.9',
  clientToken: textOf(one.params.ClientToken),
  instanceLifecycle: one.params.InstanceMarketOptions ? 'spot' : undefined,
  stateReason: one.reason,
  tagSet: tagSet(one.tags),
  groupSet: one.groups.map((groupId) => ({ groupId })),
});

/** Creates instances. A known token returns the instances of its first request; other parameters are refused. */
function runInstances(world: Ec2World, params: QueryParams, region: string): object {
  const token = `${region} ${textOf(params.ClientToken)}`;
  const known = world.tokens.get(token);
  const request = JSON.stringify(params);
  if (known && known.params !== request)
    throw new ApiError(
      400,
      'IdempotentParameterMismatch',
      'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
    );
  const show = (one: Ec2Instance): object => instanceDocument(world, one);
  if (known) return { reservationId: 'r-again', ownerId: ACCOUNT, instancesSet: known.made.map(show) };
  requireValidRequest(params);
  const groups = requireGroups(world, params, region);
  requireKnownNames(world, params, region);
  const made = Array.from({ length: Number(textOf(params.MaxCount)) }, (_, index) =>
    createInstance(world, params, { region, groups, index }),
  );
  world.tokens.set(token, { params: request, made });
  return { reservationId: made[0]?.reservation, ownerId: ACCOUNT, instancesSet: made.map(show) };
}

function requireValidRequest(params: QueryParams): void {
  if (!IMAGES.some((one) => one.id === textOf(params.ImageId)))
    throw new ApiError(400, 'InvalidAMIID.NotFound', `The image id '[${textOf(params.ImageId)}]' does not exist`);
  if (Buffer.from(textOf(params.UserData), 'base64').length > 16 * 1024)
    throw new ApiError(400, 'InvalidParameterValue', 'User data is limited to 16384 bytes');
  if (listOf(params.NetworkInterface).length > 0 && params.SecurityGroupId !== undefined)
    throw new ApiError(
      400,
      'InvalidParameterCombination',
      'Network interfaces and an instance-level security groups may not be specified on the same request',
    );
}

function requireGroups(world: Ec2World, params: QueryParams, region: string): readonly string[] {
  const [nic] = listOf(params.NetworkInterface);
  const wanted = nic === undefined ? textsOf(params.SecurityGroupId) : textsOf(fieldOf(nic, 'SecurityGroupId'));
  const shown = [...defaultGroups(world, region), ...world.groups].filter(
    (group) => group.region === region && world.cloud.isShown(group),
  );
  const missing = wanted.find((id) => !shown.some((group) => group.id === id));
  if (missing === undefined) return wanted;
  throw new ApiError(400, 'InvalidGroup.NotFound', `The security group '${missing}' does not exist`);
}

type Place = { readonly region: string; readonly groups: readonly string[]; readonly index: number };

/** Creates an instance with its disk, its network interface and its spot request, if it has one; and boots it. */
function createInstance(world: Ec2World, params: QueryParams, { region, groups, index }: Place): Ec2Instance {
  const made = Date.now();
  const instance: Ec2Instance = {
    id: newId('i'),
    region,
    index,
    reservation: newId('r'),
    groups,
    tags: tagsFor(params, 'instance'),
    made,
    params,
    type: textOf(params.InstanceType),
    shutdownBehavior: textOf(params.InstanceInitiatedShutdownBehavior) || 'stop',
    state: 'pending',
    guest: undefined,
    address: undefined,
    reason: undefined,
  };
  const common = { region, instance: instance.id, made };
  const ebs = fieldOf(listOf(params.BlockDeviceMapping)[0], 'Ebs');
  world.instances.push(instance);
  world.volumes.push({
    ...common,
    id: newId('vol'),
    deleteOnTermination: textOf(fieldOf(ebs, 'DeleteOnTermination')) === 'true',
    size: Number(textOf(fieldOf(ebs, 'VolumeSize'))),
    type: textOf(fieldOf(ebs, 'VolumeType')),
    tags: tagsFor(params, 'volume'),
  });
  const nicTags = tagsFor(params, 'network-interface');
  world.nics.push({ ...common, id: newId('eni'), deleteOnTermination: true, groups, tags: nicTags });
  if (params.InstanceMarketOptions) {
    const tags = tagsFor(params, 'spot-instances-request');
    world.spots.push({ id: newId('sir'), region, state: 'active', instance: instance.id, tags });
  }
  world.cloud.runInBackground(bootInstance(world, instance));
  return instance;
}

/** Refuses names of zones and key pairs that do not exist. */
function requireKnownNames(world: Ec2World, params: QueryParams, region: string): void {
  const zone = textOf(fieldOf(params.Placement, 'AvailabilityZone'));
  if (zone !== '' && !['a', 'b', 'c'].some((letter) => zone === `${region}${letter}`))
    throw new ApiError(400, 'InvalidParameterValue', `Invalid availability zone: [${zone}]`);
  const key = textOf(params.KeyName);
  if (key !== '' && !world.keyPairs.has(key))
    throw new ApiError(400, 'InvalidKeyPair.NotFound', `The key pair '${key}' does not exist`);
}
