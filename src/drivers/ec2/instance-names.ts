import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode, findInstances, tagValueOf } from './instances.ts';
import type { Ec2Options } from './options.ts';

const CONSISTENCY_RETRY_SECONDS = 30;

/** One call gives all of a batch one name; each gets its own, for people who look into the console. Nothing depends on it. */
export async function setInstanceNames(
  aws: Ec2Connection,
  targets: readonly Target<Ec2Options>[],
  answered: readonly AwsInstance[],
): Promise<void> {
  await Promise.all(
    targets.map(async (target) => {
      const shown = answered.find(({ AmiLaunchIndex }) => AmiLaunchIndex === target.batch?.index);
      const { InstanceId, Tags } = shown ?? (await findInstances(aws, target))[0] ?? {};
      if (InstanceId !== undefined && tagValueOf(Tags, 'Name') !== target.name)
        await setInstanceName(aws, InstanceId, target.name);
    }),
  );
}

async function setInstanceName(aws: Ec2Connection, id: string, text: string): Promise<void> {
  const what = `naming ${id}`;
  const Tags = ['Name', 'slipway-name'].map((Key) => ({ Key, Value: text }));
  await retry(what, () => aws.send(what, new aws.sdk.CreateTagsCommand({ Resources: [id], Tags })), {
    transientReason: (error) =>
      causeAwsCode(error) === 'InvalidInstanceID.NotFound' ? 'EC2 does not show it yet' : undefined,
    seconds: CONSISTENCY_RETRY_SECONDS,
    call: aws.call,
  }).catch((error: unknown) => {
    if (aws.call.signal.aborted || !(error instanceof SlipwayError)) throw error;
    aws.call.note(`${id} is not named "${text}" in EC2: ${error.message}`);
  });
}
