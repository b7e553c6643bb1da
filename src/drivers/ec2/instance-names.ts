import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './errors.ts';
import { CONSISTENCY_RETRY_SECONDS, findInstances } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { tagValueOf } from './tags.ts';

/**
 * Names each instance of a batch after its machine, since one request gave all of them the same name. The names are for
 * people who look at the console; nothing depends on them.
 */
export async function setInstanceNames(
  aws: Ec2Connection,
  targets: readonly Target<Ec2Options>[],
  launched: readonly AwsInstance[],
): Promise<void> {
  await Promise.all(
    targets.map(async (target) => {
      const known = launched.find(({ AmiLaunchIndex }) => AmiLaunchIndex === target.batch?.index);
      const { InstanceId, Tags } = known ?? (await findInstances(aws, target))[0] ?? {};
      if (InstanceId !== undefined && tagValueOf(Tags, 'Name') !== target.name)
        await setInstanceName(aws, InstanceId, target.name);
    }),
  );
}

async function setInstanceName(aws: Ec2Connection, id: string, name: string): Promise<void> {
  const doing = `naming ${id}`;
  const Tags = ['Name', 'slipway-name'].map((Key) => ({ Key, Value: name }));
  await retry(doing, () => aws.send(doing, new aws.sdk.CreateTagsCommand({ Resources: [id], Tags })), {
    transientReason: (error) =>
      causeAwsCode(error) === 'InvalidInstanceID.NotFound' ? 'EC2 does not show it yet' : undefined,
    seconds: CONSISTENCY_RETRY_SECONDS,
    call: aws.call,
  }).catch((error: unknown) => {
    if (aws.call.signal.aborted || !(error instanceof SlipwayError)) throw error;
    aws.call.note(`${id} could not be named "${name}" in EC2: ${error.message}`);
  });
}
