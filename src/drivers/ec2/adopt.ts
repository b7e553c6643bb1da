import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { getResourceTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { findAccountId, requireVpcInAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { listInstances, KEY_PAIR_TAG, LIVE_STATES, tagValueOf } from './instances.ts';
import type { Ec2Options } from './options.ts';

/**
 * Marks an instance that another tool made for this machine, with what ends with it: from then on it is found as if we had made it.
 * `resource` is its id, and behind a slash the key pair that was imported for it alone, which goes when it goes.
 */
export async function adoptInstance(
  target: Target<Ec2Options>,
  resource: string,
  call: DriverCall,
): Promise<Ec2Options> {
  return await withEc2(target.options, call, async (aws) => {
    const [id = '', ...words] = resource.split('/');
    const keyPair = words.join('/');
    const [one] = await listInstances(aws, [
      { Name: 'instance-id', Values: [id] },
      { Name: 'instance-state-name', Values: LIVE_STATES },
    ]);
    // With the credentials of another account everything would seem to be gone.
    if (!one) await requireVpcInAccount(aws, target.options);
    else await tagInstance(aws, target, one, keyPair);
    const account = await findAccountId(aws);
    return account !== undefined && /^\d{12}$/.test(account) ? { ...target.options, account } : target.options;
  });
}

async function tagInstance(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  one: AwsInstance,
  keyPair: string,
): Promise<void> {
  const { InstanceId = '', KeyName, SpotInstanceRequestId, Tags } = one;
  const owner = tagValueOf(Tags, 'slipway-id');
  if (owner === target.id) return;
  if (owner !== '') {
    throw new SlipwayError(
      'PROVIDER_REFUSED',
      `${InstanceId} is the machine "${tagValueOf(Tags, 'slipway-name')}" of Slipway already (store ${tagValueOf(Tags, 'slipway-home')})`,
      { hint: `Use it there, or take its tags slipway-id, slipway-name and slipway-home away first` },
    );
  }
  const imported = keyPair !== '' && KeyName === keyPair ? { [KEY_PAIR_TAG]: keyPair } : {};
  const tags = { ...(await getResourceTags(target, aws.call.computer)), ...imported };
  // One call, so that all of it is marked or nothing is.
  await aws.send(
    `marking ${InstanceId}`,
    new aws.sdk.CreateTagsCommand({
      Resources: [InstanceId, ...diskIdsOf(one), ...(SpotInstanceRequestId ? [SpotInstanceRequestId] : [])],
      Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
    }),
  );
}

/** Those that end with the instance; others are somebody's data. */
function diskIdsOf({ BlockDeviceMappings = [] }: AwsInstance): readonly string[] {
  return BlockDeviceMappings.flatMap(({ Ebs }) =>
    Ebs?.VolumeId !== undefined && Ebs.DeleteOnTermination === true ? [Ebs.VolumeId] : [],
  );
}
