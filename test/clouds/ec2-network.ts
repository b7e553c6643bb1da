import { ApiError } from './cloud-server.ts';
import { OWN_SUBNET, OWN_VPC } from './ec2-catalog.ts';
import { fieldOf, listOf, textOf, textsOf, type QueryParams } from './ec2-query-protocol.ts';
import {
  accountOf,
  defaultGroups,
  filterResources,
  newId,
  tagsFor,
  tagSet,
  vpcOf,
  type Ec2Operations,
  type IngressRule,
} from './ec2-world.ts';

const NOT_FOUND_CODES = { vpc: 'InvalidVpcID.NotFound', subnet: 'InvalidSubnetID.NotFound' } as const;

/** Returns the resources with these ids, or all of them without ids; refuses an id that does not exist. */
function selectById<T>(
  all: readonly T[],
  ids: readonly string[],
  kind: keyof typeof NOT_FOUND_CODES,
  idOf: (one: T) => string,
): readonly T[] {
  const missing = ids.find((id) => !all.some((one) => idOf(one) === id));
  if (missing !== undefined)
    throw new ApiError(400, NOT_FOUND_CODES[kind], `The ${kind} ID '${missing}' does not exist`);
  return all.filter((one) => ids.length === 0 || ids.includes(idOf(one)));
}

