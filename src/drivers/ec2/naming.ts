import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { insist } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import type { Aws } from './client.ts';
import { causeCode, findInstances, tagOf } from './instances.ts';
import type { Options } from './options.ts';

const SHOWS_SECONDS = 30;

/** One call gives all of a batch one name; each gets its own, for people who look into the console. Nothing depends on it. */
export async function nameEach(
  aws: Aws,
  targets: readonly Target<Options>[],
  answered: readonly AwsInstance[],
): Promise<void> {
  await Promise.all(
    targets.map(async (target) => {
      const shown = answered.find(({ AmiLaunchIndex }) => AmiLaunchIndex === target.batch?.index);
      const { InstanceId, Tags } = shown ?? (await findInstances(aws, target))[0] ?? {};
      if (InstanceId !== undefined && tagOf(Tags, 'Name') !== target.name) await name(aws, InstanceId, target.name);
    }),
  );
}

async function name(aws: Aws, id: string, text: string): Promise<void> {
  const what = `naming ${id}`;
  const Tags = ['Name', 'slipway-name'].map((Key) => ({ Key, Value: text }));
  await insist(what, () => aws.send(what, new aws.sdk.CreateTagsCommand({ Resources: [id], Tags })), {
    passing: (error) => (causeCode(error) === 'InvalidInstanceID.NotFound' ? 'EC2 does not show it yet' : undefined),
    seconds: SHOWS_SECONDS,
    call: aws.call,
  }).catch((error: unknown) => {
    if (aws.call.signal.aborted || !(error instanceof SlipwayError)) throw error;
    aws.call.note(`${id} is not named "${text}" in EC2: ${error.message}`);
  });
}
