import type {
  DescribeNetworkInterfacesCommandOutput,
  DescribeSpotInstanceRequestsCommandOutput,
  DescribeVolumesCommandOutput,
  Instance as AwsInstance,
  Tag,
} from '@aws-sdk/client-ec2';
import { insist, pauseFor } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { Call, Target } from '../contract.ts';
import { rightAccount } from './account.ts';
import type { Aws } from './client.ts';
import { idsOf, ourGroups, removeGroup } from './firewall.ts';
import {
  causeCode,
  ENDED,
  findInstances,
  instancesWith,
  KEY_PAIR,
  LATE_SECONDS,
  LIVE,
  siblingsOf,
  tagOf,
  waitForState,
} from './instances.ts';
import type { Options } from './options.ts';

const DISK_SECONDS = 60;

/** Whatever carries the machine's id goes; nothing is said where there is nothing. */
export async function removeAll(aws: Aws, target: Target<Options>, call: Call): Promise<void> {
  await rightAccount(aws, target.options);
  const requests = await spotRequests(aws, target);
  if (requests.length > 0) await cancelRequests(aws, requests);
  const instances = await whatExists(aws, target, call);
  // Before the instance, which alone names it.
  for (const { Tags } of instances) await removeKeyPair(aws, tagOf(Tags, KEY_PAIR));
  await terminate(aws, instances);
  // Asked after its own end: of several that are removed at the same time, the last one takes what they share.
  const shared = (await siblingsOf(aws, target)).length > 0;
  const isOurs = ({ id, tags }: Thing): boolean =>
    !shared || tagOf(tags, 'slipway-id') === target.id || had(instances, id);
  await removeDisks(aws, idsOf(target), instances, isOurs);
  await removeInterfaces(aws, idsOf(target), isOurs);
  const groups = await ourGroups(aws, shared ? [target.id] : idsOf(target));
  for (const { GroupId } of groups) if (GroupId !== undefined) await removeGroup(aws, GroupId, call);
}

/** Something that carries the machine's id or its batch's, which says alone not whose of the batch it is. */
type Thing = { readonly id: string | undefined; readonly tags: readonly Tag[] | undefined };

/** Whether it hung on one of these instances when it was last seen. */
function had(instances: readonly AwsInstance[], id: string | undefined): boolean {
  return instances.some(
    ({ BlockDeviceMappings = [], NetworkInterfaces = [] }) =>
      BlockDeviceMappings.some(({ Ebs }) => Ebs?.VolumeId === id) ||
      NetworkInterfaces.some(({ NetworkInterfaceId }) => NetworkInterfaceId === id),
  );
}

/** Its instances, waited for where a create may have asked for one a moment ago. */
async function whatExists(aws: Aws, target: Target<Options>, call: Call): Promise<readonly AwsInstance[]> {
  const { asked } = target;
  const until = asked === undefined ? 0 : Date.parse(asked.at) + LATE_SECONDS * 1000;
  let told = false;
  for (;;) {
    const found = await findInstances(aws, target, [...LIVE, ...ENDED]);
    if (found.length > 0) return found.filter(({ State }) => !ENDED.includes(State?.Name ?? ''));
    if (Date.now() >= until || (await isThere(aws, target))) return [];
    if (!told)
      call.note(
        `EC2 was asked for its ${asked?.what} a moment ago and may show it late; looking for it for up to ${LATE_SECONDS} s`,
      );
    told = true;
    await pauseFor(1000, call.signal);
  }
}

/** A group is what was asked for last, and it is there: nothing came after it. */
async function isThere(aws: Aws, target: Target<Options>): Promise<boolean> {
  return target.asked?.what === 'security group' && (await ourGroups(aws, idsOf(target))).length > 0;
}

export async function terminate(aws: Aws, instances: readonly AwsInstance[]): Promise<void> {
  const ids = instances.flatMap(({ InstanceId }) => InstanceId ?? []);
  if (ids.length === 0) return;
  const end = async (InstanceIds: string[]): Promise<void> => {
    await aws.send('ending the instance', new aws.sdk.TerminateInstancesCommand({ InstanceIds }));
  };
  await end(ids).catch(async (error: unknown) => {
    if (causeCode(error) !== 'InvalidInstanceID.NotFound') throw error;
    // One that is gone by now refuses the whole call; one that is new may not be known everywhere yet.
    await insist(
      'ending the instance',
      async () => {
        const shown = await shownOf(aws, ids);
        if (shown.length > 0) await end(shown);
      },
      {
        passing: (again) =>
          causeCode(again) === 'InvalidInstanceID.NotFound' ? 'EC2 does not know it everywhere yet' : undefined,
        seconds: LATE_SECONDS,
        call: aws.call,
      },
    );
  });
  if (await waitForState(aws, ids, ['terminated'], 300)) return;
  throw new SlipwayError('PROVIDER_REFUSED', `EC2 has not ended ${ids.join(', ')} within five minutes`, {
    hint: 'Run the same command again: it goes on from there',
  });
}

