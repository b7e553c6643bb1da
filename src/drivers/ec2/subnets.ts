import type {
  DescribeInstanceTypeOfferingsCommandOutput,
  DescribeRouteTablesCommandOutput,
  DescribeSubnetsCommandOutput,
  RouteTable,
  Subnet,
  Vpc,
} from '@aws-sdk/client-ec2';
import { formatList } from '../../machine/options.ts';
import { SlipwayError } from '../../errors.ts';
import { collectPages, type Ec2Connection } from './client.ts';
import { causeAwsCode, otherTypeThan } from './errors.ts';
import type { Ec2Options } from './options.ts';

/** Returns the subnet that the user named. */
export async function findSubnet(aws: Ec2Connection, id: string): Promise<Subnet | undefined> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    `looking for the subnet ${id}`,
    new aws.sdk.DescribeSubnetsCommand({ SubnetIds: [id] }),
  );
  return Subnets[0];
}

/** What a subnet needs for a machine, as far as AWS says it. */
type SubnetRules = {
  /** The zones that offer the instance type; undefined if AWS does not say it. */
  readonly zones: ReadonlySet<string> | undefined;
  /** The VPC's route tables; undefined if the machine needs no public address, or AWS does not say it. */
  readonly routeTables: readonly RouteTable[] | undefined;
  readonly options: Ec2Options;
  /** Whether this computer has no IPv4, so that the machine needs an IPv6 address. `options.ipv6` is set then. */
  readonly isCallerIpv6Only: boolean;
};

/**
 * Returns the subnet that the request has to name; undefined to let AWS choose a default subnet by free capacity, which
 * requires that all of them suit the machine. Throws USAGE, before anything exists, if the named subnet or none of them
 * suits it: RunInstances would refuse it only after a security group exists, or create a machine that nobody reaches.
 */
export async function chooseSubnet(
  aws: Ec2Connection,
  vpc: Vpc,
  named: Subnet | undefined,
  { options, isCallerIpv6Only }: Pick<SubnetRules, 'options' | 'isCallerIpv6Only'>,
): Promise<string | undefined> {
  const [subnets, zones, routeTables] = await Promise.all([
    named ? [named] : listSubnets(aws, vpc, options),
    listZonesOffering(aws, options),
    options.privateAddressOnly || options.usePrivateAddress ? undefined : listRouteTables(aws, vpc),
  ]);
  const rules: SubnetRules = { zones, routeTables, options, isCallerIpv6Only };
  if (named) {
    const problem = findMisplacement(named, vpc, options) ?? findProblem(named, rules);
    if (problem === undefined) return named.SubnetId;
    throw new SlipwayError('USAGE', `The subnet ${named.SubnetId} ${problem}`, {
      hint: options.ipv6 && !hasIpv6(named) ? ipv6Hint(rules) : SUBNET_HINT,
    });
  }
  const usable = subnets.filter((subnet) => findProblem(subnet, rules) === undefined);
  const defaults = subnets.filter(({ DefaultForAz, Ipv6Native }) => DefaultForAz === true && Ipv6Native !== true);
  const isPreferred = ({ MapPublicIpOnLaunch = true }: Subnet): boolean =>
    MapPublicIpOnLaunch === !options.privateAddressOnly;
  const isLeftToAws = !options.ipv6 && defaults.every((subnet) => usable.includes(subnet) && isPreferred(subnet));
  if (vpc.IsDefault === true && defaults.length > 0 && isLeftToAws) return undefined;
  const id = (usable.find(isPreferred) ?? usable[0])?.SubnetId;
  if (id !== undefined) return id;
  throw noSubnetError(vpc, subnets, rules);
}

const SUBNET_HINT = 'Choose another subnet: --ec2-subnet subnet-0123';

function noSubnetError(vpc: Vpc, subnets: readonly Subnet[], rules: SubnetRules): SlipwayError {
  const { zone } = rules.options;
  const where = zone === undefined ? '' : ` in ${zone}`;
  if (subnets.length === 0)
    return new SlipwayError('USAGE', `${vpc.VpcId} has no subnet${where}`, {
      hint: `Choose one: --ec2-subnet subnet-0123${zone === undefined ? '' : '; or change or omit --ec2-zone'}`,
    });
  const problems = subnets.map((subnet) => `${subnet.SubnetId} ${findProblem(subnet, rules)}`);
  return new SlipwayError('USAGE', `No subnet of ${vpc.VpcId}${where} suits this machine: ${formatList(problems)}`, {
    hint: hintFor(subnets, rules),
  });
}

/** Returns what to change if no subnet suits the machine. */
function hintFor(subnets: readonly Subnet[], rules: SubnetRules): string {
  const { zones, routeTables, options } = rules;
  const isZoneOffered = (subnet: Subnet): boolean => zones?.has(subnet.AvailabilityZone ?? '') !== false;
  if (!subnets.some(isZoneOffered))
    return `Choose another type: --ec2-instance-type ${otherTypeThan(options.instanceType)}${options.zone === undefined ? '' : '; or change or omit --ec2-zone'}`;
  if (options.ipv6 && !subnets.some(hasIpv6)) return ipv6Hint(rules);
  const isPublic = (subnet: Subnet): boolean => !routeTables || hasInternetRoute(subnet, routeTables, options);
  return subnets.some(isPublic)
    ? SUBNET_HINT
    : `${SUBNET_HINT}; or, from inside the VPC, connect to the private address: --ec2-private-address-only`;
}

