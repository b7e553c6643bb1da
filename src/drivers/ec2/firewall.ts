import type {
  CreateSecurityGroupCommandOutput,
  DescribeSecurityGroupsCommandOutput,
  DescribeVpcsCommandOutput,
  IpPermission,
  SecurityGroup,
  Tag,
} from '@aws-sdk/client-ec2';
import { callerBlock } from '../cloud/caller-ip.ts';
import { insist } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Call, MakingCall, Target } from '../contract.ts';
import type { Aws } from './client.ts';
import { causeCode, tagOf, tagSpecifications } from './instances.ts';
import type { Options } from './options.ts';

const SHOWS_SECONDS = 30;

/** The id that our group is named by: a batch has one for all its machines. */
export const groupId = ({ id, batch }: Pick<Target<unknown>, 'id' | 'batch'>): string => batch?.id ?? id;

export async function ourGroups(aws: Aws, ids: readonly string[]): Promise<readonly SecurityGroup[]> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'looking for its security group',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ids] }] }),
  );
  return SecurityGroups;
}

/** The ids that what is a machine's may carry: its own, and its batch's. */
export const idsOf = (target: Pick<Target<unknown>, 'id' | 'batch'>): readonly string[] => [
  ...new Set([target.id, groupId(target)]),
];

/** The group of ours that lets clients in: one of a batch that was made anew has its own, the others share theirs. */
export async function groupOf(
  aws: Aws,
  target: Pick<Target<unknown>, 'id' | 'batch'>,
): Promise<SecurityGroup | undefined> {
  const groups = await ourGroups(aws, idsOf(target));
  return groups.find(({ Tags }) => tagOf(Tags, 'slipway-id') === target.id) ?? groups[0];
}

/** Who may connect: the blocks that were named, or this computer alone. */
export async function allowedBlocks(aws: Aws, options: Options): Promise<readonly string[]> {
  const { allowCidr, privateAddressOnly, usePrivateAddress } = options;
  if (allowCidr.length > 0) return allowCidr;
  const network = privateAddressOnly || usePrivateAddress ? await networkOf(aws, options) : undefined;
  return [await callerBlock(aws.endpoint(), '--ec2-allow-cidr', aws.call, network)];
}

/** The block of addresses of its VPC. */
async function networkOf(aws: Aws, { vpc }: Options): Promise<string | undefined> {
  if (vpc === undefined) return undefined;
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws.send(
    'looking for the addresses of its VPC',
    new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
  );
  return Vpcs[0]?.CidrBlock;
}

/** The group of ours, made or found, with its doors open; undefined where the user wants none. */
export async function ourGroup(
  aws: Aws,
  target: Target<Options>,
  tags: readonly Tag[],
  enginePort: number,
  call: MakingCall,
): Promise<string | undefined> {
  const { options } = target;
  if (options.securityGroupReadonly && options.securityGroup.length > 0) return undefined;
  const [found] = await ourGroups(aws, [groupId(target)]);
  // Found out first: without it nothing needs to be made.
  const doors = permissions([options.sshPort, enginePort], await allowedBlocks(aws, options), options.openPort);
  const id = found?.GroupId ?? (await makeGroup(aws, target, tags, call));
  await authorize(aws, id, doors, tags);
  return id;
}

async function makeGroup(aws: Aws, target: Target<Options>, tags: readonly Tag[], call: MakingCall): Promise<string> {
  const { vpc } = target.options;
  const GroupName = `slipway-${groupId(target)}`;
  await call.asking('security group');
  try {
    const { GroupId = '' }: CreateSecurityGroupCommandOutput = await aws.send(
      'making its security group',
      new aws.sdk.CreateSecurityGroupCommand({
        GroupName,
        Description: `Slipway: SSH and Docker of ${target.name}`,
        ...(vpc === undefined ? {} : { VpcId: vpc }),
        TagSpecifications: tagSpecifications(tags, ['security-group']),
      }),
    );
    return GroupId;
  } catch (error) {
    // The answer of an earlier try was lost, or is not shown yet.
    if (causeCode(error) !== 'InvalidGroup.Duplicate') throw error;
    return await insist('its security group', () => groupNamed(aws, GroupName, vpc), {
      passing: (reason) => (reason instanceof NotShown ? 'EC2 does not show it yet' : undefined),
      seconds: SHOWS_SECONDS,
      call,
    });
  }
}

