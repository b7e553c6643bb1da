import type {
  CreateSecurityGroupCommandOutput,
  DescribeSecurityGroupsCommandOutput,
  DescribeVpcsCommandOutput,
  IpPermission,
  SecurityGroup,
  Tag,
} from '@aws-sdk/client-ec2';
import { findCallerCidr } from '../cloud/caller-ip.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, CreateCall, Target } from '../contract.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode, tagValueOf, tagSpecifications } from './instances.ts';
import type { Ec2Options } from './options.ts';

const CONSISTENCY_RETRY_SECONDS = 30;

/** The id that our group is named by: a batch has one for all its machines. */
export const ownerIdOf = ({ id, batch }: Pick<Target<unknown>, 'id' | 'batch'>): string => batch?.id ?? id;

export async function listOwnedSecurityGroups(
  aws: Ec2Connection,
  ids: readonly string[],
): Promise<readonly SecurityGroup[]> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'looking for its security group',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ids] }] }),
  );
  return SecurityGroups;
}

/** The ids that what is a machine's may carry: its own, and its batch's. */
export const ownerIdsOf = (target: Pick<Target<unknown>, 'id' | 'batch'>): readonly string[] => [
  ...new Set([target.id, ownerIdOf(target)]),
];

/** The group of ours that lets clients in: one of a batch that was made anew has its own, the others share theirs. */
export async function findSecurityGroup(
  aws: Ec2Connection,
  target: Pick<Target<unknown>, 'id' | 'batch'>,
): Promise<SecurityGroup | undefined> {
  const groups = await listOwnedSecurityGroups(aws, ownerIdsOf(target));
  return groups.find(({ Tags }) => tagValueOf(Tags, 'slipway-id') === target.id) ?? groups[0];
}

/** Who may connect: the blocks that were named, or this computer alone. */
export async function getAllowedCidrs(aws: Ec2Connection, options: Ec2Options): Promise<readonly string[]> {
  const { allowCidr, privateAddressOnly, usePrivateAddress } = options;
  if (allowCidr.length > 0) return allowCidr;
  const network = privateAddressOnly || usePrivateAddress ? await getVpcCidr(aws, options) : undefined;
  return [await findCallerCidr(aws.endpoint(), '--ec2-allow-cidr', aws.call, network)];
}

/** The block of addresses of its VPC. */
async function getVpcCidr(aws: Ec2Connection, { vpc }: Ec2Options): Promise<string | undefined> {
  if (vpc === undefined) return undefined;
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws.send(
    'looking for the addresses of its VPC',
    new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
  );
  return Vpcs[0]?.CidrBlock;
}

/** The group of ours, made or found, with its doors open; undefined where the user wants none. */
export async function ensureSecurityGroup(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  tags: readonly Tag[],
  enginePort: number,
  call: CreateCall,
): Promise<string | undefined> {
  const { options } = target;
  if (options.securityGroupReadonly && options.securityGroup.length > 0) return undefined;
  const [found] = await listOwnedSecurityGroups(aws, [ownerIdOf(target)]);
  // Found out first: without it nothing needs to be made.
  const doors = toIpPermissions([options.sshPort, enginePort], await getAllowedCidrs(aws, options), options.openPort);
  const id = found?.GroupId ?? (await createSecurityGroup(aws, target, tags, call));
  await authorizeIngress(aws, id, doors, tags);
  return id;
}

async function createSecurityGroup(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  tags: readonly Tag[],
  call: CreateCall,
): Promise<string> {
  const { vpc } = target.options;
  const GroupName = `slipway-${ownerIdOf(target)}`;
  await call.recordRequest('security group');
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
    if (causeAwsCode(error) !== 'InvalidGroup.Duplicate') throw error;
    return await retry('its security group', () => getSecurityGroupIdByName(aws, GroupName, vpc), {
      transientReason: (reason) => (reason instanceof NotVisibleError ? 'EC2 does not show it yet' : undefined),
      seconds: CONSISTENCY_RETRY_SECONDS,
      call,
    });
  }
}

class NotVisibleError extends Error {}

async function getSecurityGroupIdByName(aws: Ec2Connection, name: string, vpc: string | undefined): Promise<string> {
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
  if (id === undefined) throw new NotVisibleError();
  return id;
}

/** Ours from these blocks alone; what the user opens by name, to all. */
export function toIpPermissions(
  ports: readonly number[],
  blocks: readonly string[],
  open: readonly string[],
): readonly IpPermission[] {
  const own = [...new Set(ports)].map((port) => toIpPermission(port, 'tcp', blocks));
  const further = open.map((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return toIpPermission(Number(port), protocol, ['0.0.0.0/0', '::/0']);
  });
  return [...own, ...further];
}

