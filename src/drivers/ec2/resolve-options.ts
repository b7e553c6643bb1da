import type { DescribeSubnetsCommandOutput, DescribeVpcsCommandOutput, Subnet, Vpc } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import { rememberAccount, findAccountId, requireSameAccount } from './account.ts';
import { type Ec2Connection, requireRegion } from './client.ts';
import { resolveSecurityGroupIds } from './security-group.ts';
import { resolveImage, defaultSshUserOf } from './images.ts';
import type { Ec2Options } from './options.ts';

/** Whether an earlier create has decided all of it; the record then holds the answers. */
export function hasResolvedOptions({ region, vpc, account, ami, deviceName, sshUser }: Ec2Options): boolean {
  return [region, vpc, account, ami, deviceName, sshUser].every((value) => value !== undefined);
}

/**
 * Everything that was left open, asked of AWS; nothing is made. RunInstances is not asked with DryRun: it would tell neither quota
 * nor capacity, and where only security groups of ours are allowed, it would be refused for the lack of one that is not made yet.
 */
export async function resolveOptions(aws: Ec2Connection, options: Ec2Options): Promise<Ec2Options> {
  const region = await requireRegion(aws);
  const zone = options.zone !== undefined && options.zone.length === 1 ? `${region}${options.zone}` : options.zone;
  const [place, image] = await Promise.all([
    resolvePlacement(aws, region, { ...options, zone }),
    resolveImage(aws, region, options),
  ]);
  return {
    ...options,
    region,
    ...(zone === undefined ? {} : { zone }),
    ...place,
    ami: image.ImageId,
    deviceName: options.deviceName ?? image.RootDeviceName ?? '/dev/sda1',
    sshUser: options.sshUser ?? defaultSshUserOf(image, options),
  };
}

type Ec2Placement = { readonly vpc: string; readonly account?: string; readonly subnet?: string };

async function resolvePlacement(aws: Ec2Connection, region: string, options: Ec2Options): Promise<Ec2Placement> {
  const [own, named] = await Promise.all([
    findAccountId(aws),
    options.subnet === undefined ? undefined : findSubnet(aws, options.subnet),
  ]);
  requireSameAccount(options, own);
  const vpc = await requireVpc(aws, region, options.vpc ?? named?.VpcId);
  const account = own ?? vpc.OwnerId;
  requireSameAccount(options, account);
  await rememberAccount(aws, account);
  const [chosen] = await Promise.all([
    named?.SubnetId ?? chooseSubnet(aws, vpc, options),
    resolveSecurityGroupIds(aws, { ...options, vpc: vpc.VpcId }),
  ]);
  return {
    vpc: vpc.VpcId,
    // Servers that speak EC2's protocol may have accounts of another form, or none.
    ...(account !== undefined && /^\d{12}$/.test(account) ? { account } : {}),
    ...(chosen === undefined ? {} : { subnet: chosen }),
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
    hint: 'Name a subnet of a VPC of yours: --ec2-subnet subnet-0123',
  });
}

async function findSubnet(aws: Ec2Connection, id: string): Promise<Subnet | undefined> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    `looking for the subnet ${id}`,
    new aws.sdk.DescribeSubnetsCommand({ SubnetIds: [id] }),
  );
  const [subnet] = Subnets;
  if (subnet?.Ipv6Native !== true) return subnet;
  throw new SlipwayError('USAGE', `The subnet ${id} gives out no IPv4 addresses, which Slipway connects by`, {
    hint: 'Name one with both kinds: --ec2-subnet subnet-0123',
  });
}

/**
 * The subnet that has to be named; undefined where AWS may choose one, by its room. It does so among the default ones, as far as
 * these say about public addresses what is wanted.
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
  const asWished = ({ MapPublicIpOnLaunch = true }: Subnet): boolean => MapPublicIpOnLaunch === !privateAddressOnly;
  if (vpc.IsDefault === true && defaults.length > 0 && defaults.every(asWished)) return undefined;
  const id = (usable.find(asWished) ?? usable[0])?.SubnetId;
  if (id !== undefined) return id;
  throw new SlipwayError('USAGE', `${vpc.VpcId} has no subnet${zone === undefined ? '' : ` in ${zone}`}`, {
    hint: `Name one: --ec2-subnet subnet-0123${zone === undefined ? '' : ', or another --ec2-zone, or none'}`,
  });
}
