import type { DescribeVpcsCommandOutput, Image, Vpc } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import { isIpv6Only } from '../cloud/caller-ip.ts';
import { rememberAccount, findAccountId, isAwsAccountId, requireSameAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { resolveSecurityGroupIds } from './security-group.ts';
import { resolveImage, defaultSshUserOf } from './images.ts';
import type { Ec2Options } from './options.ts';
import { chooseSubnet, findSubnet } from './subnets.ts';

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
    deviceName: resolveDeviceName(aws, image, options),
    sshUser: options.sshUser ?? defaultSshUserOf(image, options),
  };
}

/** Returns the name of the image's root disk. With another name, EC2 would add a second disk beside it. */
function resolveDeviceName(aws: Ec2Connection, image: Image, { deviceName }: Ec2Options): string {
  const { ImageId, RootDeviceName } = image;
  if (RootDeviceName !== undefined && deviceName !== undefined && deviceName !== RootDeviceName)
    aws.call.note(`The root disk of ${ImageId} is ${RootDeviceName}, so --ec2-device-name ${deviceName} has no effect`);
  return RootDeviceName ?? deviceName ?? '/dev/sda1';
}

type Ec2Placement = {
  readonly vpc: string;
  readonly ipv6?: boolean;
  readonly account?: string;
  readonly subnet?: string;
};

async function resolvePlacement(aws: Ec2Connection, region: string, given: Ec2Options): Promise<Ec2Placement> {
  const isCallerIpv6Only =
    given.ipv6 === undefined && !given.privateAddressOnly && !given.usePrivateAddress && (await isIpv6Only());
  const options = isCallerIpv6Only ? { ...given, ipv6: true } : given;
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
    chooseSubnet(aws, vpc, namedSubnet, { options, isCallerIpv6Only }),
    resolveSecurityGroupIds(aws, { ...options, vpc: vpc.VpcId }),
  ]);
  return {
    vpc: vpc.VpcId,
    ...(isCallerIpv6Only ? { ipv6: true } : {}),
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
