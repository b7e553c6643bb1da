import type { DescribeSubnetsCommandOutput, DescribeVpcsCommandOutput, Subnet, Vpc } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import { rememberAccount, findAccountId, isAwsAccountId, requireSameAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { resolveSecurityGroupIds } from './security-group.ts';
import { resolveImage, defaultSshUserOf } from './images.ts';
import type { Ec2Options } from './options.ts';

/** Returns whether an earlier create has resolved every option; the record then holds the answers. */
export function hasResolvedOptions({ region, vpc, account, ami, deviceName, sshUser }: Ec2Options): boolean {
  return [region, vpc, account, ami, deviceName, sshUser].every((value) => value !== undefined);
}

/**
 * Asks AWS for every option that the user left open; creates nothing. A RunInstances with DryRun would not help: it
 * checks neither quota nor capacity, and if a policy allows only Slipway's security groups, AWS would refuse it because
 * no group exists yet.
 */
export async function resolveOptions(aws: Ec2Connection, options: Ec2Options): Promise<Ec2Options> {
  const region = await aws.requireRegion();
  const zone = options.zone !== undefined && options.zone.length === 1 ? `${region}${options.zone}` : options.zone;
  const [placement, image] = await Promise.all([
    resolvePlacement(aws, region, { ...options, zone }),
    resolveImage(aws, region, options),
  ]);
  return {
    ...options,
    region,
    ...(zone === undefined ? {} : { zone }),
    ...placement,
    ami: image.ImageId,
    deviceName: options.deviceName ?? image.RootDeviceName ?? '/dev/sda1',
    sshUser: options.sshUser ?? defaultSshUserOf(image, options),
  };
}

type Ec2Placement = { readonly vpc: string; readonly account?: string; readonly subnet?: string };

async function resolvePlacement(aws: Ec2Connection, region: string, options: Ec2Options): Promise<Ec2Placement> {
  const [current, namedSubnet] = await Promise.all([
    findAccountId(aws),
    options.subnet === undefined ? undefined : findSubnet(aws, options.subnet),
  ]);
  requireSameAccount(options, current);
  const vpc = await requireVpc(aws, region, options.vpc ?? namedSubnet?.VpcId);
  const account = current ?? vpc.OwnerId;
  requireSameAccount(options, account);
  await rememberAccount(aws, account);
  const [subnet] = await Promise.all([
    namedSubnet?.SubnetId ?? chooseSubnet(aws, vpc, options),
    resolveSecurityGroupIds(aws, { ...options, vpc: vpc.VpcId }),
  ]);
  return {
    vpc: vpc.VpcId,
    ...(isAwsAccountId(account) ? { account } : {}),
    ...(subnet === undefined ? {} : { subnet }),
  };
}

async function requireVpc(
  aws: Ec2Connection,
  region: string,
  id: string | undefined,
): Promise<Vpc & { VpcId: string }> {
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws.send(
    'looking for its VPC',
    new aws.sdk.DescribeVpcsCommand(
      id === undefined ? { Filters: [{ Name: 'is-default', Values: ['true'] }] } : { VpcIds: [id] },
    ),
  );
  const [vpc] = Vpcs;
  if (vpc?.VpcId !== undefined) return { ...vpc, VpcId: vpc.VpcId };
  throw new SlipwayError('USAGE', `The region ${region} has no default VPC in this account`, {
    hint: 'Choose a subnet of one of your VPCs: --ec2-subnet subnet-0123',
  });
}

async function findSubnet(aws: Ec2Connection, id: string): Promise<Subnet | undefined> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    `looking for the subnet ${id}`,
    new aws.sdk.DescribeSubnetsCommand({ SubnetIds: [id] }),
  );
  const [subnet] = Subnets;
  if (subnet?.Ipv6Native !== true) return subnet;
  throw new SlipwayError('USAGE', `The subnet ${id} has no IPv4 addresses, which Slipway needs to connect`, {
    hint: 'Choose a subnet with IPv4 addresses: --ec2-subnet subnet-0123',
  });
}

/**
 * Returns the subnet that the request has to name; undefined to let AWS choose a default subnet by free capacity, which
 * requires that all of them assign public addresses as the options want.
 */
async function chooseSubnet(
  aws: Ec2Connection,
  vpc: Vpc,
  { zone, privateAddressOnly }: Ec2Options,
): Promise<string | undefined> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    'looking for a subnet',
    new aws.sdk.DescribeSubnetsCommand({
      Filters: [
        { Name: 'vpc-id', Values: [vpc.VpcId ?? ''] },
        ...(zone === undefined ? [] : [{ Name: 'availability-zone', Values: [zone] }]),
      ],
    }),
  );
  const usable = Subnets.filter(({ Ipv6Native }) => Ipv6Native !== true);
  const defaults = usable.filter(({ DefaultForAz }) => DefaultForAz === true);
  const isPreferred = ({ MapPublicIpOnLaunch = true }: Subnet): boolean => MapPublicIpOnLaunch === !privateAddressOnly;
  if (vpc.IsDefault === true && defaults.length > 0 && defaults.every(isPreferred)) return undefined;
  const id = (usable.find(isPreferred) ?? usable[0])?.SubnetId;
  if (id !== undefined) return id;
  throw new SlipwayError('USAGE', `${vpc.VpcId} has no subnet${zone === undefined ? '' : ` in ${zone}`}`, {
    hint: `Choose one: --ec2-subnet subnet-0123${zone === undefined ? '' : '; or change or omit --ec2-zone'}`,
  });
}