function toIpPermission(port: number, protocol: string, blocks: readonly string[]): IpPermission {
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
async function authorizeIngress(
  aws: Ec2Connection,
  GroupId: string,
  doors: readonly IpPermission[],
  tags: readonly Tag[],
): Promise<void> {
  const whole = async (rules: readonly IpPermission[]): Promise<void> => {
    await retry(
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
        transientReason: (error) =>
          causeAwsCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show it yet' : undefined,
        seconds: CONSISTENCY_RETRY_SECONDS,
        call: aws.call,
      },
    );
  };
  try {
    await whole(doors);
  } catch (error) {
    if (causeAwsCode(error) !== 'InvalidPermission.Duplicate') throw error;
    for (const rule of doors.flatMap(splitIpPermission)) {
      await whole([rule]).catch((again: unknown) => {
        if (causeAwsCode(again) !== 'InvalidPermission.Duplicate') throw again;
      });
    }
  }
}

function splitIpPermission({ IpRanges = [], Ipv6Ranges = [], ...rest }: IpPermission): readonly IpPermission[] {
  return [
    ...IpRanges.map((range) => ({ ...rest, IpRanges: [range] })),
    ...Ipv6Ranges.map((range) => ({ ...rest, Ipv6Ranges: [range] })),
  ];
}

/** Lets today's address through the doors that the group has, where it is not let through yet. */
export async function allowCallerIp(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { options } = target;
  if (options.allowCidr.length > 0) return;
  // The first request also tells the SDK's endpoint, by which we know our own address.
  const group = await findSecurityGroup(aws, target);
  if (group?.GroupId === undefined) return;
  const [block = ''] = await getAllowedCidrs(aws, options);
  const doors = (group.IpPermissions ?? []).filter(({ IpRanges = [], Ipv6Ranges = [] }) => {
    const blocks = cidrsOf({ IpRanges, Ipv6Ranges });
    return blocks.length > 0 && !blocks.includes(block) && !blocks.includes('0.0.0.0/0');
  });
  if (doors.length === 0) return;
  const rules = doors.map(({ FromPort = 0, IpProtocol = 'tcp' }) => toIpPermission(FromPort, IpProtocol, [block]));
  await authorizeIngress(aws, group.GroupId, rules, group.Tags ?? []);
  aws.call.note(`${block} may connect to "${target.name}" from now on`);
}

/** Others may connect than before. First the new ones are let in, then those that are named no longer are kept out. */
export async function replaceAllowedCidrs(
  aws: Ec2Connection,
  { GroupId, IpPermissions = [], Tags = [] }: SecurityGroup,
  before: readonly string[],
  options: Ec2Options,
): Promise<void> {
  if (GroupId === undefined) return;
  const blocks = await getAllowedCidrs(aws, options);
  const open = new Set(options.openPort.map((text) => Number(text.split('/')[0])));
  const doors = IpPermissions.filter(({ FromPort = 0 }) => !open.has(FromPort));
  const ports = doors.map(({ FromPort = 0 }) => FromPort);
  if (ports.length > 0) await authorizeIngress(aws, GroupId, toIpPermissions(ports, blocks, []), Tags);
  const had = before.length > 0 ? before : doors.flatMap(cidrsOf);
  const gone = new Set(had.filter((block) => !blocks.includes(block)));
  const closed = doors.flatMap(splitIpPermission).filter((rule) => cidrsOf(rule).every((block) => gone.has(block)));
  if (closed.length === 0) return;
  await aws.send(
    'closing its security group to others',
    new aws.sdk.RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions: [...closed] }),
  );
}

function cidrsOf({ IpRanges = [], Ipv6Ranges = [] }: IpPermission): readonly string[] {
  return [...IpRanges.flatMap(({ CidrIp }) => CidrIp ?? []), ...Ipv6Ranges.flatMap(({ CidrIpv6 }) => CidrIpv6 ?? [])];
}

/** Groups of the user's, by the names or ids that they gave. */
export async function resolveSecurityGroupIds(
  aws: Ec2Connection,
  { securityGroup, vpc }: Ec2Options,
): Promise<readonly string[]> {
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
export async function deleteSecurityGroup(aws: Ec2Connection, GroupId: string, call: DriverCall): Promise<void> {
  await retry(
    'removing its security group',
    () => aws.send('removing its security group', new aws.sdk.DeleteSecurityGroupCommand({ GroupId })),
    {
      transientReason: (error) =>
        causeAwsCode(error) === 'DependencyViolation' ? 'its instance still lets go of it' : undefined,
      seconds: 120,
      call,
    },
  ).catch((error: unknown) => {
    if (causeAwsCode(error) !== 'InvalidGroup.NotFound') throw error;
  });
}
