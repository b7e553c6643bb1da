import type {
  CreateSecurityGroupCommandOutput,
  DescribeSecurityGroupsCommandOutput,
  DescribeVpcsCommandOutput,
  IpPermission,
  SecurityGroup,
  Tag,
} from '@aws-sdk/client-ec2';
import { ownerIdOf, ownerIdsOf } from '../cloud/batch.ts';
import {
  desiredFirewall,
  type FirewallPort,
  missingCidrs,
  noteAllowedCaller,
  parseOpenPort,
  resolveAllowedCidrs,
  type AllowRule,
} from '../cloud/firewall.ts';
import { sharedResourceName } from '../cloud/resource-names.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, CreateCall, Target } from '../contract.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './errors.ts';
import { CONSISTENCY_RETRY_SECONDS } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { tagSpecifications, tagValueOf } from './tags.ts';

const DEPENDENCY_RETRY_SECONDS = 120;

export async function listOwnedSecurityGroups(
  aws: Ec2Connection,
  ownerIds: readonly string[],
): Promise<readonly SecurityGroup[]> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    'looking for its security group',
    new aws.sdk.DescribeSecurityGroupsCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ownerIds] }] }),
  );
  return SecurityGroups;
}

/** Returns the machine's own security group, or the one that its batch shares; undefined if Slipway created none. */
export async function findSecurityGroup(
  aws: Ec2Connection,
  target: Pick<Target<unknown>, 'id' | 'batch'>,
): Promise<SecurityGroup | undefined> {
  const groups = await listOwnedSecurityGroups(aws, ownerIdsOf(target));
  return groups.find(({ Tags }) => tagValueOf(Tags, 'slipway-id') === target.id) ?? groups[0];
}

async function getAllowedCidrs(aws: Ec2Connection, options: Ec2Options): Promise<readonly string[]> {
  const { allowCidr, privateAddressOnly, usePrivateAddress } = options;
  return await resolveAllowedCidrs({
    allowCidr,
    flag: '--ec2-allow-cidr',
    findNetwork: async () => (privateAddressOnly || usePrivateAddress ? await getVpcCidr(aws, options) : undefined),
    endpoint: () => aws.endpoint(),
    call: aws.call,
  });
}

async function getVpcCidr(aws: Ec2Connection, { vpc }: Ec2Options): Promise<string | undefined> {
  if (vpc === undefined) return undefined;
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws.send(
    'looking for the addresses of its VPC',
    new aws.sdk.DescribeVpcsCommand({ VpcIds: [vpc] }),
  );
  return Vpcs[0]?.CidrBlock;
}

/**
 * Finds or creates the security group of a machine or batch, and allows the connections that its options name. Returns
 * its id; undefined if the user wants none.
 */
export async function ensureSecurityGroup(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  tags: readonly Tag[],
  enginePort: number,
  call: CreateCall,
): Promise<string | undefined> {
  const { securityGroupReadonly, securityGroup, sshPort, openPort } = target.options;
  if (securityGroupReadonly && securityGroup.length > 0) return undefined;
  const [found] = await listOwnedSecurityGroups(aws, [ownerIdOf(target)]);
  // Before the group exists: if the caller's address can't be determined, this fails without leaving anything behind.
  const allowedCidrs = await getAllowedCidrs(aws, target.options);
  const { callers, everyone } = desiredFirewall({ ports: [sshPort, enginePort], allowedCidrs, openPort });
  const id = found?.GroupId ?? (await createSecurityGroup(aws, target, tags, call));
  await authorizeIngress(aws, id, [callers, ...(everyone ? [everyone] : [])].flatMap(toIpPermissions), tags);
  return id;
}

