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
  callerMark,
  desiredFirewall,
  diffCallerRules,
  type FirewallPort,
  isIpv6Cidr,
  missingCidrs,
  noteAllowedCaller,
  OPEN_PORT_MARK,
  parseOpenPort,
  type PresentRule,
  resolveAllowedCidrs,
  type AllowRule,
} from '../cloud/firewall.ts';
import { sharedResourceName } from '../cloud/resource-names.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import { getStoreId } from '../../machine/store-id.ts';
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
    isDualStack: true,
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

type SecurityGroupSettings = {
  readonly tags: readonly Tag[];
  readonly enginePort: number;
  /** Called with the group's id as soon as the group exists. */
  readonly onGroup: (id: string) => void;
};

/**
 * Finds or creates the security group of a machine or batch, and allows the connections that its options name. Returns
 * its id; undefined if the user wants none.
 */
export async function ensureSecurityGroup(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  { tags, enginePort, onGroup }: SecurityGroupSettings,
  call: CreateCall,
): Promise<string | undefined> {
  const { securityGroupReadonly, securityGroup, sshPort, openPort } = target.options;
  if (securityGroupReadonly && securityGroup.length > 0) return undefined;
  const [found] = await listOwnedSecurityGroups(aws, [ownerIdOf(target)]);
  // Before the group exists: if the caller's address can't be determined, this fails without leaving anything behind.
  const allowedCidrs = await getAllowedCidrs(aws, target.options);
  const { everyone } = desiredFirewall({ ports: [], allowedCidrs, openPort });
  const id = found?.GroupId ?? (await createSecurityGroup(aws, target, tags, call));
  onGroup(id);
  const group: SecurityGroup = { ...found, GroupId: id, Tags: [...tags] };
  const opened = everyone ? openPortPermissions(group, everyone) : [];
  const wanted = { ports: [sshPort, enginePort], cidrs: allowedCidrs, opened };
  await updateCallers(aws, group, wanted, target.options);
  return id;
}

/** Returns the permissions that open ports to everybody and that the group does not have yet. */
function openPortPermissions(group: SecurityGroup, { ports, cidrs }: AllowRule): readonly IpPermission[] {
  const present = presentRulesOf(group);
  const missing = ports.filter(
    ({ port, protocol }) =>
      missingCidrs(
        present.filter((rule) => rule.port === port && rule.protocol === protocol).map(({ cidr }) => cidr),
        cidrs,
      ).length > 0,
  );
  return toIpPermissions({ ports: missing, cidrs }, OPEN_PORT_MARK);
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
  const filter = { Name: 'group-name', Values: [name] };
  const [group] = await listSecurityGroupsBy(aws, 'looking for its security group', filter, vpc);
  if (group?.GroupId === undefined) throw new NotVisibleError();
  return group.GroupId;
}

async function listSecurityGroupsBy(
  aws: Ec2Connection,
  doing: string,
  filter: { readonly Name: string; readonly Values: string[] },
  vpc: string | undefined,
): Promise<readonly SecurityGroup[]> {
  const { SecurityGroups = [] }: DescribeSecurityGroupsCommandOutput = await aws.send(
    doing,
    new aws.sdk.DescribeSecurityGroupsCommand({
      Filters: [filter, ...(vpc === undefined ? [] : [{ Name: 'vpc-id', Values: [vpc] }])],
    }),
  );
  return SecurityGroups;
}

/** Returns one permission for each port: a permission of EC2 has no list of ports. */
function toIpPermissions({ ports, cidrs }: AllowRule, description: string | undefined): readonly IpPermission[] {
  return ports.map((port) => toIpPermission(port, cidrs, description));
}

