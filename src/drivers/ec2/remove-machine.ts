import type {
  DescribeNetworkInterfacesCommandOutput,
  DescribeSpotInstanceRequestsCommandOutput,
  DescribeVolumesCommandOutput,
  Instance as AwsInstance,
  Tag,
  Volume,
} from '@aws-sdk/client-ec2';
import { ownerIdsOf } from '../cloud/batch.ts';
import { pollUntil, waitUntilVisible } from '../cloud/eventual-consistency.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { causeAwsCode } from './errors.ts';
import {
  CONSISTENCY_WINDOW,
  findBatchSiblings,
  findInstances,
  isLive,
  listInstances,
  LIVE_STATES,
  TERMINATED_STATES,
  waitForInstanceState,
} from './instances.ts';
import type { Ec2Options } from './options.ts';
import { deleteSecurityGroup, listOwnedSecurityGroups } from './security-group.ts';
import { KEY_PAIR_TAG, tagValueOf } from './tags.ts';

const DISK_DETACH_SECONDS = 60;
const TERMINATION_SECONDS = 300;

/** Deletes every resource that carries the machine's id. Succeeds if there is none. */
export async function removeMachine(aws: Ec2Connection, target: Target<Ec2Options>, call: DriverCall): Promise<void> {
  await requireMachineAccount(aws, target.options);
  const requests = await listSpotRequests(aws, target);
  if (requests.length > 0) await cancelSpotRequests(aws, requests);
  const instances = await waitForRequestedInstances(aws, target, call);
  // Before the instance is gone, since only the instance's tags name its key pair.
  for (const { Tags } of instances) await deleteKeyPair(aws, tagValueOf(Tags, KEY_PAIR_TAG));
  await terminateInstances(aws, instances);
  // After the termination: if several machines are removed at the same time, the last one deletes what they share.
  const isShared = (await findBatchSiblings(aws, target)).length > 0;
  const isOwned = ({ id, tags }: TaggedResource): boolean =>
    !isShared || tagValueOf(tags, 'slipway-id') === target.id || isAttachedToAny(instances, id);
  await deleteDisks(aws, ownerIdsOf(target), instances, isOwned);
  await deleteNetworkInterfaces(aws, ownerIdsOf(target), isOwned);
  const groups = await listOwnedSecurityGroups(aws, isShared ? [target.id] : ownerIdsOf(target));
  for (const { GroupId } of groups) if (GroupId !== undefined) await deleteSecurityGroup(aws, GroupId, call);
}

/** A resource that carries the machine's id, or its batch's, which does not say to which machine it belongs. */
type TaggedResource = { readonly id: string | undefined; readonly tags: readonly Tag[] | undefined };

/** Returns whether a disk or network interface was attached to one of these instances when EC2 last showed them. */
function isAttachedToAny(instances: readonly AwsInstance[], id: string | undefined): boolean {
  return instances.some(
    ({ BlockDeviceMappings = [], NetworkInterfaces = [] }) =>
      BlockDeviceMappings.some(({ Ebs }) => Ebs?.VolumeId === id) ||
      NetworkInterfaces.some(({ NetworkInterfaceId }) => NetworkInterfaceId === id),
  );
}

/** Returns the machine's live instances; waits if an interrupted create may have requested one a moment ago. */
async function waitForRequestedInstances(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
  call: DriverCall,
): Promise<readonly AwsInstance[]> {
  const find = async (): Promise<readonly AwsInstance[] | undefined> => {
    const found = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
    return found.length > 0 ? found : undefined;
  };
  // If the last request was for a security group, and that exists, no instance was requested.
  const isComplete = async (): Promise<boolean> =>
    target.lastRequest?.what === 'security group' &&
    (await listOwnedSecurityGroups(aws, ownerIdsOf(target))).length > 0;
  const found = await waitUntilVisible(target.lastRequest, find, { ...CONSISTENCY_WINDOW, isComplete }, call);
  return (found ?? []).filter(isLive);
}

/** Terminates the instances and waits until EC2 has done so. */
export async function terminateInstances(aws: Ec2Connection, instances: readonly AwsInstance[]): Promise<void> {
  const ids = instances.flatMap(({ InstanceId }) => InstanceId ?? []);
  if (ids.length === 0) return;
  const doing = 'terminating the instance';
  const terminate = async (InstanceIds: string[]): Promise<void> => {
    await aws.send(doing, new aws.sdk.TerminateInstancesCommand({ InstanceIds }));
  };
  await terminate(ids).catch(async (error: unknown) => {
    if (causeAwsCode(error) !== 'InvalidInstanceID.NotFound') throw error;
    // EC2 refuses the entire request if one instance is gone already. A new instance may still be unknown to some of
    // its servers.
    await retry(
      doing,
      async () => {
        const shown = await listVisibleInstanceIds(aws, ids);
        if (shown.length > 0) await terminate(shown);
      },
      {
        transientReason: (reason) =>
          causeAwsCode(reason) === 'InvalidInstanceID.NotFound' ? 'EC2 does not show it everywhere yet' : undefined,
        seconds: CONSISTENCY_WINDOW.seconds,
        call: aws.call,
      },
    );
  });
  if (await waitForInstanceState(aws, ids, ['terminated'], TERMINATION_SECONDS)) return;
  throw new SlipwayError('PROVIDER_REFUSED', `EC2 has not terminated ${ids.join(', ')} within five minutes`, {
    hint: 'To continue, run the same command again',
  });
}