async function shownOf(aws: Aws, ids: readonly string[]): Promise<string[]> {
  const shown = await instancesWith(aws, [{ Name: 'instance-id', Values: [...ids] }]);
  return shown.flatMap(({ InstanceId }) => InstanceId ?? []);
}

/** Those that are open or have been filled for it; what was filled for others of its batch is theirs. */
async function spotRequests(aws: Aws, target: Target<Options>): Promise<readonly string[]> {
  const { SpotInstanceRequests = [] }: DescribeSpotInstanceRequestsCommandOutput = await aws.send(
    'looking for its spot requests',
    new aws.sdk.DescribeSpotInstanceRequestsCommand({
      Filters: [
        { Name: 'tag:slipway-id', Values: [...idsOf(target)] },
        { Name: 'state', Values: ['open', 'active'] },
      ],
    }),
  );
  const siblings = SpotInstanceRequests.length === 0 ? [] : await siblingsOf(aws, target);
  return SpotInstanceRequests.filter(
    ({ InstanceId = '' }) => !siblings.some((sibling) => sibling.InstanceId === InstanceId),
  ).flatMap(({ SpotInstanceRequestId }) => SpotInstanceRequestId ?? []);
}

export async function cancelRequests(aws: Aws, ids: readonly string[]): Promise<void> {
  await aws
    .send(
      'cancelling its spot request',
      new aws.sdk.CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [...ids] }),
    )
    .catch((error: unknown) => {
      // Of one that was closed long ago nothing is known.
      if (causeCode(error) !== 'InvalidSpotInstanceRequestID.NotFound') throw error;
    });
}

/** Of another tool, which imported it for this instance alone; EC2 has no objection where there is none. */
async function removeKeyPair(aws: Aws, KeyName: string): Promise<void> {
  if (KeyName === '') return;
  await aws.send('removing its key pair', new aws.sdk.DeleteKeyPairCommand({ KeyName }));
}

/** Those that no instance took along when it ended; such that still hang on one that was ended are waited for. */
async function removeDisks(
  aws: Aws,
  ids: readonly string[],
  ended: readonly AwsInstance[],
  isOurs: (thing: Thing) => boolean,
): Promise<void> {
  const end = performance.now() + DISK_SECONDS * 1000;
  for (;;) {
    const { Volumes = [] }: DescribeVolumesCommandOutput = await aws.send(
      'looking for its disks',
      new aws.sdk.DescribeVolumesCommand({ Filters: [{ Name: 'tag:slipway-id', Values: [...ids] }] }),
    );
    const ours = Volumes.filter(({ VolumeId, Tags }) => isOurs({ id: VolumeId, tags: Tags }));
    for (const { VolumeId, State } of ours)
      if (VolumeId !== undefined && State === 'available') await removeDisk(aws, VolumeId);
    const held = ours.filter(
      ({ State, Attachments = [] }) =>
        State === 'in-use' &&
        Attachments.some(({ InstanceId }) => ended.some((instance) => instance.InstanceId === InstanceId)),
    );
    if (held.length === 0) return;
    if (performance.now() > end) {
      // EC2 says in its own words why it can't go.
      for (const { VolumeId } of held) if (VolumeId !== undefined) await removeDisk(aws, VolumeId);
      return;
    }
    await pauseFor(1000, aws.call.signal);
  }
}

export async function removeDisk(aws: Aws, VolumeId: string): Promise<void> {
  await aws.send('removing its disk', new aws.sdk.DeleteVolumeCommand({ VolumeId })).catch((error: unknown) => {
    if (causeCode(error) !== 'InvalidVolume.NotFound') throw error;
  });
}

async function removeInterfaces(aws: Aws, ids: readonly string[], isOurs: (thing: Thing) => boolean): Promise<void> {
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
    if (NetworkInterfaceId !== undefined) await removeInterface(aws, NetworkInterfaceId);
}

export async function removeInterface(aws: Aws, NetworkInterfaceId: string): Promise<void> {
  await aws
    .send('removing its network interface', new aws.sdk.DeleteNetworkInterfaceCommand({ NetworkInterfaceId }))
    .catch((error: unknown) => {
      if (causeCode(error) !== 'InvalidNetworkInterfaceID.NotFound') throw error;
    });
}
