import type {
  DescribeNetworkInterfacesCommandOutput,
  DescribeRegionsCommandOutput,
  DescribeSecurityGroupsCommandOutput,
  DescribeSpotInstanceRequestsCommandOutput,
  DescribeVolumesCommandOutput,
  Instance as AwsInstance,
  NetworkInterface,
  SecurityGroup,
  SpotInstanceRequest,
  Volume,
} from '@aws-sdk/client-ec2';
import { deleteByKind, oneByOne, toCloudResource } from '../cloud/list-resources.ts';
import { addCosts } from '../cloud/prices.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, CloudResource } from '../contract.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { deleteSecurityGroup } from './security-group.ts';
import { listInstances, LIVE_STATES } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost, PUBLIC_ADDRESS_MONTHLY_COST } from './prices.ts';
import { cancelSpotRequests, deleteDisk, deleteNetworkInterface, terminateInstances } from './remove-machine.ts';
import { tagsToRecord } from './tags.ts';

const REGION_CONCURRENCY = 8;

/**
 * Lists the resources of one store of machines, or of all stores, in one region or in all regions of the account. An
 * organization may close regions to its accounts. These regions refuse each request: a note names them, unless every
 * region refuses.
 */
export async function listResources(
  { options, home }: { readonly options: Ec2Options; readonly home: string | undefined },
  call: DriverCall,
): Promise<readonly CloudResource[]> {
  const regions = options.region === undefined ? await listAccountRegions(options, call) : [options.region];
  const found: CloudResource[] = [];
  const closed: { readonly region: string; readonly error: SlipwayError }[] = [];
  const queue = [...regions];
  const listNextRegions = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const region = next;
      try {
        found.push(...(await withEc2(options, call, (aws) => listResourcesInRegion(aws, region, home), { region })));
      } catch (error) {
        if (!(error instanceof SlipwayError) || error.code !== 'CREDENTIALS') throw error;
        closed.push({ region, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(REGION_CONCURRENCY, regions.length) }, listNextRegions));
  const [first] = closed;
  if (first && closed.length === regions.length) throw first.error;
  if (first) call.note(`Not listed: ${closed.map(({ region }) => region).join(', ')} (${first.error.message})`);
  return found;
}

/** Lists the account's regions. Any region can list all the others. */
async function listAccountRegions(options: Ec2Options, call: DriverCall): Promise<readonly string[]> {
  return await withEc2(options, call, async (aws) =>
    (await aws.findRegion()) === undefined
      ? await withEc2(options, call, listRegionNames, { region: 'us-east-1' })
      : await listRegionNames(aws),
  );
}

export async function listRegionNames(aws: Ec2Connection): Promise<readonly string[]> {
  const { Regions = [] }: DescribeRegionsCommandOutput = await aws.send(
    'looking for your regions',
    new aws.sdk.DescribeRegionsCommand({}),
  );
  return Regions.flatMap(({ RegionName }) => RegionName ?? []);
}

async function listResourcesInRegion(
  aws: Ec2Connection,
  region: string,
  home: string | undefined,
): Promise<readonly CloudResource[]> {
  const owned =
    home === undefined ? { Name: 'tag-key', Values: ['slipway-id'] } : { Name: 'tag:slipway-home', Values: [home] };
  const doing = 'listing the resources of Slipway';
  const { sdk } = aws;
  const [
    instances,
    { Volumes = [] },
    { SecurityGroups = [] },
    { NetworkInterfaces = [] },
    { SpotInstanceRequests = [] },
  ] = await Promise.all([
    listInstances(aws, [owned, { Name: 'instance-state-name', Values: LIVE_STATES }]),
    aws.send<DescribeVolumesCommandOutput>(doing, new sdk.DescribeVolumesCommand({ Filters: [owned] })),
    aws.send<DescribeSecurityGroupsCommandOutput>(doing, new sdk.DescribeSecurityGroupsCommand({ Filters: [owned] })),
    aws.send<DescribeNetworkInterfacesCommandOutput>(
      doing,
      new sdk.DescribeNetworkInterfacesCommand({ Filters: [owned, { Name: 'status', Values: ['available'] }] }),
    ),
    aws.send<DescribeSpotInstanceRequestsCommandOutput>(
      doing,
      new sdk.DescribeSpotInstanceRequestsCommand({ Filters: [owned, { Name: 'state', Values: ['open'] }] }),
    ),
  ]);
  return [
    ...instances.map((instance) => toOwnedInstance(instance, Volumes, region)),
    ...Volumes.filter(({ State }) => State === 'available').map((disk) => toOwnedDisk(disk, region)),
    ...SecurityGroups.map((group) => toOwnedSecurityGroup(group, region)),
    ...NetworkInterfaces.map((networkInterface) => toOwnedNetworkInterface(networkInterface, region)),
    ...SpotInstanceRequests.map((request) => toOwnedSpotRequest(request, region)),
  ];
}

