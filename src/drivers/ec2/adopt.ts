import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { tagsOf } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { Call, Target } from '../contract.ts';
import { ownAccount, vpcThere } from './account.ts';
import { type Aws, withAws } from './client.ts';
import { instancesWith, KEY_PAIR, LIVE, tagOf } from './instances.ts';
import type { Options } from './options.ts';

/**
 * Marks an instance that another tool made for this machine, with what ends with it: from then on it is found as if we had made it.
 * `resource` is its id, and behind a slash the key pair that was imported for it alone, which goes when it goes.
 */
export async function adoptInstance(target: Target<Options>, resource: string, call: Call): Promise<Options> {
  return await withAws(target.options, call, async (aws) => {
    const [id = '', ...words] = resource.split('/');
    const keyPair = words.join('/');
    const [one] = await instancesWith(aws, [
      { Name: 'instance-id', Values: [id] },
      { Name: 'instance-state-name', Values: LIVE },
    ]);
    // With the credentials of another account everything would seem to be gone.
    if (!one) await vpcThere(aws, target.options);
    else await mark(aws, target, one, keyPair);
    const account = await ownAccount(aws);
    return account !== undefined && /^\d{12}$/.test(account) ? { ...target.options, account } : target.options;
  });
}

async function mark(aws: Aws, target: Target<Options>, one: AwsInstance, keyPair: string): Promise<void> {
  const { InstanceId = '', KeyName, SpotInstanceRequestId, Tags } = one;
  const owner = tagOf(Tags, 'slipway-id');
  if (owner === target.id) return;
  if (owner !== '') {
    throw new SlipwayError(
      'PROVIDER_REFUSED',
      `${InstanceId} is the machine "${tagOf(Tags, 'slipway-name')}" of Slipway already (store ${tagOf(Tags, 'slipway-home')})`,
      { hint: `Use it there, or take its tags slipway-id, slipway-name and slipway-home away first` },
    );
  }
  const imported = keyPair !== '' && KeyName === keyPair ? { [KEY_PAIR]: keyPair } : {};
  const tags = { ...(await tagsOf(target, aws.call.computer)), ...imported };
  // One call, so that all of it is marked or nothing is.
  await aws.send(
    `marking ${InstanceId}`,
    new aws.sdk.CreateTagsCommand({
      Resources: [InstanceId, ...disksOf(one), ...(SpotInstanceRequestId ? [SpotInstanceRequestId] : [])],
      Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
    }),
  );
}

/** Those that end with the instance; others are somebody's data. */
function disksOf({ BlockDeviceMappings = [] }: AwsInstance): readonly string[] {
  return BlockDeviceMappings.flatMap(({ Ebs }) =>
    Ebs?.VolumeId !== undefined && Ebs.DeleteOnTermination === true ? [Ebs.VolumeId] : [],
  );
}