/** Operations on VPCs, subnets, security groups and network interfaces. */
export const networkOperations: Ec2Operations = {
  DescribeVpcs(world, params, region) {
    const all = [
      ...(world.cloud.hasDefaultVpc ? [{ vpcId: vpcOf(region), isDefault: true, cidrBlock: '172.31.0.0/16' }] : []),
      { vpcId: OWN_VPC, isDefault: false, cidrBlock: '10.20.0.0/16' },
    ];
    return {
      vpcSet: filterResources(
        params,
        selectById(all, textsOf(params.VpcId), 'vpc', ({ vpcId }) => vpcId),
        (one) => ({ 'is-default': String(one.isDefault), 'vpc-id': one.vpcId }),
        () => ({}),
      ).map((one) => ({ ...one, ownerId: accountOf(world), state: 'available' })),
    };
  },
  DescribeSubnets(world, params, region) {
    const all = [
      ...(world.cloud.hasDefaultVpc ? ['a', 'b', 'c'] : []).map((letter) => ({
        subnetId: `subnet-${letter}`,
        vpcId: vpcOf(region),
        availabilityZone: `${region}${letter}`,
        defaultForAz: true,
        mapPublicIpOnLaunch: world.cloud.assignsPublicAddresses,
        ipv6Native: false,
      })),
      ...[false, true].map((ipv6Native) => ({
        subnetId: ipv6Native ? 'subnet-six' : OWN_SUBNET,
        vpcId: OWN_VPC,
        availabilityZone: `${region}a`,
        defaultForAz: false,
        mapPublicIpOnLaunch: false,
        ipv6Native,
      })),
    ];
    return {
      subnetSet: filterResources(
        params,
        selectById(all, textsOf(params.SubnetId), 'subnet', ({ subnetId }) => subnetId),
        (one) => ({ 'vpc-id': one.vpcId, 'availability-zone': one.availabilityZone }),
        () => ({}),
      ).map((one) => ({
        ...one,
        availableIpAddressCount: world.cloud.fullSubnets.has(one.subnetId) ? 0 : 251,
        ipv6CidrBlockAssociationSet: world.cloud.ipv6Subnets.has(one.subnetId)
          ? [{ ipv6CidrBlock: '2001:db8:1::/64', ipv6CidrBlockState: { state: 'associated' } }]
          : [],
      })),
    };
  },
  DescribeRouteTables(world, params, region) {
    const gateway = [
      { destinationCidrBlock: '10.0.0.0/8', gatewayId: 'local', state: 'active' },
      { destinationCidrBlock: '0.0.0.0/0', gatewayId: 'igw-1', state: 'active' },
      { destinationIpv6CidrBlock: '::/0', gatewayId: 'igw-1', state: 'active' },
    ];
    const nat = [{ destinationCidrBlock: '0.0.0.0/0', natGatewayId: 'nat-1', state: 'active' }];
    const all = [vpcOf(region), OWN_VPC].flatMap((vpcId) => [
      { vpcId, routeSet: gateway, associationSet: [{ main: true }] as object[] },
      {
        vpcId,
        routeSet: nat,
        associationSet: [...world.cloud.privateSubnets].map((subnetId) => ({ main: false, subnetId })),
      },
    ]);
    return {
      routeTableSet: filterResources(
        params,
        all,
        (one) => ({ 'vpc-id': one.vpcId }),
        () => ({}),
      ),
    };
  },
  CreateSecurityGroup(world, params, region) {
    const name = textOf(params.GroupName);
    const vpc = textOf(params.VpcId) || vpcOf(region);
    if (world.groups.some((one) => one.name === name && one.region === region && one.vpc === vpc))
      throw new ApiError(400, 'InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${vpc}'`);
    const tags = tagsFor(params, 'security-group');
    const group = { id: newId('sg'), region, vpc, name, tags, rules: [], made: Date.now() };
    world.groups.push(group);
    return { groupId: group.id, tagSet: tagSet(group.tags) };
  },
  DescribeSecurityGroups(world, params, region) {
    const found = filterResources(
      params,
      [
        ...defaultGroups(world, region),
        ...world.groups.filter((one) => one.region === region && world.cloud.isShown(one)),
      ],
      (one) => ({ 'group-name': one.name, 'vpc-id': one.vpc, 'group-id': one.id }),
      (one) => one.tags,
    );
    return {
      securityGroupInfo: found.map((one) => ({
        groupId: one.id,
        groupName: one.name,
        ownerId: accountOf(world),
        vpcId: one.vpc,
        tagSet: tagSet(one.tags),
        ipPermissions: one.rules.map(({ protocol, from, to, cidr, description }) => ({
          ipProtocol: protocol,
          fromPort: from,
          toPort: to,
          ...(cidr.includes(':')
            ? { ipv6Ranges: [{ cidrIpv6: cidr, description }] }
            : { ipRanges: [{ cidrIp: cidr, description }] }),
        })),
      })),
    };
  },
  AuthorizeSecurityGroupIngress(world, params, region) {
    const group = world.groups.find(
      (one) => one.id === textOf(params.GroupId) && one.region === region && world.cloud.isShown(one),
    );
    if (!group)
      throw new ApiError(400, 'InvalidGroup.NotFound', `The security group '${textOf(params.GroupId)}' does not exist`);
    const rules = parseIngressRules(params);
    if (rules.length === 0) throw new ApiError(400, 'MissingParameter', 'Either ipPermissions or a source is needed');
    const twice = rules.find((rule) => group.rules.some((known) => isSameRule(known, rule)));
    if (twice)
      throw new ApiError(400, 'InvalidPermission.Duplicate', `the specified rule "peer: ${twice.cidr}" already exists`);
    for (const family of [true, false]) {
      const count = [...group.rules, ...rules].filter(({ cidr }) => cidr.includes(':') === family).length;
      if (count > MAX_RULES)
        throw new ApiError(
          400,
          'RulesPerSecurityGroupLimitExceeded',
          'The maximum number of rules per security group has been reached.',
        );
    }
    group.rules.push(...rules);
    return { return: true };
  },
  RevokeSecurityGroupIngress(world, params, region) {
    const group = world.groups.find((one) => one.id === textOf(params.GroupId) && one.region === region);
    if (!group)
      throw new ApiError(400, 'InvalidGroup.NotFound', `The security group '${textOf(params.GroupId)}' does not exist`);
    for (const rule of parseIngressRules(params)) {
      const at = group.rules.findIndex((known) => isSameRule(known, rule));
      if (at < 0) throw new ApiError(400, 'InvalidPermission.NotFound', 'The specified rule does not exist');
      group.rules.splice(at, 1);
    }
    return { return: true };
  },
  DeleteSecurityGroup(world, params, region) {
    const group = world.groups.find((one) => one.id === textOf(params.GroupId) && one.region === region);
    if (!group)
      throw new ApiError(400, 'InvalidGroup.NotFound', `The security group '${textOf(params.GroupId)}' does not exist`);
    if (world.instances.some((one) => one.groups.includes(group.id) && one.state !== 'terminated'))
      throw new ApiError(400, 'DependencyViolation', `resource ${group.id} has a dependent object`);
    world.groups.splice(world.groups.indexOf(group), 1);
    return { return: true, groupId: group.id };
  },
  DescribeNetworkInterfaces(world, params, region) {
    const found = filterResources(
      params,
      world.nics.filter((one) => one.region === region && world.cloud.isShown(one)),
      (one) => ({ status: one.instance === undefined ? 'available' : 'in-use' }),
      (one) => one.tags,
    );
    return {
      networkInterfaceSet: found.map((one) => ({
        networkInterfaceId: one.id,
        status: one.instance === undefined ? 'available' : 'in-use',
        tagSet: tagSet(one.tags),
      })),
    };
  },
  DeleteNetworkInterface(world, params) {
    const nic = world.nics.find((one) => one.id === textOf(params.NetworkInterfaceId));
    if (!nic)
      throw new ApiError(
        400,
        'InvalidNetworkInterfaceID.NotFound',
        `The networkInterface ID '${textOf(params.NetworkInterfaceId)}' does not exist`,
      );
    if (nic.instance !== undefined)
      throw new ApiError(400, 'InvalidParameterValue', `Network interface '${nic.id}' is currently in use.`);
    world.nics.splice(world.nics.indexOf(nic), 1);
    return { return: true };
  },
};

/** EC2 allows this many inbound rules of each address family. */
const MAX_RULES = 60;

/** A rule is identified without its description. */
const isSameRule = (left: IngressRule, right: IngressRule): boolean =>
  (['protocol', 'from', 'to', 'cidr'] as const).every((key) => left[key] === right[key]);

const parseIngressRules = (params: QueryParams): readonly IngressRule[] =>
  listOf(params.IpPermissions).flatMap((one) =>
    [...listOf(fieldOf(one, 'IpRanges')), ...listOf(fieldOf(one, 'Ipv6Ranges'))].map((range): IngressRule => ({
      protocol: textOf(fieldOf(one, 'IpProtocol')),
      from: Number(textOf(fieldOf(one, 'FromPort'))),
      to: Number(textOf(fieldOf(one, 'ToPort'))),
      cidr: textOf(fieldOf(range, 'CidrIp')) || textOf(fieldOf(range, 'CidrIpv6')),
      description: textOf(fieldOf(range, 'Description')),
    })),
  );