function toOwnedInstance(instance: AwsInstance, volumes: readonly Volume[], region: string): CloudResource {
  const { InstanceId, InstanceType, InstanceLifecycle, State, Tags, AmiLaunchIndex, LaunchTime, PublicIpAddress } =
    instance;
  const stopped = State?.Name === 'stopped' || State?.Name === 'stopping';
  const disks = volumes.filter(({ Attachments = [] }) =>
    Attachments.some((attachment) => attachment.InstanceId === InstanceId),
  );
  return toCloudResource(tagsToRecord(Tags), {
    kind: 'instance',
    resource: InstanceId ?? '',
    place: region,
    index: AmiLaunchIndex,
    state: State?.Name ?? '',
    createdAt: LaunchTime,
    monthly: addCosts(
      instanceMonthlyCost(InstanceType, { spot: InstanceLifecycle === 'spot', stopped }),
      ...disks.map(({ VolumeType, Size }) => diskMonthlyCost(VolumeType, Size)),
      PublicIpAddress ? PUBLIC_ADDRESS_MONTHLY_COST : 0,
    ),
  });
}

function toOwnedDisk({ VolumeId, VolumeType, Size, State, CreateTime, Tags }: Volume, region: string): CloudResource {
  return toCloudResource(tagsToRecord(Tags), {
    kind: 'disk',
    resource: VolumeId ?? '',
    place: region,
    state: State ?? '',
    createdAt: CreateTime,
    monthly: diskMonthlyCost(VolumeType, Size),
  });
}

function toOwnedSecurityGroup({ GroupId = '', Tags }: SecurityGroup, region: string): CloudResource {
  return toCloudResource(tagsToRecord(Tags), { kind: 'firewall', resource: GroupId, place: region, monthly: 0 });
}

function toOwnedNetworkInterface(
  { NetworkInterfaceId = '', Status, TagSet }: NetworkInterface,
  region: string,
): CloudResource {
  return toCloudResource(tagsToRecord(TagSet), {
    kind: 'network interface',
    resource: NetworkInterfaceId,
    place: region,
    state: Status ?? '',
    monthly: 0,
  });
}

function toOwnedSpotRequest(
  { SpotInstanceRequestId = '', State, CreateTime, Tags }: SpotInstanceRequest,
  region: string,
): CloudResource {
  return toCloudResource(tagsToRecord(Tags), {
    kind: 'spot request',
    resource: SpotInstanceRequestId,
    place: region,
    state: State ?? '',
    createdAt: CreateTime,
    monthly: 0,
  });
}

/** Deletes these resources and no others, region by region. */
export async function deleteResources(
  resources: readonly CloudResource[],
  options: Ec2Options,
  call: DriverCall,
): Promise<void> {
  for (const region of new Set(resources.map(({ place }) => place))) {
    const inRegion = resources.filter(({ place }) => place === region);
    await withEc2(
      options,
      call,
      (aws) =>
        deleteByKind(inRegion, {
          'spot request': (requests) =>
            cancelSpotRequests(
              aws,
              requests.map(({ resource }) => resource),
            ),
          instance: (instances) =>
            terminateInstances(
              aws,
              instances.map(({ resource }) => ({ InstanceId: resource })),
            ),
          disk: oneByOne((id) => deleteDisk(aws, id)),
          'network interface': oneByOne((id) => deleteNetworkInterface(aws, id)),
          firewall: oneByOne((id) => deleteSecurityGroup(aws, id, call)),
        }),
      { region },
    );
  }
}
