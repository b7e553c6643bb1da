import type { DescribeImagesCommandOutput, DescribeInstanceTypesCommandOutput, Image } from '@aws-sdk/client-ec2';
import { SlipwayError } from '../../errors.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './errors.ts';
import { imageCatalog, type Ec2Options } from './options.ts';

type FoundImage = Image & { readonly ImageId: string };

/**
 * Returns the image that the machine boots from. Throws USAGE if its instance type can't boot the image, or its disk is
 * too small.
 */
export async function resolveImage(aws: Ec2Connection, region: string, options: Ec2Options): Promise<FoundImage> {
  const [architectures, imagesById] = await Promise.all([
    getArchitectures(aws, options),
    options.ami === undefined ? undefined : listImagesById(aws, options.ami),
  ]);
  const architecture = architectures.includes('x86_64') ? 'x86_64' : (architectures[0] ?? 'x86_64');
  const found = imagesById ?? (await listImagesByName(aws, region, options, architecture));
  const [newest] = found.toSorted((left, right) => (right.CreationDate ?? '').localeCompare(left.CreationDate ?? ''));
  if (newest?.ImageId === undefined) throw noImageError(region, options, architecture);
  requireImageFits(newest, options, architectures);
  return { ...newest, ImageId: newest.ImageId };
}

/** Returns the architectures of an instance type. Throws USAGE for a type that does not exist in the region. */
export async function getArchitectures(aws: Ec2Connection, { instanceType }: Ec2Options): Promise<readonly string[]> {
  const { InstanceTypes = [] }: DescribeInstanceTypesCommandOutput = await aws
    .send<DescribeInstanceTypesCommandOutput>(
      `looking for the instance type ${instanceType}`,
      new aws.sdk.DescribeInstanceTypesCommand({ InstanceTypes: [instanceType as never] }),
    )
    .catch((error: unknown) => {
      if (causeAwsCode(error) !== 'InvalidInstanceType' && causeAwsCode(error) !== 'InvalidParameterValue') throw error;
      throw new SlipwayError('USAGE', `EC2 has no instance type ${instanceType} in this region`, {
        hint: 'For example: --ec2-instance-type t3.small, or t4g.small for ARM',
        cause: error,
      });
    });
  return InstanceTypes[0]?.ProcessorInfo?.SupportedArchitectures ?? [];
}

async function listImagesById(aws: Ec2Connection, ami: string): Promise<readonly Image[]> {
  const { Images = [] }: DescribeImagesCommandOutput = await aws.send(
    `looking for the image ${ami}`,
    new aws.sdk.DescribeImagesCommand({ ImageIds: [ami] }),
  );
  return Images;
}

async function listImagesByName(
  aws: Ec2Connection,
  region: string,
  { image }: Ec2Options,
  architecture: string,
): Promise<readonly Image[]> {
  const owner = imageOwnerOf(image, region);
  if (owner === undefined) return [];
  const { Images = [] }: DescribeImagesCommandOutput = await aws.send(
    `looking for the image ${image}`,
    new aws.sdk.DescribeImagesCommand({
      Owners: [owner],
      Filters: [
        { Name: 'name', Values: [...imageCatalog[image].patterns] },
        { Name: 'architecture', Values: [architecture] },
        { Name: 'state', Values: ['available'] },
      ],
    }),
  );
  return Images;
}

/** Returns a distribution's account in the AWS partition of the region; undefined if none is known. */
export function imageOwnerOf(image: Ec2Options['image'], region: string): string | undefined {
  const { aws, china, gov }: { readonly aws: string; readonly china?: string; readonly gov?: string } =
    imageCatalog[image].owners;
  if (region.startsWith('cn-')) return china;
  return region.startsWith('us-gov-') ? gov : aws;
}

function noImageError(region: string, { ami, image }: Ec2Options, architecture: string): SlipwayError {
  const owner = imageOwnerOf(image, region);
  const what =
    ami !== undefined
      ? `The image ${ami} does not exist in ${region}`
      : owner === undefined
        ? `No account is known that publishes images of ${image} in ${region}`
        : `There is no image of ${image} for ${architecture} in ${region}: none of the account ${owner} is named ${imageCatalog[image].patterns.join(' or ')}`;
  return new SlipwayError('USAGE', what, {
    hint: 'Choose one by its id: --ec2-ami ami-0123, or another distribution: --ec2-image ubuntu-24.04',
  });
}

/**
 * Refuses an image of another architecture or a larger disk; RunInstances would refuse it only after a security group
 * exists.
 */
function requireImageFits(
  image: Image,
  { instanceType, rootSize }: Ec2Options,
  architectures: readonly string[],
): void {
  const { ImageId, Architecture, BlockDeviceMappings = [], RootDeviceName } = image;
  if (Architecture !== undefined && architectures.length > 0 && !architectures.includes(Architecture)) {
    throw new SlipwayError(
      'USAGE',
      `The image ${ImageId} is for ${Architecture}, and ${instanceType} is ${architectures.join(' and ')}`,
      { hint: 'Choose another --ec2-instance-type, or another --ec2-ami' },
    );
  }
  const minimumSize = BlockDeviceMappings.find(({ DeviceName }) => DeviceName === RootDeviceName)?.Ebs?.VolumeSize ?? 0;
  if (minimumSize > rootSize) {
    throw new SlipwayError(
      'USAGE',
      `The image ${ImageId} needs a root disk of ${minimumSize} GiB, and --ec2-root-size is ${rootSize}`,
      {
        hint: `Use a larger disk: --ec2-root-size ${minimumSize}`,
      },
    );
  }
}

/** Returns the default user of an image, as whom Slipway logs in without --ec2-ssh-user. */
export function defaultSshUserOf({ OwnerId, Name = '', ImageOwnerAlias }: Image, { ami, image }: Ec2Options): string {
  if (ami === undefined) return imageCatalog[image].user;
  const known = Object.values(imageCatalog).find(({ owners }) => Object.values<string>(owners).includes(OwnerId ?? ''));
  if (known) return known.user;
  if (/ubuntu/i.test(Name)) return 'ubuntu';
  if (/debian/i.test(Name)) return 'admin';
  return ImageOwnerAlias === 'amazon' || /^(amzn|al20)/.test(Name) ? 'ec2-user' : 'admin';
}