async function createSecurityGroup(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  tags: readonly Tag[],
  call: CreateCall,
): Promise<string> {
  const { vpc } = target.options;
  const GroupName = sharedResourceName(ownerIdOf(target));
  await call.recordRequest('security group');
  try {
    const { GroupId = '' }: CreateSecurityGroupCommandOutput = await aws.send(
      'creating its security group',
      new aws.sdk.CreateSecurityGroupCommand({
        GroupName,
        Description: `Slipway: SSH and Docker of ${target.name}`,
        ...(vpc === undefined ? {} : { VpcId: vpc }),
        TagSpecifications: tagSpecifications(tags, ['security-group']),
      }),
    );
    return GroupId;
  } catch (error) {
    // The response to an earlier request was lost, or EC2 does not show the group yet.
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
  const [group] = await listSecurityGroupsByName(aws, 'looking for its security group', [name], vpc);
  if (group?.GroupId === undefined) throw new NotVisibleError();
  return group.GroupId;
}

async function listSecurityGroupsByName(
  aws: Ec2Connection,
  doing: string,
  names: readonly string[],
  vpc: string | undefined,
): Promise<readonly SecurityGroup[]> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    doing,
    new aws.sdk.DescribeSecurityGroupsCommand({
      Filters: [
        { Name: 'group-name', Values: [...names] },
        ...(vpc === undefined ? [] : [{ Name: 'vpc-id', Values: [vpc] }]),
      ],
    }),
  );
  return SecurityGroups;
}

/** Returns one permission for each port: a permission of EC2 has no list of ports. */
function toIpPermissions({ ports, cidrs }: AllowRule): readonly IpPermission[] {
  return ports.map((port) => toIpPermission(port, cidrs));
}

function toIpPermission({ port, protocol }: FirewallPort, cidrs: readonly string[]): IpPermission {
  const ipv6 = cidrs.filter((cidr) => cidr.includes(':'));
  const ipv4 = cidrs.filter((cidr) => !cidr.includes(':'));
  return {
    IpProtocol: protocol,
    FromPort: port,
    ToPort: port,
    ...(ipv4.length > 0 ? { IpRanges: ipv4.map((CidrIp) => ({ CidrIp, Description: 'slipway' })) } : {}),
    ...(ipv6.length > 0 ? { Ipv6Ranges: ipv6.map((CidrIpv6) => ({ CidrIpv6, Description: 'slipway' })) } : {}),
  };
}

/**
 * Adds the permissions in one request, or one by one if the group already has some of them: EC2 then refuses the
 * entire request.
 */
async function authorizeIngress(
  aws: Ec2Connection,
  GroupId: string,
  permissions: readonly IpPermission[],
  tags: readonly Tag[],
): Promise<void> {
  const doing = 'opening its security group';
  const authorize = async (added: readonly IpPermission[]): Promise<void> => {
    const command = new aws.sdk.AuthorizeSecurityGroupIngressCommand({
      GroupId,
      IpPermissions: [...added],
      TagSpecifications: tagSpecifications(tags, ['security-group-rule']),
    });
    await retry(doing, () => aws.send(doing, command), {
      transientReason: (error) =>
        causeAwsCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show it yet' : undefined,
      seconds: CONSISTENCY_RETRY_SECONDS,
      call: aws.call,
    });
  };
  const requireDuplicate = (error: unknown): void => {
    if (causeAwsCode(error) !== 'InvalidPermission.Duplicate') throw error;
  };
  try {
    await authorize(permissions);
  } catch (error) {
    requireDuplicate(error);
    for (const permission of permissions.flatMap(splitIpPermission))
      await authorize([permission]).catch(requireDuplicate);
  }
}

/** Returns one permission for each CIDR block. */
function splitIpPermission({ IpRanges = [], Ipv6Ranges = [], ...rest }: IpPermission): readonly IpPermission[] {
  return [
    ...IpRanges.map((range) => ({ ...rest, IpRanges: [range] })),
    ...Ipv6Ranges.map((range) => ({ ...rest, Ipv6Ranges: [range] })),
  ];
}