class NotShown extends Error {}

async function groupNamed(aws: Aws, name: string, vpc: string | undefined): Promise<string> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'looking for its security group',
    new aws.sdk.DescribeSecurityGroupsCommand({
      Filters: [
        { Name: 'group-name', Values: [name] },
        ...(vpc === undefined ? [] : [{ Name: 'vpc-id', Values: [vpc] }]),
      ],
    }),
  );
  const id = SecurityGroups[0]?.GroupId;
  if (id === undefined) throw new NotShown();
  return id;
}

/** Ours from these blocks alone; what the user opens by name, to all. */
export function permissions(
  ports: readonly number[],
  blocks: readonly string[],
  open: readonly string[],
): readonly IpPermission[] {
  const own = [...new Set(ports)].map((port) => permission(port, 'tcp', blocks));
  const further = open.map((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return permission(Number(port), protocol, ['0.0.0.0/0', '::/0']);
  });
  return [...own, ...further];
}

function permission(port: number, protocol: string, blocks: readonly string[]): IpPermission {
  const [six, four] = [blocks.filter((block) => block.includes(':')), blocks.filter((block) => !block.includes(':'))];
  return {
    IpProtocol: protocol,
    FromPort: port,
    ToPort: port,
    ...(four.length > 0 ? { IpRanges: four.map((CidrIp) => ({ CidrIp, Description: 'slipway' })) } : {}),
    ...(six.length > 0 ? { Ipv6Ranges: six.map((CidrIpv6) => ({ CidrIpv6, Description: 'slipway' })) } : {}),
  };
}

