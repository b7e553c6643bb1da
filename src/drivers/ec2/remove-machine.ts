import type {
  DescribeNetworkInterfacesCommandOutput,
  DescribeSpotInstanceRequestsCommandOutput,
  DescribeVolumesCommandOutput,
  Instance as AwsInstance,
  Tag,
} from '@aws-sdk/client-ec2';
import { retry, sleepUnlessCanceled } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { ownerIdsOf, listOwnedSecurityGroups, deleteSecurityGroup } from './security-group.ts';
import {
  causeAwsCode,
  TERMINATED_STATES,
  findInstances,
  listInstances,
  KEY_PAIR_TAG,
  CONSISTENCY_WINDOW_SECONDS,
  LIVE_STATES,
  findBatchSiblings,
  tagValueOf,
  waitForInstanceState,
} from './instances.ts';
import type { Ec2Options } from './options.ts';

const DISK_DETACH_SECONDS = 60;

/** Whatever carries the machine's id goes; nothing is said where there is nothing. */
export async function removeMachine(aws: Ec2Connection, target: Target<Ec2Options>, call: DriverCall): Promise<void> {
  await requireMachineAccount(aws, target.options);
  const requests = await listSpotRequests(aws, target);
  if (requests.length > 0) await cancelSpotRequests(aws, requests);
  const instances = await waitForRequestedInstances(aws, target, call);
  // Before the instance, which alone names it.
  for (const { Tags } of instances) await deleteKeyPair(aws, tagValueOf(Tags, KEY_PAIR_TAG));
  await terminateInstances(aws, instances);
  // Asked after its own end: of several that are removed at the same time, the last one takes what they share.
  const shared = (await findBatchSiblings(aws, target)).length > 0;
  const isOurs = ({ id, tags }: TaggedResource): boolean =>
    !shared || tagValueOf(tags, 'slipway-id') === target.id || isAttachedToAny(instances, id);
  await deleteDisks(aws, ownerIdsOf(target), instances, isOurs);
  await deleteNetworkInterfaces(aws, ownerIdsOf(target), isOurs);
  const groups = await listOwnedSecurityGroups(aws, shared ? [target.id] : ownerIdsOf(target));
  for (const { GroupId } of groups) if (GroupId !== undefined) await deleteSecurityGroup(aws, GroupId, call);
}

/** Something that carries the machine's id or its batch's, which says alone not whose of the batch it is. */
type TaggedResource = { readonly id: string | undefined; readonly tags: readonly Tag[] | undefined };

/** Whether it hung on one of these instances when it was last seen. */
function isAttachedToAny(instances: readonly AwsInstance[], id: string | undefined): boolean {
  return instances.some(
    ({ BlockDeviceMappings = [], NetworkInterfaces = [] }) =>
      BlockDeviceMappings.some(({ Ebs }) => Ebs?.VolumeId === id) ||
      NetworkInterfaces.some(({ NetworkInterfaceId }) => NetworkInterfaceId === id),
  );
}

/** Its instances, waited for where a create may have asked for one a moment ago. */
async function waitForRequestedInstances(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  call: DriverCall,
): Promise<readonly AwsInstance[]> {
  const { lastRequest } = target;
  const until = lastRequest === undefined ? 0 : Date.parse(lastRequest.at) + CONSISTENCY_WINDOW_SECONDS * 1000;
  let told = false;
  for (;;) {
    const found = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
    if (found.length > 0) return found.filter(({ State }) => !TERMINATED_STATES.includes(State?.Name ?? ''));
    if (Date.now() >= until || (await isLastRequestVisible(aws, target))) return [];
    if (!told)
      call.note(
        `EC2 was asked for its ${lastRequest?.what} a moment ago and may show it late; looking for it for up to ${CONSISTENCY_WINDOW_SECONDS} s`,
      );
    told = true;
    await sleepUnlessCanceled(1000, call.signal);
  }
}

/** A group is what was asked for last, and it is there: nothing came after it. */
async function isLastRequestVisible(aws: Ec2Connection, target: Target<Ec2Options>): Promise<boolean> {
  return (
    target.lastRequest?.what === 'security group' && (await listOwnedSecurityGroups(aws, ownerIdsOf(target))).length > 0
  );
}

export async function terminateInstances(aws: Ec2Connection, instances: readonly AwsInstance[]): Promise<void> {
  const ids = instances.flatMap(({ InstanceId }) => InstanceId ?? []);
  if (ids.length === 0) return;
  const end = async (InstanceIds: string[]): Promise<void> => {
    await aws.send('ending the instance', new aws.sdk.TerminateInstancesCommand({ InstanceIds }));
  };
  await end(ids).catch(async (error: unknown) => {
    if (causeAwsCode(error) !== 'InvalidInstanceID.NotFound') throw error;
    // One that is gone by now refuses the whole call; one that is new may not be known everywhere yet.
    await retry(
      'ending the instance',
      async () => {
        const shown = await listVisibleInstanceIds(aws, ids);
        if (shown.length > 0) await end(shown);
      },
      {
        transientReason: (again) =>
          causeAwsCode(again) === 'InvalidInstanceID.NotFound' ? 'EC2 does not know it everywhere yet' : undefined,
        seconds: CONSISTENCY_WINDOW_SECONDS,
        call: aws.call,
      },
    );
  });
  if (await waitForInstanceState(aws, ids, ['terminated'], 300)) return;
  throw new SlipwayError('PROVIDER_REFUSED', `EC2 has not ended ${ids.join(', ')} within five minutes`, {
    hint: 'Run the same command again: it goes on from there',
  });
}