/** Allows the caller's current address on every port that the group opens to some addresses. */
export async function allowCallerIp(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { options } = target;
  if (options.allowCidr.length > 0) return;
  // Before the lookup of the caller's address, which needs the SDK's endpoint: only a request reveals it.
  const group = await findSecurityGroup(aws, target);
  if (group?.GroupId === undefined) return;
  const callers = await getAllowedCidrs(aws, options);
  const closed = (group.IpPermissions ?? []).filter((permission) => {
    const cidrs = cidrsOf(permission);
    return cidrs.length > 0 && missingCidrs(cidrs, callers).length > 0;
  });
  if (closed.length === 0) return;
  const permissions = closed.map(({ FromPort = 0, IpProtocol = 'tcp' }) =>
    toIpPermission({ port: FromPort, protocol: IpProtocol }, callers),
  );
  await authorizeIngress(aws, group.GroupId, permissions, group.Tags ?? []);
  for (const cidr of callers) noteAllowedCaller(aws.call, cidr, target.name);
}

/** Applies a changed `allowCidr`: first allows the new blocks, then revokes those that the option no longer names. */
export async function replaceAllowedCidrs(
  aws: Ec2Connection,
  { GroupId, IpPermissions = [], Tags = [] }: SecurityGroup,
  before: readonly string[],
  options: Ec2Options,
): Promise<void> {
  if (GroupId === undefined) return;
  const cidrs = await getAllowedCidrs(aws, options);
  const openPorts = new Set(options.openPort.map((text) => parseOpenPort(text).port));
  const forCallers = IpPermissions.filter(({ FromPort = 0 }) => !openPorts.has(FromPort));
  const { callers } = desiredFirewall({
    ports: forCallers.map(({ FromPort = 0 }) => FromPort),
    allowedCidrs: cidrs,
    openPort: [],
  });
  if (callers.ports.length > 0) await authorizeIngress(aws, GroupId, toIpPermissions(callers), Tags);
  const previous = before.length > 0 ? before : forCallers.flatMap(cidrsOf);
  const removed = new Set(previous.filter((cidr) => !cidrs.includes(cidr)));
  const revoked = forCallers
    .flatMap(splitIpPermission)
    .filter((permission) => cidrsOf(permission).every((cidr) => removed.has(cidr)));
  if (revoked.length === 0) return;
  await aws.send(
    'closing its security group to others',
    new aws.sdk.RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions: [...revoked] }),
  );
}

function cidrsOf({ IpRanges = [], Ipv6Ranges = [] }: IpPermission): readonly string[] {
  return [...IpRanges.flatMap(({ CidrIp }) => CidrIp ?? []), ...Ipv6Ranges.flatMap(({ CidrIpv6 }) => CidrIpv6 ?? [])];
}

/**
 * Returns the ids of the user's own security groups, which the option gives as names or ids. Throws USAGE for an
 * unknown name.
 */
export async function resolveSecurityGroupIds(
  aws: Ec2Connection,
  { securityGroup, vpc }: Ec2Options,
): Promise<readonly string[]> {
  const names = securityGroup.filter((group) => !/^sg-[0-9a-f]+$/.test(group));
  if (names.length === 0) return securityGroup;
  const found = await listSecurityGroupsByName(aws, 'looking for your security groups', names, vpc);
  return securityGroup.map((group) => {
    if (!names.includes(group)) return group;
    const id = found.find(({ GroupName }) => GroupName === group)?.GroupId;
    if (id !== undefined) return id;
    throw new SlipwayError('USAGE', `There is no security group "${group}" in ${vpc ?? 'the default VPC'}`, {
      hint: 'Omit --ec2-security-group: Slipway creates one for this machine alone',
    });
  });
}

/** Deletes the group as soon as nothing uses it, which EC2 notices late. Succeeds if the group is gone already. */
export async function deleteSecurityGroup(aws: Ec2Connection, GroupId: string, call: DriverCall): Promise<void> {
  const doing = 'deleting its security group';
  await retry(doing, () => aws.send(doing, new aws.sdk.DeleteSecurityGroupCommand({ GroupId })), {
    transientReason: (error) =>
      causeAwsCode(error) === 'DependencyViolation' ? 'its instance still uses it' : undefined,
    seconds: DEPENDENCY_RETRY_SECONDS,
    call,
  }).catch((error: unknown) => {
    if (causeAwsCode(error) !== 'InvalidGroup.NotFound') throw error;
  });
}