/** Returns what to do if no subnet has IPv6 addresses. */
function ipv6Hint({ isCallerIpv6Only }: SubnetRules): string {
  const fix = 'Give a subnet of the VPC an IPv6 CIDR block, and a route from ::/0 to the internet gateway';
  return isCallerIpv6Only
    ? `This computer has only IPv6. ${fix}; or run Slipway on a computer that has IPv4`
    : `${fix}; or omit --ec2-ipv6`;
}

function hasIpv6({ Ipv6CidrBlockAssociationSet: blocks = [] }: Subnet): boolean {
  return blocks.some(({ Ipv6CidrBlockState }) => Ipv6CidrBlockState?.State === 'associated');
}

/** Returns why a named subnet does not match the other options, as the end of a sentence; undefined if it does. */
function findMisplacement(subnet: Subnet, { VpcId }: Vpc, { zone }: Ec2Options): string | undefined {
  if (subnet.VpcId !== undefined && subnet.VpcId !== VpcId) return `belongs to ${subnet.VpcId}, not to ${VpcId}`;
  const { AvailabilityZone } = subnet;
  if (zone === undefined || AvailabilityZone === undefined || AvailabilityZone === zone) return undefined;
  return `is in ${AvailabilityZone}, not in ${zone} (--ec2-zone)`;
}

/** Returns why a subnet does not suit the machine, as the end of a sentence; undefined if it does. */
function findProblem(subnet: Subnet, { zones, routeTables, options }: SubnetRules): string | undefined {
  const { AvailabilityZone = '', AvailableIpAddressCount = 1, Ipv6Native } = subnet;
  if (Ipv6Native === true) return 'has no IPv4 addresses, which Slipway needs to connect';
  if (AvailableIpAddressCount === 0) return 'has no free address';
  if (zones?.has(AvailabilityZone) === false) return `is in ${AvailabilityZone}, which has no ${options.instanceType}`;
  if (options.ipv6 && !hasIpv6(subnet)) return 'has no IPv6 addresses';
  if (routeTables && !hasInternetRoute(subnet, routeTables, options))
    return `has no route to an internet gateway${options.ipv6 ? ' for IPv6' : ''}`;
  return undefined;
}

async function listSubnets(aws: Ec2Connection, vpc: Vpc, { zone }: Ec2Options): Promise<readonly Subnet[]> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    'looking for a subnet',
    new aws.sdk.DescribeSubnetsCommand({
      Filters: [
        { Name: 'vpc-id', Values: [vpc.VpcId ?? ''] },
        ...(zone === undefined ? [] : [{ Name: 'availability-zone', Values: [zone] }]),
      ],
    }),
  );
  return Subnets;
}

/** Returns the zones of the region in which AWS offers the instance type; undefined if it does not say it. */
async function listZonesOffering(
  aws: Ec2Connection,
  { instanceType }: Ec2Options,
): Promise<ReadonlySet<string> | undefined> {
  const pages = await collectPages<DescribeInstanceTypeOfferingsCommandOutput>((next) =>
    aws.send(
      `looking for zones with ${instanceType}`,
      new aws.sdk.DescribeInstanceTypeOfferingsCommand({
        LocationType: 'availability-zone',
        Filters: [{ Name: 'instance-type', Values: [instanceType] }],
        ...next,
      }),
    ),
  ).catch(skipUnanswered);
  const zones = pages?.flatMap(({ InstanceTypeOfferings = [] }) =>
    InstanceTypeOfferings.flatMap(({ Location }) => Location ?? []),
  );
  return zones === undefined || zones.length === 0 ? undefined : new Set(zones);
}

async function listRouteTables(aws: Ec2Connection, { VpcId = '' }: Vpc): Promise<readonly RouteTable[] | undefined> {
  const pages = await collectPages<DescribeRouteTablesCommandOutput>((next) =>
    aws.send(
      'looking for the routes of its VPC',
      new aws.sdk.DescribeRouteTablesCommand({ Filters: [{ Name: 'vpc-id', Values: [VpcId] }], ...next }),
    ),
  ).catch(skipUnanswered);
  const tables = pages?.flatMap(({ RouteTables = [] }) => RouteTables);
  return tables === undefined || tables.length === 0 ? undefined : tables;
}

/**
 * Ignores that the user may not ask this, or that a server with EC2's protocol does not know it: the request for the
 * instance then says what does not fit.
 */
function skipUnanswered(error: unknown): undefined {
  if (!/^(UnauthorizedOperation|AccessDenied\w*|InvalidAction|NotImplemented)$/.test(causeAwsCode(error))) throw error;
  return undefined;
}

/**
 * Returns whether a subnet's route table, or else its VPC's main one, leads to an internet gateway: for IPv6 if the
 * machine needs that.
 */
function hasInternetRoute(
  { SubnetId }: Subnet,
  tables: readonly RouteTable[],
  { ipv6 }: Pick<Ec2Options, 'ipv6'>,
): boolean {
  const isOf =
    (id: string | undefined) =>
    ({ Associations = [] }: RouteTable): boolean =>
      Associations.some(({ SubnetId: associated, Main }) => (id === undefined ? Main === true : associated === id));
  const table = tables.find(isOf(SubnetId)) ?? tables.find(isOf(undefined));
  if (!table) return true;
  return (table.Routes ?? []).some(
    ({ GatewayId = '', State, DestinationCidrBlock, DestinationIpv6CidrBlock }) =>
      GatewayId.startsWith('igw-') &&
      State !== 'blackhole' &&
      (DestinationIpv6CidrBlock === '::/0' || (ipv6 !== true && DestinationCidrBlock === '0.0.0.0/0')),
  );
}
