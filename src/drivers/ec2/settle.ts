import type {
  DescribeImagesCommandOutput,
  DescribeInstanceTypesCommandOutput,
  DescribeSubnetsCommandOutput,
  DescribeVpcsCommandOutput,
  Image,
  Subnet,
} from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import { type Aws, regionOf } from './client.ts';
import { causeCode } from './instances.ts';
import { images, type Options } from './options.ts';

/** Whether an earlier create has decided all of it; the record then holds the answers. */
export function isSettled({ region, vpc, account, ami, deviceName, sshUser }: Options): boolean {
  return [region, vpc, account, ami, deviceName, sshUser].every((value) => value !== undefined);
}

/** Everything that was left open, asked of AWS; nothing is made. */
export async function settled(aws: Aws, options: Options): Promise<Options> {
  const region = await regionOf(aws);
  const zone = options.zone !== undefined && options.zone.length === 1 ? `${region}${options.zone}` : options.zone;
  const [place, architecture] = await Promise.all([placeOf(aws, { ...options, zone }), architectureOf(aws, options)]);
  sameAccount(options, place.account);
  const image = await imageOf(aws, options, architecture);
  return {
    ...options,
    region,
    ...(zone === undefined ? {} : { zone }),
    ...place,
    ami: image.ImageId,
    deviceName: options.deviceName ?? image.RootDeviceName ?? '/dev/sda1',
    sshUser: options.sshUser ?? userOf(image, options),
  };
}

type Place = { readonly vpc: string; readonly account: string; readonly subnet?: string };

/** The network, and whose it is: its owner is the account that our credentials are of. */
async function placeOf(aws: Aws, options: Options): Promise<Place> {
  const subnet = options.subnet === undefined ? undefined : await subnetNamed(aws, options.subnet);
  const vpcId = options.vpc ?? subnet?.VpcId;
  const { Vpcs = [] }: DescribeVpcsCommandOutput = await aws.send(
    'looking for its VPC',
    new aws.sdk.DescribeVpcsCommand(
      vpcId === undefined ? { Filters: [{ Name: 'is-default', Values: ['true'] }] } : { VpcIds: [vpcId] },
    ),
  );
  const [vpc] = Vpcs;
  if (vpc?.VpcId === undefined) {
    throw new SlipwayError(
      'USAGE',
      `The region ${options.region ?? (await regionOf(aws))} has no default VPC in this account`,
      {
        hint: 'Name a subnet of a VPC of yours: --ec2-subnet subnet-0123',
      },
    );
  }
  const chosen = subnet?.SubnetId ?? (await subnetIn(aws, vpc.VpcId, vpc.IsDefault === true, options));
  return { vpc: vpc.VpcId, account: vpc.OwnerId ?? '', ...(chosen === undefined ? {} : { subnet: chosen }) };
}

async function subnetNamed(aws: Aws, id: string): Promise<Subnet | undefined> {
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    `looking for the subnet ${id}`,
    new aws.sdk.DescribeSubnetsCommand({ SubnetIds: [id] }),
  );
  return Subnets[0];
}

/** AWS finds a subnet of the default VPC by itself, and says no public address there without one being named. */
async function subnetIn(
  aws: Aws,
  vpc: string,
  isDefault: boolean,
  { zone, privateAddressOnly }: Options,
): Promise<string | undefined> {
  if (isDefault && !privateAddressOnly) return undefined;
  const { Subnets = [] }: DescribeSubnetsCommandOutput = await aws.send(
    'looking for a subnet',
    new aws.sdk.DescribeSubnetsCommand({
      Filters: [
        { Name: 'vpc-id', Values: [vpc] },
        ...(zone === undefined ? [] : [{ Name: 'availability-zone', Values: [zone] }]),
      ],
    }),
  );
  const id = Subnets[0]?.SubnetId;
  if (id !== undefined) return id;
  throw new SlipwayError('USAGE', `${vpc} has no subnet${zone === undefined ? '' : ` in ${zone}`}`, {
    hint: 'Name one: --ec2-subnet subnet-0123',
  });
}

export function sameAccount({ account }: Pick<Options, 'account'>, found: string | undefined): void {
  if (account === undefined || found === undefined || found === '' || account === found) return;
  throw new SlipwayError(
    'CREDENTIALS',
    `Your AWS credentials are of the account ${found}, and this machine is in ${account}`,
    {
      hint: `Use those of ${account}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
    },
  );
}

type Architecture = 'arm64' | 'x86_64';

async function architectureOf(aws: Aws, { instanceType }: Options): Promise<Architecture> {
  const { InstanceTypes = [] }: DescribeInstanceTypesCommandOutput = await aws
    .send<DescribeInstanceTypesCommandOutput>(
      `looking for the instance type ${instanceType}`,
      new aws.sdk.DescribeInstanceTypesCommand({ InstanceTypes: [instanceType as never] }),
    )
    .catch((error: unknown) => {
      if (causeCode(error) !== 'InvalidInstanceType' && causeCode(error) !== 'InvalidParameterValue') throw error;
      throw new SlipwayError('USAGE', `EC2 has no instance type ${instanceType} in this region`, {
        hint: 'For example: --ec2-instance-type t3.small, or t4g.small for ARM',
        cause: error,
      });
    });
  const kinds: readonly string[] = InstanceTypes[0]?.ProcessorInfo?.SupportedArchitectures ?? [];
  return kinds.includes('arm64') && !kinds.includes('x86_64') ? 'arm64' : 'x86_64';
}

async function imageOf(
  aws: Aws,
  { ami, image }: Options,
  architecture: Architecture,
): Promise<Image & { ImageId: string }> {
  const { owner, pattern } = images[image];
  const { Images = [] }: DescribeImagesCommandOutput = await aws.send(
    `looking for the image ${ami ?? image}`,
    new aws.sdk.DescribeImagesCommand(
      ami === undefined
        ? {
            Owners: [owner],
            Filters: [
              { Name: 'name', Values: [pattern] },
              { Name: 'architecture', Values: [architecture] },
              { Name: 'state', Values: ['available'] },
            ],
          }
        : { ImageIds: [ami] },
    ),
  );
  const [newest] = Images.toSorted((left, right) => (right.CreationDate ?? '').localeCompare(left.CreationDate ?? ''));
  if (newest?.ImageId !== undefined) return { ...newest, ImageId: newest.ImageId };
  throw new SlipwayError('USAGE', `EC2 has no image ${ami ?? image} for ${architecture} in this region`, {
    hint: 'Name one by its id: --ec2-ami ami-0123',
  });
}

function userOf({ OwnerId, Name = '', ImageOwnerAlias }: Image, { ami, image }: Options): string {
  if (ami === undefined) return images[image].user;
  const known = Object.values(images).find(({ owner }) => owner === OwnerId);
  if (known) return known.user;
  if (/ubuntu/i.test(Name)) return 'ubuntu';
  if (/debian/i.test(Name)) return 'admin';
  return ImageOwnerAlias === 'amazon' || /^(amzn|al20)/.test(Name) ? 'ec2-user' : 'admin';
}
