import type {
  DescribeNetworkInterfacesCommandOutput,
  DescribeRegionsCommandOutput,
  DescribeSecurityGroupsCommandOutput,
  DescribeSpotInstanceRequestsCommandOutput,
  DescribeVolumesCommandOutput,
  Tag,
  Volume,
} from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, CloudResource } from '../contract.ts';
import { type Ec2Connection, findConfiguredRegion, withEc2 } from './client.ts';
import { deleteSecurityGroup } from './security-group.ts';
import { listInstances, LIVE_STATES, tagValueOf } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { cancelSpotRequests, deleteDisk, deleteNetworkInterface, terminateInstances } from './remove-machine.ts';

const REGION_CONCURRENCY = 8;

/**
 * What one store of machines made, or all of them, in one region or all that the account uses. Organisations close regions to their
 * accounts, which then refuse to be asked: that is told, unless none answers.
 */
export async function listResources(
  options: Ec2Options,
  home: string | undefined,
  call: DriverCall,
): Promise<readonly CloudResource[]> {
  const regions = options.region === undefined ? await listRegionNames(options, call) : [options.region];
  const found: CloudResource[] = [];
  const closed: { readonly place: string; readonly error: SlipwayError }[] = [];
  const queue = [...regions];
  const next = async (): Promise<void> => {
    for (let region = queue.shift(); region !== undefined; region = queue.shift()) {
      const place = region;
      try {
        found.push(...(await withEc2(options, call, (aws) => listResourcesInRegion(aws, place, home), place)));
      } catch (error) {
        if (!(error instanceof SlipwayError) || error.code !== 'CREDENTIALS') throw error;
        closed.push({ place, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(REGION_CONCURRENCY, regions.length) }, next));
  const [first] = closed;
  if (first && closed.length === regions.length) throw first.error;
  if (first) call.note(`Not asked: ${closed.map(({ place }) => place).join(', ')} (${first.error.message})`);
  return found;
}

/** Any region tells of all the others. */
async function listRegionNames(options: Ec2Options, call: DriverCall): Promise<readonly string[]> {
  return await withEc2(options, call, async (aws) => {
    const region = await findConfiguredRegion(aws);
    const ask = async (one: Ec2Connection): Promise<readonly string[]> => {
      const { Regions = [] }: DescribeRegionsCommandOutput = await one.send(
        'looking for your regions',
        new one.sdk.DescribeRegionsCommand({}),
      );
      return Regions.flatMap(({ RegionName }) => RegionName ?? []);
    };
    return region === undefined ? await withEc2(options, call, ask, 'us-east-1') : await ask(aws);
  });
}

async function listResourcesInRegion(
  aws: Ec2Connection,
  place: string,
  home: string | undefined,
): Promise<readonly CloudResource[]> {
  const ours =
    home === undefined ? { Name: 'tag-key', Values: ['slipway-id'] } : { Name: 'tag:slipway-home', Values: [home] };
  const what = 'looking for what is left over';
  const { sdk } = aws;
  const [
    instances,
    { Volumes = [] },
    { SecurityGroups = [] },
    { NetworkInterfaces = [] },
    { SpotInstanceRequests = [] },
  ] = await Promise.all([
    listInstances(aws, [ours, { Name: 'instance-state-name', Values: LIVE_STATES }]),
    aws.send<DescribeVolumesCommandOutput>(what, new sdk.DescribeVolumesCommand({ Filters: [ours] })),
    aws.send<DescribeSecurityGroupsCommandOutput>(what, new sdk.DescribeSecurityGroupsCommand({ Filters: [ours] })),
    aws.send<DescribeNetworkInterfacesCommandOutput>(
      what,
      new sdk.DescribeNetworkInterfacesCommand({ Filters: [ours, { Name: 'status', Values: ['available'] }] }),
    ),
    aws.send<DescribeSpotInstanceRequestsCommandOutput>(
      what,
      new sdk.DescribeSpotInstanceRequestsCommand({ Filters: [ours, { Name: 'state', Values: ['open'] }] }),
    ),
  ]);
  const thing = (
    tags: readonly Tag[] | undefined,
    more: Pick<CloudResource, 'kind' | 'resource'> & Partial<CloudResource>,
  ): CloudResource => ({
    id: tagValueOf(tags, 'slipway-id'),
    name: tagValueOf(tags, 'slipway-name'),
    home: tagValueOf(tags, 'slipway-home'),
    index: undefined,
    place,
    state: '',
    made: undefined,
    monthly: undefined,
    ...more,
  });
  return [
    ...instances.map((one) =>
      thing(one.Tags, {
        kind: 'instance',
        resource: one.InstanceId ?? '',
        index: one.AmiLaunchIndex,
        state: one.State?.Name ?? '',
        made: one.LaunchTime,
        monthly: addCosts(
          instanceMonthlyCost(one.InstanceType, one.State?.Name, one.InstanceLifecycle === 'spot'),
          attachedDisksMonthlyCost(one.InstanceId, Volumes),
        ),
      }),
    ),
    ...Volumes.filter(({ State }) => State === 'available').map((disk) =>
      thing(disk.Tags, {
        kind: 'disk',
        resource: disk.VolumeId ?? '',
        state: disk.State ?? '',
        made: disk.CreateTime,
        monthly: diskMonthlyCost(disk.VolumeType, disk.Size),
      }),
    ),
    ...SecurityGroups.map(({ Tags, GroupId = '' }) => thing(Tags, { kind: 'firewall', resource: GroupId, monthly: 0 })),
    ...NetworkInterfaces.map(({ TagSet, NetworkInterfaceId = '', Status = '' }) =>
      thing(TagSet, { kind: 'network interface', resource: NetworkInterfaceId, state: Status, monthly: 0 }),
    ),
    ...SpotInstanceRequests.map(({ Tags, SpotInstanceRequestId = '', State = '', CreateTime }) =>
      thing(Tags, {
        kind: 'spot request',
        resource: SpotInstanceRequestId,
        state: State,
        made: CreateTime,
        monthly: 0,
      }),
    ),
  ];
}

function attachedDisksMonthlyCost(instance: string | undefined, volumes: readonly Volume[]): number | undefined {
  const own = volumes.filter(({ Attachments = [] }) => Attachments.some(({ InstanceId }) => InstanceId === instance));
  return own.map(({ VolumeType, Size }) => diskMonthlyCost(VolumeType, Size)).reduce(addCosts, 0);
}

function addCosts(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || right === undefined ? undefined : left + right;
}

/** These and nothing else. Instances first: they hold what the others are. */
export async function deleteResources(
  things: readonly CloudResource[],
  options: Ec2Options,
  call: DriverCall,
): Promise<void> {
  const places = [...new Set(things.map(({ place }) => place))];
  for (const place of places) {
    const here = things.filter((thing) => thing.place === place);
    const those = (kind: CloudResource['kind']): readonly string[] =>
      here.filter((thing) => thing.kind === kind).map(({ resource }) => resource);
    await withEc2(
      options,
      call,
      async (aws) => {
        const requests = those('spot request');
        if (requests.length > 0) await cancelSpotRequests(aws, requests);
        await terminateInstances(
          aws,
          those('instance').map((InstanceId) => ({ InstanceId })),
        );
        for (const id of those('disk')) await deleteDisk(aws, id);
        for (const id of those('network interface')) await deleteNetworkInterface(aws, id);
        for (const id of those('firewall')) await deleteSecurityGroup(aws, id, call);
      },
      place,
    );
  }
}
