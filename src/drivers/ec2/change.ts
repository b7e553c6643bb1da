import type { DescribeVolumesCommandOutput, Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { insist } from '../../cloud/insist.ts';
import type { Call, Target } from '../driver.ts';
import { type Aws, withAws } from './client.ts';
import { groupId, ourGroups, replaceBlocks } from './firewall.ts';
import { causeCode, findInstances, tagPairs } from './instances.ts';
import type { Options } from './options.ts';

const SETTLES_SECONDS = 120;

/** Tags of the user's, and who may connect: at once. */
export async function carryOver(target: Target<Options>, before: Options, call: Call): Promise<void> {
  await withAws(target.options, call, async (aws) => {
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
    if (before.allowCidr.join() === target.options.allowCidr.join()) return;
    const [group] = await ourGroups(aws, [groupId(target)]);
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
  await aws.send('making its disk larger', new aws.sdk.ModifyVolumeCommand({ VolumeId, Size }));
}
