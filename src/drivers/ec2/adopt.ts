import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { getOwnerTags, requireNoOtherOwner } from '../cloud/tags.ts';
import type { DriverCall, Target } from '../contract.ts';
import { findAccountId, isAwsAccountId, requireVpcInAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { listInstances, LIVE_STATES } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { KEY_PAIR_TAG, recordToTags, tagsToRecord, tagValueOf } from './tags.ts';

/**
 * Tags an instance that another tool created for this machine, and the resources that are deleted with it, so that
 * Slipway finds them as its own. `resource` is the instance's id, and after a slash the key pair that was imported for
 * it alone, which `rm` deletes too.
 */
export async function adoptInstance(
  target: Target<Ec2Options>,
  resource: string,
  call: DriverCall,
): Promise<Ec2Options> {
  return await withEc2(target.options, call, async (aws) => {
    const [id = '', ...rest] = resource.split('/');
    const keyPair = rest.join('/');
    const [instance] = await listInstances(aws, [
      { Name: 'instance-id', Values: [id] },
      { Name: 'instance-state-name', Values: LIVE_STATES },
    ]);
    // With the credentials of another account every instance would seem to be gone.
    if (!instance) await requireVpcInAccount(aws, target.options);
    else await tagInstance(aws, target, instance, keyPair);
    const account = await findAccountId(aws);
    return isAwsAccountId(account) ? { ...target.options, account } : target.options;
  });
}

async function tagInstance(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  instance: AwsInstance,
  keyPair: string,
): Promise<void> {
  const { InstanceId = '', KeyName, SpotInstanceRequestId, Tags } = instance;
  if (tagValueOf(Tags, 'slipway-id') === target.id) return;
  requireNoOtherOwner(InstanceId, tagsToRecord(Tags), target.id, 'tags');
  const keyPairTag = keyPair !== '' && KeyName === keyPair ? { [KEY_PAIR_TAG]: keyPair } : {};
  const tags = { ...(await getOwnerTags(target, aws.call.computer)), ...keyPairTag };
  // One request, so that either all of the resources are tagged or none.
  await aws.send(
    `tagging ${InstanceId}`,
    new aws.sdk.CreateTagsCommand({
      Resources: [InstanceId, ...diskIdsOf(instance), ...(SpotInstanceRequestId ? [SpotInstanceRequestId] : [])],
      Tags: recordToTags(tags),
    }),
  );
}

/** Returns the disks that are deleted with the instance; the others hold the user's data. */
function diskIdsOf({ BlockDeviceMappings = [] }: AwsInstance): readonly string[] {
  return BlockDeviceMappings.flatMap(({ Ebs }) =>
    Ebs?.VolumeId !== undefined && Ebs.DeleteOnTermination === true ? [Ebs.VolumeId] : [],
  );
}