/** Rule by rule: of several in one call, one that is there already would refuse the others. */
async function authorize(
  aws: Aws,
  GroupId: string,
  doors: readonly IpPermission[],
  tags: readonly Tag[],
): Promise<void> {
  const whole = async (rules: readonly IpPermission[]): Promise<void> => {
    await insist(
      'opening its security group',
      () =>
        aws.send(
          'opening its security group',
          new aws.sdk.AuthorizeSecurityGroupIngressCommand({
            GroupId,
            IpPermissions: [...rules],
            TagSpecifications: tagSpecifications(tags, ['security-group-rule']),
          }),
        ),
      {
        passing: (error) => (causeCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show it yet' : undefined),
        seconds: SHOWS_SECONDS,
        call: aws.call,
      },
    );
  };
  try {
    await whole(doors);
  } catch (error) {
    if (causeCode(error) !== 'InvalidPermission.Duplicate') throw error;
    for (const rule of doors.flatMap(oneByOne)) {
      await whole([rule]).catch((again: unknown) => {
        if (causeCode(again) !== 'InvalidPermission.Duplicate') throw again;
      });
    }
  }
}

function oneByOne({ IpRanges = [], Ipv6Ranges = [], ...rest }: IpPermission): readonly IpPermission[] {
  return [
    ...IpRanges.map((range) => ({ ...rest, IpRanges: [range] })),
    ...Ipv6Ranges.map((range) => ({ ...rest, Ipv6Ranges: [range] })),
  ];
}

/** Lets today's address through the doors that the group has, where it is not let through yet. */
export async function admitCaller(aws: Aws, target: Target<Options>): Promise<void> {
  const { options } = target;
  if (options.allowCidr.length > 0) return;
  // The first request also tells the SDK's endpoint, by which we know our own address.
  const group = await groupOf(aws, target);
  if (group?.GroupId === undefined) return;
  const [block = ''] = await allowedBlocks(aws, options);
  const doors = (group.IpPermissions ?? []).filter(({ IpRanges = [], Ipv6Ranges = [] }) => {
    const blocks = blocksOf({ IpRanges, Ipv6Ranges });
    return blocks.length > 0 && !blocks.includes(block) && !blocks.includes('0.0.0.0/0');
  });
  if (doors.length === 0) return;
  const rules = doors.map(({ FromPort = 0, IpProtocol = 'tcp' }) => permission(FromPort, IpProtocol, [block]));
  await authorize(aws, group.GroupId, rules, group.Tags ?? []);
  aws.call.note(`${block} may connect to "${target.name}" from now on`);
}

/** Others may connect than before. First the new ones are let in, then those that are named no longer are kept out. */
export async function replaceBlocks(
  aws: Aws,
  { GroupId, IpPermissions = [], Tags = [] }: SecurityGroup,
  before: readonly string[],
  options: Options,
): Promise<void> {
  if (GroupId === undefined) return;
  const blocks = await allowedBlocks(aws, options);
  const open = new Set(options.openPort.map((text) => Number(text.split('/')[0])));
  const doors = IpPermissions.filter(({ FromPort = 0 }) => !open.has(FromPort));
  const ports = doors.map(({ FromPort = 0 }) => FromPort);
  if (ports.length > 0) await authorize(aws, GroupId, permissions(ports, blocks, []), Tags);
  const had = before.length > 0 ? before : doors.flatMap(blocksOf);
  const gone = new Set(had.filter((block) => !blocks.includes(block)));
  const closed = doors.flatMap(oneByOne).filter((rule) => blocksOf(rule).every((block) => gone.has(block)));
  if (closed.length === 0) return;
  await aws.send(
    'closing its security group to others',
    new aws.sdk.RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions: [...closed] }),
  );
}

function blocksOf({ IpRanges = [], Ipv6Ranges = [] }: IpPermission): readonly string[] {
  return [...IpRanges.flatMap(({ CidrIp }) => CidrIp ?? []), ...Ipv6Ranges.flatMap(({ CidrIpv6 }) => CidrIpv6 ?? [])];
}

/** Groups of the user's, by the names or ids that they gave. */
export async function theirGroups(aws: Aws, { securityGroup, vpc }: Options): Promise<readonly string[]> {
  const names = securityGroup.filter((group) => !/^sg-[0-9a-f]+$/.test(group));
  if (names.length === 0) return securityGroup;
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'looking for your security groups',
    new aws.sdk.DescribeSecurityGroupsCommand({
      Filters: [
        { Name: 'group-name', Values: names },
        ...(vpc === undefined ? [] : [{ Name: 'vpc-id', Values: [vpc] }]),
      ],
    }),
  );
  return securityGroup.map((group) => {
    if (!names.includes(group)) return group;
    const id = SecurityGroups.find(({ GroupName }) => GroupName === group)?.GroupId;
    if (id !== undefined) return id;
    throw new SlipwayError('USAGE', `There is no security group "${group}" in ${vpc ?? 'the default VPC'}`, {
      hint: 'Leave --ec2-security-group out: Slipway makes one for this machine alone',
    });
  });
}

/** Gone once nothing uses it, which EC2 notices late. */
export async function removeGroup(aws: Aws, GroupId: string, call: Call): Promise<void> {
  await insist(
    'removing its security group',
    () => aws.send('removing its security group', new aws.sdk.DeleteSecurityGroupCommand({ GroupId })),
    {
      passing: (error) => (causeCode(error) === 'DependencyViolation' ? 'its instance still lets go of it' : undefined),
      seconds: 120,
      call,
    },
  ).catch((error: unknown) => {
    if (causeCode(error) !== 'InvalidGroup.NotFound') throw error;
  });
}