async function listVisibleInstanceIds(aws: Ec2Connection, ids: readonly string[]): Promise<string[]> {
  const shown = await listInstances(aws, [{ Name: 'instance-id', Values: [...ids] }]);
  return shown.flatMap(({ InstanceId }) => InstanceId ?? []);
}

/** Returns the open and fulfilled spot requests of the machine, without those of the other machines of its batch. */
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
      'canceling its spot request',
      new aws.sdk.CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [...ids] }),
    )
    // EC2 no longer knows a request that was closed long ago.
    .catch(ignoreCode('InvalidSpotInstanceRequestID.NotFound'));
}

/** Deletes the key pair that another tool imported for the instance alone. EC2 accepts this for a missing key pair. */
async function deleteKeyPair(aws: Ec2Connection, KeyName: string): Promise<void> {
  if (KeyName === '') return;
  await aws.send('deleting its key pair', new aws.sdk.DeleteKeyPairCommand({ KeyName }));
}

/**
 * Deletes the disks that EC2 did not delete with their instance; waits for those still attached to a terminated
 * instance.
 */
async function deleteDisks(
  aws: Ec2Connection,
  ownerIds: readonly string[],
  terminated: readonly AwsInstance[],
  isOwned: (resource: TaggedResource) => boolean,
): Promise<void> {
  let attached: readonly Volume[] = [];
  const deleteDetached = async (): Promise<boolean> => {
    const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
      'looking for its disks',
      new aws.sdk.DescribeVolumesCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ownerIds] }] }),
    );
    const owned = Volumes.filter(({ VolumeId, Tags }) => isOwned({ id: VolumeId, tags: Tags }));
    for (const { VolumeId, State } of owned)
      if (VolumeId !== undefined && State === 'available') await deleteDisk(aws, VolumeId);
    attached = owned.filter(
      ({ State, Attachments = [] }) =>
        State === 'in-use' &&
        Attachments.some(({ InstanceId }) => terminated.some((instance) => instance.InstanceId === InstanceId)),
    );
    return attached.length === 0;
  };
  if (await pollUntil(deleteDetached, { seconds: DISK_DETACH_SECONDS }, aws.call.signal)) return;
  // These requests fail with EC2's own reason.
  for (const { VolumeId } of attached) if (VolumeId !== undefined) await deleteDisk(aws, VolumeId);
}

export async function deleteDisk(aws: Ec2Connection, VolumeId: string): Promise<void> {
  await aws
    .send('deleting its disk', new aws.sdk.DeleteVolumeCommand({ VolumeId }))
    .catch(ignoreCode('InvalidVolume.NotFound'));
}

async function deleteNetworkInterfaces(
  aws: Ec2Connection,
  ownerIds: readonly string[],
  isOwned: (resource: TaggedResource) => boolean,
): Promise<void> {
  const { NetworkInterfaces = [] }: DescribeNetworkInterfacesCommandOutput = await aws.send(
    'looking for its network interfaces',
    new aws.sdk.DescribeNetworkInterfacesCommand({
      Filters: [
        { Name: 'tag:slipway-id', Values: [...ownerIds] },
        { Name: 'status', Values: ['available'] },
      ],
    }),
  );
  const owned = NetworkInterfaces.filter(({ NetworkInterfaceId, TagSet }) =>
    isOwned({ id: NetworkInterfaceId, tags: TagSet }),
  );
  for (const { NetworkInterfaceId } of owned)
    if (NetworkInterfaceId !== undefined) await deleteNetworkInterface(aws, NetworkInterfaceId);
}

export async function deleteNetworkInterface(aws: Ec2Connection, NetworkInterfaceId: string): Promise<void> {
  await aws
    .send('deleting its network interface', new aws.sdk.DeleteNetworkInterfaceCommand({ NetworkInterfaceId }))
    .catch(ignoreCode('InvalidNetworkInterfaceID.NotFound'));
}

/** Returns a handler that ignores errors with this code: the resource is gone already. */
function ignoreCode(code: string): (error: unknown) => void {
  return (error) => {
    if (causeAwsCode(error) !== code) throw error;
  };
}