async function listVisibleInstanceIds(aws: Ec2Connection, ids: readonly string[]): Promise<string[]> {
  const shown = await listInstances(aws, [{ Name: 'instance-id', Values: [...ids] }]);
  return shown.flatMap(({ InstanceId }) => InstanceId ?? []);
}

/** Those that are open or have been filled for it; what was filled for others of its batch is theirs. */
async function listSpotRequests(aws: Ec2Connection, target: Target<Ec2Options>): Promise<readonly string[]> {
  const { SpotInstanceRequests = [] }: DescribeSpotInstanceRequestsCommandOutput = await aws.send(
    'looking for its spot requests',
    new aws.sdk.DescribeSpotInstanceRequestsCommand({
      Filters: [
        { Name: 'tag:slipway-id', Values: [...ownerIdsOf(target)] },
        { Name: 'state', Values: ['open', 'active'] },
      ],
    }),
  );
  const siblings = SpotInstanceRequests.length === 0 ? [] : await findBatchSiblings(aws, target);
  return SpotInstanceRequests.filter(
    ({ InstanceId = '' }) => !siblings.some((sibling) => sibling.InstanceId === InstanceId),
  ).flatMap(({ SpotInstanceRequestId }) => SpotInstanceRequestId ?? []);
}

export async function cancelSpotRequests(aws: Ec2Connection, ids: readonly string[]): Promise<void> {
  await aws
    .send(
      'cancelling its spot request',
      new aws.sdk.CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [...ids] }),
    )
    .catch((error: unknown) => {
      // Of one that was closed long ago nothing is known.
      if (causeAwsCode(error) !== 'InvalidSpotInstanceRequestID.NotFound') throw error;
    });
}

/** Of another tool, which imported it for this instance alone; EC2 has no objection where there is none. */
async function deleteKeyPair(aws: Ec2Connection, KeyName: string): Promise<void> {
  if (KeyName === '') return;
  await aws.send('removing its key pair', new aws.sdk.DeleteKeyPairCommand({ KeyName }));
}

/** Those that no instance took along when it ended; such that still hang on one that was ended are waited for. */
async function deleteDisks(
  aws: Ec2Connection,
  ids: readonly string[],
  ended: readonly AwsInstance[],
  isOurs: (thing: TaggedResource) => boolean,
): Promise<void> {
  const end = performance.now() + DISK_DETACH_SECONDS * 1000;
  for (;;) {
    const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
      'looking for its disks',
      new aws.sdk.DescribeVolumesCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ids] }] }),
    );
    const ours = Volumes.filter(({ VolumeId, Tags }) => isOurs({ id: VolumeId, tags: Tags }));
    for (const { VolumeId, State } of ours)
      if (VolumeId !== undefined && State === 'available') await deleteDisk(aws, VolumeId);
    const held = ours.filter(
      ({ State, Attachments = [] }) =>
        State === 'in-use' &&
        Attachments.some(({ InstanceId }) => ended.some((instance) => instance.InstanceId === InstanceId)),
    );
    if (held.length === 0) return;
    if (performance.now() > end) {
      // EC2 says in its own words why it can't go.
      for (const { VolumeId } of held) if (VolumeId !== undefined) await deleteDisk(aws, VolumeId);
      return;
    }
    await sleepUnlessCanceled(1000, aws.call.signal);
  }
}

export async function deleteDisk(aws: Ec2Connection, VolumeId: string): Promise<void> {
  await aws.send('removing its disk', new aws.sdk.DeleteVolumeCommand({ VolumeId })).catch((error: unknown) => {
    if (causeAwsCode(error) !== 'InvalidVolume.NotFound') throw error;
  });
}

async function deleteNetworkInterfaces(
  aws: Ec2Connection,
  ids: readonly string[],
  isOurs: (thing: TaggedResource) => boolean,
): Promise<void> {
  const { NetworkInterfaces = [] }: DescribeNetworkInterfacesCommandOutput = await aws.send(
    'looking for its network interfaces',
    new aws.sdk.DescribeNetworkInterfacesCommand({
      Filters: [
        { Name: 'tag:slipway-id', Values: [...ids] },
        { Name: 'status', Values: ['available'] },
      ],
    }),
  );
  const ours = NetworkInterfaces.filter(({ NetworkInterfaceId, TagSet }) =>
    isOurs({ id: NetworkInterfaceId, tags: TagSet }),
  );
  for (const { NetworkInterfaceId } of ours)
    if (NetworkInterfaceId !== undefined) await deleteNetworkInterface(aws, NetworkInterfaceId);
}

export async function deleteNetworkInterface(aws: Ec2Connection, NetworkInterfaceId: string): Promise<void> {
  await aws
    .send('removing its network interface', new aws.sdk.DeleteNetworkInterfaceCommand({ NetworkInterfaceId }))
    .catch((error: unknown) => {
      if (causeAwsCode(error) !== 'InvalidNetworkInterfaceID.NotFound') throw error;
    });
}
