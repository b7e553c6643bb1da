import type { DescribeVolumesCommandOutput, Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { sharedFirewallError } from '../cloud/batch.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { ShutdownBehavior } from '../../machine/model.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { causeAwsCode, formatAwsReason } from './errors.ts';
import { findSecurityGroup, replaceAllowedCidrs } from './security-group.ts';
import { getArchitectures } from './images.ts';
import { findInstances, findBatchSiblings } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { parseTags, recordToTags, tagValueOf } from './tags.ts';

const RESIZE_RETRY_SECONDS = 120;

/** Refuses changes that an existing instance can't take. Sends no request if its type and callers don't change. */
export async function requireAllowedChange(
  target: Target<Ec2Options>,
  before: Ec2Options,
  call: DriverCall,
): Promise<void> {
  const { options, name } = target;
  const hasNewType = options.instanceType !== before.instanceType;
  const hasNewCidrs = hasChangedAllowCidr(target, before);
  if (options.spot && (hasNewType || options.rootSize !== before.rootSize)) throw spotChangeError(name);
  if (!hasNewType && !hasNewCidrs) return;
  await withEc2(options, call, async (aws) => {
    if (hasNewType) await requireCompatibleType(aws, target);
    if (hasNewCidrs) await requireOwnSecurityGroup(aws, target);
  });
}

function spotChangeError(name: string): SlipwayError {
  return new SlipwayError(
    'USAGE',
    `"${name}" is a spot instance, which EC2 can't stop, and a new type or disk size needs a stopped instance`,
    { hint: `Create it again: slipway rm ${name}, then slipway create ${name}` },
  );
}

/** Requires a type that exists and runs the architecture of the instance's disk. */
async function requireCompatibleType(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { options, name } = target;
  const [architectures, [instance]] = await Promise.all([getArchitectures(aws, options), findInstances(aws, target)]);
  if (!instance) return await requireMachineAccount(aws, options);
  const { Architecture } = instance;
  if (Architecture === undefined || architectures.length === 0) return;
  if (architectures.some((architecture) => architecture === Architecture)) return;
  throw new SlipwayError(
    'USAGE',
    `"${name}" is for ${Architecture}, and ${options.instanceType} is ${architectures.join(' and ')}`,
    { hint: 'Choose another --ec2-instance-type, or create another machine' },
  );
}

const hasChangedAllowCidr = ({ options }: Target<Ec2Options>, before: Ec2Options): boolean =>
  before.allowCidr.join() !== options.allowCidr.join();

async function requireOwnSecurityGroup(aws: Ec2Connection, target: Target<Ec2Options>): Promise<void> {
  const { batch, id, name } = target;
  if (!batch) return;
  const group = await findSecurityGroup(aws, target);
  if (group === undefined || tagValueOf(group.Tags, 'slipway-id') === id) return;
  if ((await findBatchSiblings(aws, target)).length === 0) return;
  throw sharedFirewallError(
    name,
    'security group',
    `Create it again alone: slipway rm ${name}, then slipway create ${name}; or change ${group.GroupId} for all of them in the EC2 console`,
  );
}

/** EBS allows one change of a disk in several hours, and none while it applies the last one. */
const RETRY_ON_NEXT_START = new Set(['VolumeModificationRateExceeded', 'IncorrectModificationState']);

/** Applies changed tags, and changed CIDR blocks that may connect, to the existing resources. */
export async function applyChange(target: Target<Ec2Options>, before: Ec2Options, call: DriverCall): Promise<void> {
  await withEc2(target.options, call, async (aws) => {
    const hasNewCidrs = hasChangedAllowCidr(target, before);
    if (hasNewCidrs) await requireOwnSecurityGroup(aws, target);
    const instances = await findInstances(aws, target);
    const ids = instances.flatMap(({ InstanceId, BlockDeviceMappings = [] }) => [
      ...(InstanceId === undefined ? [] : [InstanceId]),
      ...BlockDeviceMappings.flatMap(({ Ebs }) => Ebs?.VolumeId ?? []),
    ]);
    await updateTags(aws, ids, before.tags, target.options.tags);
    if (!hasNewCidrs) return;
    const group = await findSecurityGroup(aws, target);
    if (group) await replaceAllowedCidrs(aws, group, target.options);
  });
}

/** Lets EC2 terminate the instance or stop it when it shuts itself down, from now on. */
export async function setShutdownBehavior(
  target: Target<Ec2Options>,
  behavior: ShutdownBehavior,
  call: DriverCall,
): Promise<void> {
  const { options } = target;
  // EC2 always terminates a one-time spot instance.
  if (options.spot) return;
  await withEc2(options, call, async (aws) => {
    const instances = await findInstances(aws, target);
    if (instances.length === 0) return await requireMachineAccount(aws, options);
    const Value = behavior === 'removed' ? 'terminate' : 'stop';
    for (const { InstanceId } of instances) {
      const InstanceInitiatedShutdownBehavior = { Value };
      await aws.send(
        'changing what its shutdown does',
        new aws.sdk.ModifyInstanceAttributeCommand({ InstanceId, InstanceInitiatedShutdownBehavior }),
      );
    }
  });
}

async function updateTags(
  aws: Ec2Connection,
  ids: readonly string[],
  from: readonly string[],
  to: readonly string[],
): Promise<void> {
  if (ids.length === 0 || from.join() === to.join()) return;
  const tags = Object.fromEntries(parseTags(to));
  const removed = parseTags(from).filter(([key]) => !(key in tags));
  if (Object.keys(tags).length > 0) {
    const command = new aws.sdk.CreateTagsCommand({ Resources: [...ids], Tags: recordToTags(tags) });
    await aws.send('setting its tags', command);
  }
  if (removed.length > 0) {
    const Tags = removed.map(([Key]) => ({ Key }));
    await aws.send('removing tags', new aws.sdk.DeleteTagsCommand({ Resources: [...ids], Tags }));
  }
}

/** Changes the type of a stopped instance and grows its disk; both take effect at its next start. */
export async function resizeInstance(aws: Ec2Connection, instance: AwsInstance, options: Ec2Options): Promise<void> {
  const { InstanceId, InstanceType, BlockDeviceMappings = [], RootDeviceName } = instance;
  if (InstanceId !== undefined && InstanceType !== undefined && InstanceType !== options.instanceType)
    await changeType(aws, InstanceId, options.instanceType);
  const root = BlockDeviceMappings.find(({ DeviceName }) => DeviceName === RootDeviceName) ?? BlockDeviceMappings[0];
  if (root?.Ebs?.VolumeId !== undefined) await growDisk(aws, root.Ebs.VolumeId, options.rootSize);
}

async function changeType(aws: Ec2Connection, InstanceId: string, type: string): Promise<void> {
  const doing = `changing its type to ${type}`;
  const command = new aws.sdk.ModifyInstanceAttributeCommand({ InstanceId, InstanceType: { Value: type } });
  await retry(doing, () => aws.send(doing, command), {
    transientReason: (error) => (causeAwsCode(error) === 'IncorrectInstanceState' ? 'it is still stopping' : undefined),
    seconds: RESIZE_RETRY_SECONDS,
    call: aws.call,
  });
}

async function growDisk(aws: Ec2Connection, VolumeId: string, Size: number): Promise<void> {
  const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
    'looking for its disk',
    new aws.sdk.DescribeVolumesCommand({ VolumeIds: [VolumeId] }),
  );
  if ((Volumes[0]?.Size ?? Size) >= Size) return;
  await aws.send('growing its disk', new aws.sdk.ModifyVolumeCommand({ VolumeId, Size })).catch((error: unknown) => {
    if (!RETRY_ON_NEXT_START.has(causeAwsCode(error))) throw error;
    // The machine was stopped for the change, and must start anyway.
    aws.call.note(`Its disk is not larger yet: ${formatAwsReason(error)}; the next start tries again`);
  });
}