/** EC2 finds a rule that it removes without its description. */
function toIpPermission(
  { port, protocol }: FirewallPort,
  cidrs: readonly string[],
  description: string | undefined,
): IpPermission {
  const about = description === undefined ? {} : { Description: description };
  const ipv6 = cidrs.filter(isIpv6Cidr);
  const ipv4 = cidrs.filter((cidr) => !isIpv6Cidr(cidr));
  return {
    IpProtocol: protocol,
    FromPort: port,
    ToPort: port,
    ...(ipv4.length > 0 ? { IpRanges: ipv4.map((CidrIp) => ({ CidrIp, ...about })) } : {}),
    ...(ipv6.length > 0 ? { Ipv6Ranges: ipv6.map((CidrIpv6) => ({ CidrIpv6, ...about })) } : {}),
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

/**
 * Allows the caller's current addresses, and those that the options name, on the ports of SSH and the engine; and no
 * longer the addresses that this store allowed before.
 */
export async function allowCallerIp(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { options, name, enginePort } = target;
  // Before the lookup of the caller's address, which needs the SDK's endpoint: only a request reveals it.
  const group = await findSecurityGroup(aws, target);
  if (group === undefined) return;
  const cidrs = await getAllowedCidrs(aws, options);
  const ports = [options.sshPort, ...(enginePort === undefined ? callerPortsOf(group, options) : [enginePort])];
  const added = await updateCallers(aws, group, { ports, cidrs }, options);
  if (options.allowCidr.length === 0) for (const cidr of added) noteAllowedCaller(aws.call, cidr, name);
}

/** Returns the ports that the group already opens to some addresses, but not to all. */
function callerPortsOf(group: SecurityGroup, { openPort }: Ec2Options): readonly number[] {
  const opened = new Set(openPort.map((text) => parseOpenPort(text).port));
  return presentRulesOf(group).flatMap(({ port }) => (opened.has(port) ? [] : [port]));
}

type WantedCallers = {
  readonly ports: readonly number[];
  readonly cidrs: readonly string[];
  /** Further permissions to add by the same request. */
  readonly opened?: readonly IpPermission[];
};

/**
 * Changes the group to allow these callers and no others of this store: first allows the new blocks, then revokes the
 * old ones. Returns the blocks that were not allowed before.
 */
async function updateCallers(
  aws: Ec2Connection,
  group: SecurityGroup,
  { ports, cidrs, opened = [] }: WantedCallers,
  { openPort }: Ec2Options,
): Promise<readonly string[]> {
  const { GroupId, Tags = [] } = group;
  if (GroupId === undefined) return [];
  const storeId = await getStoreId(aws.call.computer);
  const { callers } = desiredFirewall({ ports, allowedCidrs: cidrs, openPort: [] });
  const { added, removed } = diffCallerRules({
    present: presentRulesOf(group),
    wanted: callers,
    openPort,
    storeId,
    createdBy: tagValueOf(Tags, 'slipway-home'),
  });
  const permissions = [...added.flatMap((rule) => toIpPermissions(rule, callerMark(storeId))), ...opened];
  const allow = async (): Promise<void> => {
    if (permissions.length > 0) await authorizeIngress(aws, GroupId, permissions, Tags);
  };
  let isRevoked = false;
  await allow().catch(async (error: unknown) => {
    if (causeAwsCode(error) !== 'RulesPerSecurityGroupLimitExceeded' || removed.length === 0) throw error;
    // Callers of older versions were never revoked, and have filled the group.
    await revokeRules(aws, GroupId, removed);
    isRevoked = true;
    await allow();
  });
  if (!isRevoked && removed.length > 0) await revokeRules(aws, GroupId, removed);
  return [...new Set(added.flatMap((rule) => rule.cidrs))];
}

/** Revokes rules. Without the permission for that, they stay, and a note says who may still connect. */
async function revokeRules(aws: Ec2Connection, GroupId: string, rules: readonly PresentRule[]): Promise<void> {
  const IpPermissions = rules.map((rule) => toIpPermission(rule, [rule.cidr], undefined));
  try {
    await aws.send(
      'closing its security group to others',
      new aws.sdk.RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions }),
    );
  } catch (error) {
    // Somebody else has revoked one of them a moment ago.
    if (causeAwsCode(error) === 'InvalidPermission.NotFound') return;
    if (!/^(UnauthorizedOperation|AccessDenied)/.test(causeAwsCode(error))) throw error;
    const cidrs = [...new Set(rules.map(({ cidr }) => cidr))].join(', ');
    aws.call.note(
      `${cidrs} may still connect through ${GroupId}: your AWS credentials do not allow to revoke its rules`,
    );
  }
}

/** Applies a changed `allowCidr` to the ports that the group opens to callers. */
export async function replaceAllowedCidrs(
  aws: Ec2Connection,
  group: SecurityGroup,
  options: Ec2Options,
): Promise<void> {
  const cidrs = await getAllowedCidrs(aws, options);
  await updateCallers(aws, group, { ports: callerPortsOf(group, options), cidrs }, options);
}

function presentRulesOf({ IpPermissions = [] }: SecurityGroup): readonly PresentRule[] {
  return IpPermissions.flatMap(({ FromPort: port = 0, ToPort = port, IpProtocol: protocol = 'tcp', ...ranges }) => {
    const { IpRanges = [], Ipv6Ranges = [] } = ranges;
    const all = [
      ...IpRanges.map(({ CidrIp, Description }) => ({ cidr: CidrIp, description: Description })),
      ...Ipv6Ranges.map(({ CidrIpv6, Description }) => ({ cidr: CidrIpv6, description: Description })),
    ];
    // Slipway writes no rule for a range of ports.
    if (ToPort !== port) return [];
    return all.map(({ cidr = '', description = '' }) => ({ port, protocol, cidr, description }));
  });
}

/**
 * Returns the ids of the user's own security groups, which the option gives as names or ids. Throws USAGE for a group
 * that does not exist in the machine's VPC.
 */
export async function resolveSecurityGroupIds(
  aws: Ec2Connection,
  { securityGroup, vpc }: Ec2Options,
): Promise<readonly string[]> {
  if (securityGroup.length === 0) return [];
  const isId = (group: string): boolean => /^sg-[0-9a-f]+$/.test(group);
  const byKind = [
    { Name: 'group-id', Values: securityGroup.filter(isId) },
    { Name: 'group-name', Values: securityGroup.filter((group) => !isId(group)) },
  ];
  const doing = 'looking for your security groups';
  const found = await Promise.all(
    byKind
      .filter(({ Values }) => Values.length > 0)
      .map(async (filter) => listSecurityGroupsBy(aws, doing, filter, vpc)),
  );
  return securityGroup.map((group) => {
    const match = found.flat().find(({ GroupId, GroupName }) => group === (isId(group) ? GroupId : GroupName));
    if (match?.GroupId !== undefined) return match.GroupId;
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
