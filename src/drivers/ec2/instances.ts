import type { DescribeInstancesCommandOutput, Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { pollUntil } from '../cloud/eventual-consistency.ts';
import type { Target } from '../contract.ts';
import { collectPages, type Ec2Connection } from './client.ts';
import { tagValueOf } from './tags.ts';

type Ec2TargetIdentity = Pick<Target<unknown>, 'id' | 'batch' | 'adoptedResource'>;

export const LIVE_STATES = ['pending', 'running', 'stopping', 'stopped'];
export const TERMINATED_STATES = ['shutting-down', 'terminated'];
/**
 * EC2 shows a new resource within seconds; one that does not show this long after its request was never created.
 */
export const CONSISTENCY_WINDOW = { provider: 'EC2', seconds: 60 };
/** How long a resource that EC2 has confirmed may be unknown to its other servers. */
export const CONSISTENCY_RETRY_SECONDS = 30;

export const isLive = ({ State }: AwsInstance): boolean => LIVE_STATES.includes(State?.Name ?? '');

/**
 * Returns the instances of a machine in these states, the oldest first: its own, and the one with its index in its
 * batch.
 */
export async function findInstances(
  aws: Ec2Connection,
  target: Ec2TargetIdentity,
  states = LIVE_STATES,
): Promise<readonly AwsInstance[]> {
  const { id, batch, adoptedResource } = target;
  const inState = { Name: 'instance-state-name', Values: [...states] };
  // An instance that is not adopted yet has no tag with the machine's id.
  if (adoptedResource !== undefined)
    return await listInstances(aws, [{ Name: 'instance-id', Values: [adoptedResource.split('/')[0] ?? ''] }, inState]);
  const all = await listInstances(aws, [{ Name: 'tag:slipway-id', Values: batch ? [id, batch.id] : [id] }, inState]);
  return all
    .filter((instance) => tagValueOf(instance.Tags, 'slipway-id') === id || instance.AmiLaunchIndex === batch?.index)
    .toSorted(
      (left, right) =>
        launchTimeOf(left) - launchTimeOf(right) || (left.InstanceId ?? '').localeCompare(right.InstanceId ?? ''),
    );
}

/** Returns the live instances of the other machines in the machine's batch. */
export async function findBatchSiblings(
  aws: Ec2Connection,
  { batch }: Ec2TargetIdentity,
): Promise<readonly AwsInstance[]> {
  if (!batch) return [];
  const live = await listInstances(aws, [
    { Name: 'tag:slipway-id', Values: [batch.id] },
    { Name: 'instance-state-name', Values: LIVE_STATES },
  ]);
  return live.filter(({ AmiLaunchIndex }) => AmiLaunchIndex !== batch.index);
}

export async function listInstances(
  aws: Ec2Connection,
  filters: readonly { readonly Name: string; readonly Values: string[] }[],
): Promise<readonly AwsInstance[]> {
  const pages = await collectPages<DescribeInstancesCommandOutput>((next) =>
    aws.send('looking for its instances', new aws.sdk.DescribeInstancesCommand({ Filters: [...filters], ...next })),
  );
  return pages.flatMap(({ Reservations = [] }) => Reservations.flatMap(({ Instances = [] }) => Instances));
}

function launchTimeOf({ LaunchTime }: AwsInstance): number {
  return LaunchTime?.getTime() ?? 0;
}

/**
 * Waits until each of these instances is in one of these states, or EC2 no longer shows it. Returns false if that takes
 * longer than `seconds`.
 */
export async function waitForInstanceState(
  aws: Ec2Connection,
  ids: readonly string[],
  states: readonly string[],
  seconds: number,
): Promise<boolean> {
  const areAllInState = async (): Promise<boolean> => {
    const shown = await listInstances(aws, [{ Name: 'instance-id', Values: [...ids] }]);
    return shown.every(({ State }) => states.includes(State?.Name ?? ''));
  };
  return await pollUntil(areAllInState, { seconds }, aws.call.signal);
}
