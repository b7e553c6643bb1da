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
import type { Call, Owned } from '../contract.ts';
import { type Aws, namedRegion, withAws } from './client.ts';
import { removeGroup } from './firewall.ts';
import { instancesWith, LIVE, tagOf } from './instances.ts';
import type { Options } from './options.ts';
import { diskMonthly, instanceMonthly } from './prices.ts';
import { cancelRequests, removeDisk, removeInterface, terminate } from './remove.ts';

const REGIONS_AT_ONCE = 8;

/**
 * What one store of machines made, or all of them, in one region or all that the account uses. Organisations close regions to their
 * accounts, which then refuse to be asked: that is told, unless none answers.
 */
export async function ownedIn(options: Options, home: string | undefined, call: Call): Promise<readonly Owned[]> {
  const regions = options.region === undefined ? await regionsOf(options, call) : [options.region];
  const found: Owned[] = [];
  const closed: { readonly place: string; readonly error: SlipwayError }[] = [];
  const queue = [...regions];
  const next = async (): Promise<void> => {
    for (let region = queue.shift(); region !== undefined; region = queue.shift()) {
      const place = region;
      try {
        found.push(...(await withAws(options, call, (aws) => ownedHere(aws, place, home), place)));
      } catch (error) {
        if (!(error instanceof SlipwayError) || error.code !== 'CREDENTIALS') throw error;
        closed.push({ place, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(REGIONS_AT_ONCE, regions.length) }, next));
  const [first] = closed;
  if (first && closed.length === regions.length) throw first.error;
  if (first) call.note(`Not asked: ${closed.map(({ place }) => place).join(', ')} (${first.error.message})`);
  return found;
}

/** Any region tells of all the others. */
async function regionsOf(options: Options, call: Call): Promise<readonly string[]> {
  return await withAws(options, call, async (aws) => {
    const region = await namedRegion(aws);
    const ask = async (one: Aws): Promise<readonly string[]> => {
      const { Regions = [] }: DescribeRegionsCommandOutput = await one.send(
        'looking for your regions',
        new one.sdk.DescribeRegionsCommand({}),
      );
      return Regions.flatMap(({ RegionName }) => RegionName ?? []);
    };
    return region === undefined ? await withAws(options, call, ask, 'us-east-1') : await ask(aws);
  });
}

async function ownedHere(aws: Aws, place: string, home: string | undefined): Promise<readonly Owned[]> {
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
    instancesWith(aws, [ours, { Name: 'instance-state-name', Values: LIVE }]),
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
  const thing = (tags: readonly Tag[] | undefined, more: Pick<Owned, 'kind' | 'resource'> & Partial<Owned>): Owned => ({
    id: tagOf(tags, 'slipway-id'),
    name: tagOf(tags, 'slipway-name'),
    home: tagOf(tags, 'slipway-home'),
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
        monthly: sum(
          instanceMonthly(one.InstanceType, one.State?.Name, one.InstanceLifecycle === 'spot'),
          disksOf(one.InstanceId, Volumes),
        ),
      }),
    ),
    ...Volumes.filter(({ State }) => State === 'available').map((disk) =>
      thing(disk.Tags, {
        kind: 'disk',
        resource: disk.VolumeId ?? '',
        state: disk.State ?? '',
        made: disk.CreateTime,
        monthly: diskMonthly(disk.VolumeType, disk.Size),
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

function disksOf(instance: string | undefined, volumes: readonly Volume[]): number | undefined {
  const own = volumes.filter(({ Attachments = [] }) => Attachments.some(({ InstanceId }) => InstanceId === instance));
  return own.map(({ VolumeType, Size }) => diskMonthly(VolumeType, Size)).reduce(sum, 0);
}

function sum(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || right === undefined ? undefined : left + right;
}

/** These and nothing else. Instances first: they hold what the others are. */
export async function discardThese(things: readonly Owned[], options: Options, call: Call): Promise<void> {
  const places = [...new Set(things.map(({ place }) => place))];
  for (const place of places) {
    const here = things.filter((thing) => thing.place === place);
    const those = (kind: Owned['kind']): readonly string[] =>
      here.filter((thing) => thing.kind === kind).map(({ resource }) => resource);
    await withAws(
      options,
      call,
      async (aws) => {
        const requests = those('spot request');
        if (requests.length > 0) await cancelRequests(aws, requests);
        await terminate(
          aws,
          those('instance').map((InstanceId) => ({ InstanceId })),
        );
        for (const id of those('disk')) await removeDisk(aws, id);
        for (const id of those('network interface')) await removeInterface(aws, id);
        for (const id of those('firewall')) await removeGroup(aws, id, call);
      },
      place,
    );
  }
}
