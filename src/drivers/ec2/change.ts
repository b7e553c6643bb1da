import type { DescribeVolumesCommandOutput, Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { insist } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Call, Target } from '../contract.ts';
import { rightAccount } from './account.ts';
import { type Aws, withAws } from './client.ts';
import { groupOf, replaceBlocks } from './firewall.ts';
import { architecturesOf } from './images.ts';
import { causeCode, findInstances, reasonOf, siblingsOf, tagOf, tagPairs } from './instances.ts';
import type { Options } from './options.ts';

const SETTLES_SECONDS = 120;

/** What can't become of an instance that exists. Asks nothing where nothing of the kind changes. */
export async function refuseChange(target: Target<Options>, before: Options, call: Call): Promise<void> {
  const { options, name } = target;
  const anotherType = options.instanceType !== before.instanceType;
  if (options.spot && (anotherType || options.rootSize !== before.rootSize)) throw neverStarts(name);
  if (!anotherType && !admitsOthers(target, before)) return;
  await withAws(options, call, async (aws) => {
    if (anotherType) await unlessUnfit(aws, target);
    if (admitsOthers(target, before)) await unlessShared(aws, target);
  });
}

function neverStarts(name: string): SlipwayError {
  return new SlipwayError(
    'USAGE',
    `"${name}" is a spot instance, which EC2 can’t stop, and takes another type or disk only as it starts`,
    { hint: `Make it anew with them: slipway rm ${name}, then slipway create ${name}` },
  );
}

/** A type that there is, and that can boot what the instance boots from. */
async function unlessUnfit(aws: Aws, target: Target<Options>): Promise<void> {
  const { options, name } = target;
  const [architectures, [one]] = await Promise.all([architecturesOf(aws, options), findInstances(aws, target)]);
  if (!one) return await rightAccount(aws, options);
  const { Architecture } = one;
  if (Architecture === undefined || architectures.length === 0) return;
  if (architectures.some((architecture) => architecture === Architecture)) return;
  throw new SlipwayError(
    'USAGE',
    `"${name}" is for ${Architecture}, and ${options.instanceType} is of ${architectures.join(' and ')}`,
    { hint: 'Choose another --ec2-instance-type, or make another machine of this one' },
  );
}

const admitsOthers = ({ options }: Target<Options>, before: Options): boolean =>
  before.allowCidr.join() !== options.allowCidr.join();

/** Who may connect to one of a batch may connect to all of it: that is not changed by the way. */
async function unlessShared(aws: Aws, target: Target<Options>): Promise<void> {
  const { batch, id, name } = target;
  if (!batch) return;
  const group = await groupOf(aws, target);
  if (group === undefined || tagOf(group.Tags, 'slipway-id') === id) return;
  if ((await siblingsOf(aws, target)).length === 0) return;
  throw new SlipwayError('USAGE', `"${name}" shares its security group with the machines that were made with it`, {
    hint: `Give it one of its own by making it anew: slipway rm ${name}, then slipway create ${name}; or change ${group.GroupId} for all of them in the console of EC2`,
  });
}

/** EBS changes a disk once in hours, and not while it still works at the last change. */
const LATER = new Set(['VolumeModificationRateExceeded', 'IncorrectModificationState']);

/** Tags of the user's, and who may connect: at once. */
export async function carryOver(target: Target<Options>, before: Options, call: Call): Promise<void> {
  await withAws(target.options, call, async (aws) => {
    if (admitsOthers(target, before)) await unlessShared(aws, target);
    const instances = await findInstances(aws, target);
    await retag(
      aws,
      instances.flatMap(({ InstanceId, BlockDeviceMappings = [] }) => [
        ...(InstanceId === undefined ? [] : [InstanceId]),
        ...BlockDeviceMappings.flatMap(({ Ebs }) => Ebs?.VolumeId ?? []),
      ]),
      before.tags,
      target.options.tags,
    );
    if (!admitsOthers(target, before)) return;
    const group = await groupOf(aws, target);
    if (group) await replaceBlocks(aws, group, before.allowCidr, target.options);
  });
}

async function retag(aws: Aws, ids: readonly string[], from: readonly string[], to: readonly string[]): Promise<void> {
  const wanted = tagPairs(to).map(([Key, Value]) => ({ Key, Value }));
  const gone = tagPairs(from).filter(([key]) => !wanted.some(({ Key }) => Key === key));
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
export async function resize(aws: Aws, one: AwsInstance, options: Options): Promise<void> {
  const { InstanceId, InstanceType, BlockDeviceMappings = [], RootDeviceName } = one;
  if (InstanceId !== undefined && InstanceType !== undefined && InstanceType !== options.instanceType) {
    await insist(
      `making it ${options.instanceType}`,
      () =>
        aws.send(
          'changing its type',
          new aws.sdk.ModifyInstanceAttributeCommand({ InstanceId, InstanceType: { Value: options.instanceType } }),
        ),
      {
        passing: (error) => (causeCode(error) === 'IncorrectInstanceState' ? 'it is still stopping' : undefined),
        seconds: SETTLES_SECONDS,
        call: aws.call,
      },
    );
  }
  const root = BlockDeviceMappings.find(({ DeviceName }) => DeviceName === RootDeviceName) ?? BlockDeviceMappings[0];
  if (root?.Ebs?.VolumeId !== undefined) await grow(aws, root.Ebs.VolumeId, options.rootSize);
}

async function grow(aws: Aws, VolumeId: string, Size: number): Promise<void> {
  const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
    'looking for its disk',
    new aws.sdk.DescribeVolumesCommand({ VolumeIds: [VolumeId] }),
  );
  if ((Volumes[0]?.Size ?? Size) >= Size) return;
  await aws
    .send('making its disk larger', new aws.sdk.ModifyVolumeCommand({ VolumeId, Size }))
    .catch((error: unknown) => {
      if (!LATER.has(causeCode(error))) throw error;
      // A machine that was stopped for it starts all the same.
      aws.call.note(`Its disk is not larger yet: ${reasonOf(error)}; the next start tries again`);
    });
}
