import type { DescribeVolumesCommandOutput, Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { findSecurityGroup, replaceAllowedCidrs } from './security-group.ts';
import { getArchitectures } from './images.ts';
import { causeAwsCode, findInstances, formatAwsReason, findBatchSiblings, tagValueOf, parseTags } from './instances.ts';
import type { Ec2Options } from './options.ts';

const RESIZE_RETRY_SECONDS = 120;

/** What can't become of an instance that exists. Asks nothing where nothing of the kind changes. */
export async function requireAllowedChange(
  target: Target<Ec2Options>,
  before: Ec2Options,
  call: DriverCall,
): Promise<void> {
  const { options, name } = target;
  const anotherType = options.instanceType !== before.instanceType;
  if (options.spot && (anotherType || options.rootSize !== before.rootSize)) throw spotChangeError(name);
  if (!anotherType && !hasChangedAllowCidr(target, before)) return;
  await withEc2(options, call, async (aws) => {
    if (anotherType) await requireCompatibleType(aws, target);
    if (hasChangedAllowCidr(target, before)) await requireOwnSecurityGroup(aws, target);
  });
}

function spotChangeError(name: string): SlipwayError {
  return new SlipwayError(
    'USAGE',
    `"${name}" is a spot instance, which EC2 can't stop, and takes another type or disk only as it starts`,
    { hint: `Make it anew with them: slipway rm ${name}, then slipway create ${name}` },
  );
}

/** A type that there is, and that can boot what the instance boots from. */
async function requireCompatibleType(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { options, name } = target;
  const [architectures, [one]] = await Promise.all([getArchitectures(aws, options), findInstances(aws, target)]);
  if (!one) return await requireMachineAccount(aws, options);
  const { Architecture } = one;
  if (Architecture === undefined || architectures.length === 0) return;
  if (architectures.some((architecture) => architecture === Architecture)) return;
  throw new SlipwayError(
    'USAGE',
    `"${name}" is for ${Architecture}, and ${options.instanceType} is of ${architectures.join(' and ')}`,
    { hint: 'Choose another --ec2-instance-type, or make another machine of this one' },
  );
}

const hasChangedAllowCidr = ({ options }: Target<Ec2Options>, before: Ec2Options): boolean =>
  before.allowCidr.join() !== options.allowCidr.join();

/** Who may connect to one of a batch may connect to all of it: that is not changed by the way. */
async function requireOwnSecurityGroup(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { batch, id, name } = target;
  if (!batch) return;
  const group = await findSecurityGroup(aws, target);
  if (group === undefined || tagValueOf(group.Tags, 'slipway-id') === id) return;
  if ((await findBatchSiblings(aws, target)).length === 0) return;
  throw new SlipwayError('USAGE', `"${name}" shares its security group with the machines that were made with it`, {
    hint: `Give it one of its own by making it anew: slipway rm ${name}, then slipway create ${name}; or change ${group.GroupId} for all of them in the console of EC2`,
  });
}

/** EBS changes a disk once in hours, and not while it still works at the last change. */
const RETRY_ON_NEXT_START = new Set(['VolumeModificationRateExceeded', 'IncorrectModificationState']);

/** Tags of the user's, and who may connect: at once. */
export async function applyChange(target: Target<Ec2Options>, before: Ec2Options, call: DriverCall): Promise<void> {
  await withEc2(target.options, call, async (aws) => {
    if (hasChangedAllowCidr(target, before)) await requireOwnSecurityGroup(aws, target);
    const instances = await findInstances(aws, target);
    await updateTags(
      aws,
      instances.flatMap(({ InstanceId, BlockDeviceMappings = [] }) => [
        ...(InstanceId === undefined ? [] : [InstanceId]),
        ...BlockDeviceMappings.flatMap(({ Ebs }) => Ebs?.VolumeId ?? []),
      ]),
      before.tags,
      target.options.tags,
    );
    if (!hasChangedAllowCidr(target, before)) return;
    const group = await findSecurityGroup(aws, target);
    if (group) await replaceAllowedCidrs(aws, group, before.allowCidr, target.options);
  });
}

async function updateTags(
  aws: Ec2Connection,
  ids: readonly string[],
  from: readonly string[],
  to: readonly string[],
): Promise<void> {
  const wanted = parseTags(to).map(([Key, Value]) => ({ Key, Value }));
  const gone = parseTags(from).filter(([key]) => !wanted.some(({ Key }) => Key === key));
  if (ids.length === 0 || from.join() === to.join()) return;
  if (wanted.length > 0)
    await aws.send('setting its tags', new aws.sdk.CreateTagsCommand({ Resources: [...ids], Tags: wanted }));
  if (gone.length > 0)
    await aws.send(
      'taking tags away',
      new aws.sdk.DeleteTagsCommand({ Resources: [...ids], Tags: gone.map(([Key]) => ({ Key })) }),
    );
}

/** Another type, and a larger disk, for an instance that is stopped: it takes them as it starts. */
export async function resizeInstance(aws: Ec2Connection, one: AwsInstance, options: Ec2Options): Promise<void> {
  const { InstanceId, InstanceType, BlockDeviceMappings = [], RootDeviceName } = one;
  if (InstanceId !== undefined && InstanceType !== undefined && InstanceType !== options.instanceType) {
    await retry(
      `making it ${options.instanceType}`,
      () =>
        aws.send(
          'changing its type',
          new aws.sdk.ModifyInstanceAttributeCommand({ InstanceId, InstanceType: { Value: options.instanceType } }),
        ),
      {
        transientReason: (error) =>
          causeAwsCode(error) === 'IncorrectInstanceState' ? 'it is still stopping' : undefined,
        seconds: RESIZE_RETRY_SECONDS,
        call: aws.call,
      },
    );
  }
  const root = BlockDeviceMappings.find(({ DeviceName }) => DeviceName === RootDeviceName) ?? BlockDeviceMappings[0];
  if (root?.Ebs?.VolumeId !== undefined) await growDisk(aws, root.Ebs.VolumeId, options.rootSize);
}

async function growDisk(aws: Ec2Connection, VolumeId: string, Size: number): Promise<void> {
  const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
    'looking for its disk',
    new aws.sdk.DescribeVolumesCommand({ VolumeIds: [VolumeId] }),
  );
  if ((Volumes[0]?.Size ?? Size) >= Size) return;
  await aws
    .send('making its disk larger', new aws.sdk.ModifyVolumeCommand({ VolumeId, Size }))
    .catch((error: unknown) => {
      if (!RETRY_ON_NEXT_START.has(causeAwsCode(error))) throw error;
      // A machine that was stopped for it starts all the same.
      aws.call.note(`Its disk is not larger yet: ${formatAwsReason(error)}; the next start tries again`);
    });
}
