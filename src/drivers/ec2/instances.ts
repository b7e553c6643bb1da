import type {
  DescribeInstancesCommandOutput,
  Instance as AwsInstance,
  RunInstancesCommandInput,
  RunInstancesCommandOutput,
  Tag,
  TagSpecification,
} from '@aws-sdk/client-ec2';
import { retry, sleepUnlessCanceled } from '../cloud/retry.ts';
import { getResourceTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall, Target } from '../contract.ts';
import type { Ec2Connection } from './client.ts';
import { awsCodeOf, errorKindOf, type AwsErrorKind } from './errors.ts';
import type { Ec2Options } from './options.ts';

type Ec2TargetIdentity = Pick<Target<unknown>, 'id' | 'batch' | 'adoptedResource'>;

/** The tag that names the key pair which was imported for an instance alone. */
export const KEY_PAIR_TAG = 'slipway-key-pair';

export const LIVE_STATES = ['pending', 'running', 'stopping', 'stopped'];
export const TERMINATED_STATES = ['shutting-down', 'terminated'];
/** EC2 shows what it has made within seconds; so long it is looked for before it counts as not made. */
const CONSISTENCY_RETRY_SECONDS = 30;
/** EC2 shows what it makes within seconds. So long after it was asked, what is not there was not made. */
export const CONSISTENCY_WINDOW_SECONDS = 60;
/** What the record says that a bulk call was about to ask for. */
const BATCH_REQUEST = 'instances';
/** Rooms come free by the minute, but a create that waits for one says so soon. */
const CAPACITY_RETRY_SECONDS = 15;
/** An id whose instance was ended can't be used for another one: then its next number is. */
const MAX_LAUNCH_ATTEMPTS = 5;
const DEFINITE_REFUSALS: ReadonlySet<AwsErrorKind> = new Set([
  'credentials',
  'forbidden',
  'account',
  'quota',
  'capacity',
  'refused',
  'throttled',
]);

/** The instances of a machine that are not ended, oldest first: its own, and its place in the batch that it was made with. */
export async function findInstances(
  aws: Ec2Connection,
  target: Ec2TargetIdentity,
  states = LIVE_STATES,
): Promise<readonly AwsInstance[]> {
  const { id, batch, adoptedResource } = target;
  const inState = { Name: 'instance-state-name', Values: [...states] };
  // Until it carries the machine's id.
  if (adoptedResource !== undefined)
    return await listInstances(aws, [{ Name: 'instance-id', Values: [adoptedResource.split('/')[0] ?? ''] }, inState]);
  const all = await listInstances(aws, [{ Name: 'tag:slipway-id', Values: batch ? [id, batch.id] : [id] }, inState]);
  return all
    .filter((one) => tagValueOf(one.Tags, 'slipway-id') === id || one.AmiLaunchIndex === batch?.index)
    .toSorted(
      (left, right) =>
        launchTimeOf(left) - launchTimeOf(right) || (left.InstanceId ?? '').localeCompare(right.InstanceId ?? ''),
    );
}

/** Machines of the same batch that exist, made by the one call. */
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
  const found: AwsInstance[] = [];
  let next: string | undefined;
  do {
    const page: DescribeInstancesCommandOutput = await aws.send(
      'looking for its instances',
      new aws.sdk.DescribeInstancesCommand({
        Filters: [...filters],
        ...(next === undefined ? {} : { NextToken: next }),
      }),
    );
    for (const { Instances = [] } of page.Reservations ?? []) found.push(...Instances);
    next = page.NextToken || undefined;
  } while (next !== undefined);
  return found;
}

function launchTimeOf({ LaunchTime }: AwsInstance): number {
  return LaunchTime?.getTime() ?? 0;
}

export function tagValueOf(tags: readonly Tag[] | undefined, key: string): string {
  return tags?.find(({ Key }) => Key === key)?.Value ?? '';
}

export type Ec2InstanceSpec = {
  readonly options: Ec2Options;
  readonly userData: string;
  readonly securityGroupIds: readonly string[];
  readonly tags: readonly Tag[];
  /** Its own shutdown is its end, disk and all. */
  readonly terminateOnShutdown: boolean;
};

/** Marks of ours, then the user's own: what both name is ours. */
export async function buildTags(target: Target<Ec2Options>, call: CreateCall, name: string): Promise<readonly Tag[]> {
  const ours = { Name: name, ...(await getResourceTags(target, call.computer)) };
  const all = { ...Object.fromEntries(parseTags(target.options.tags)), ...ours };
  return Object.entries(all).map(([Key, Value]) => ({ Key, Value }));
}

/** `key=value`, or the old tool's `key1,value1,key2,value2`. */
export function parseTags(tags: readonly string[]): readonly (readonly [string, string])[] {
  if (tags.length === 0) return [];
  // A variable is split at its commas, so the old form comes as a list of words without any `=`.
  const words = tags.some((tag) => tag.includes('=')) ? tags : tags.join(',').split(',');
  if (words.every((word) => word.includes('='))) {
    return words.map((word) => {
      const at = word.indexOf('=');
      return [word.slice(0, at), word.slice(at + 1)] as const;
    });
  }
  if (words.some((word) => word.includes('=')) || words.length % 2 === 1) {
    throw new SlipwayError(
      'USAGE',
      `--ec2-tags must be key=value pairs, or key1,value1,key2,value2: got ${tags.join(' ')}`,
      {
        hint: 'For example: --ec2-tags team=web --ec2-tags cost=42',
      },
    );
  }
  return words.flatMap((key, at) => (at % 2 === 0 ? [[key, words[at + 1] ?? ''] as const] : []));
}

export function tagSpecifications(tags: readonly Tag[], kinds: readonly string[]): TagSpecification[] {
  return kinds.map((kind) => ({
    ResourceType: kind as NonNullable<TagSpecification['ResourceType']>,
    Tags: [...tags],
  }));
}

/** Pure: all that decides how the instance will be. */
export function runInstancesInput(
  { options, userData, securityGroupIds, tags, terminateOnShutdown }: Ec2InstanceSpec,
  count: number,
): RunInstancesCommandInput {
  const { subnet, zone, tenancy, placementGroup, spot, spotPrice, iamInstanceProfile: profile } = options;
  const kinds = ['instance', 'volume', 'network-interface', ...(spot ? ['spot-instances-request'] : [])];
  const placement = {
    // A subnet lies in one zone.
    ...(subnet === undefined && zone !== undefined ? { AvailabilityZone: zone } : {}),
    ...(tenancy === undefined ? {} : { Tenancy: tenancy }),
    ...(placementGroup === undefined ? {} : { GroupName: placementGroup }),
  };
  return {
    ImageId: options.ami,
    InstanceType: options.instanceType as NonNullable<RunInstancesCommandInput['InstanceType']>,
    MinCount: count,
    MaxCount: count,
    UserData: Buffer.from(userData).toString('base64'),
    TagSpecifications: tagSpecifications(tags, kinds),
    BlockDeviceMappings: [{ DeviceName: options.deviceName, Ebs: rootDiskSettings(options) }],
    MetadataOptions: {
      HttpEndpoint: 'enabled',
      HttpTokens: options.metadataTokens,
      HttpPutResponseHopLimit: options.metadataHops,
    },
    ...(subnet === undefined
      ? { SecurityGroupIds: [...securityGroupIds] }
      : {
          NetworkInterfaces: [
            {
              DeviceIndex: 0,
              SubnetId: subnet,
              Groups: [...securityGroupIds],
              AssociatePublicIpAddress: !options.privateAddressOnly,
              DeleteOnTermination: true,
            },
          ],
        }),
    ...(Object.keys(placement).length > 0 ? { Placement: placement } : {}),
    ...(options.keypairName === undefined ? {} : { KeyName: options.keypairName }),
    ...(profile === undefined
      ? {}
      : { IamInstanceProfile: profile.startsWith('arn:') ? { Arn: profile } : { Name: profile } }),
    ...(terminateOnShutdown ? { InstanceInitiatedShutdownBehavior: 'terminate' as const } : {}),
    ...(options.ebsOptimized ? { EbsOptimized: true } : {}),
    ...(options.monitoring ? { Monitoring: { Enabled: true } } : {}),
    ...(options.cpuCredits === undefined ? {} : { CreditSpecification: { CpuCredits: options.cpuCredits } }),
    ...(spot
      ? {
          InstanceMarketOptions: {
            MarketType: 'spot' as const,
            SpotOptions: {
              SpotInstanceType: 'one-time' as const,
              InstanceInterruptionBehavior: 'terminate' as const,
              ...(spotPrice === undefined ? {} : { MaxPrice: spotPrice }),
            },
          },
        }
      : {}),
  };
}

function rootDiskSettings(options: Ec2Options): object {
  return {
    VolumeSize: options.rootSize,
    VolumeType: options.volumeType,
    DeleteOnTermination: true,
    ...(options.volumeIops === undefined ? {} : { Iops: options.volumeIops }),
    ...(options.volumeThroughput === undefined ? {} : { Throughput: options.volumeThroughput }),
    ...(options.volumeEncrypted || options.volumeKmsKey !== undefined ? { Encrypted: true } : {}),
    ...(options.volumeKmsKey === undefined ? {} : { KmsKeyId: options.volumeKmsKey }),
  };
}

/**
 * Asks for the instances by a token that is theirs alone, so that asking again, after whatever went wrong, makes no second one.
 * `found` looks for what an earlier try has made. Returns what the answer shows; nothing when an earlier one told of it.
 */
export async function launchInstances(
  aws: Ec2Connection,
  {
    token,
    input,
    call,
    found,
  }: {
    readonly token: string;
    readonly input: RunInstancesCommandInput;
    readonly call: CreateCall;
    readonly found: () => Promise<boolean>;
  },
): Promise<readonly AwsInstance[]> {
  for (let generation = 1; generation <= MAX_LAUNCH_ATTEMPTS; generation += 1) {
    try {
      const ClientToken = generation === 1 ? token : `${token}-${generation}`;
      const { Instances = [] }: RunInstancesCommandOutput = await runInstances(aws, { ...input, ClientToken }, call);
      if (Instances.some(({ State }) => LIVE_STATES.includes(State?.Name ?? 'pending'))) {
        // Until it is shown, the one that was ended is all that is seen.
        if (generation > 1) await waitUntilVisible(CONSISTENCY_RETRY_SECONDS, found, call);
        return Instances;
      }
      call.log(`EC2 has ended what it made for ${ClientToken}`);
    } catch (error) {
      if (!isTokenMismatch(error)) {
        // A plain no: nothing will show up late, and what was asked for before it is all there is. Of a Ctrl-C EC2 knows nothing.
        const words = error instanceof SlipwayError ? error.cause : error;
        if (words instanceof Error && DEFINITE_REFUSALS.has(errorKindOf(words)))
          await call.recordRequest('security group');
        throw error;
      }
      // The token was used with other values before: what it made is taken, and may be shown late.
      if (await waitUntilVisible(CONSISTENCY_RETRY_SECONDS, found, call)) return [];
    }
  }
  throw new SlipwayError(
    'PROVIDER_REFUSED',
    `EC2 ended ${MAX_LAUNCH_ATTEMPTS} instances that were made for this machine`,
    {
      hint: 'See why in the console of EC2 (instance state transition reason), then try again',
    },
  );
}

async function runInstances(
  aws: Ec2Connection,
  input: RunInstancesCommandInput,
  call: CreateCall,
): Promise<RunInstancesCommandOutput> {
  const what = input.MaxCount === 1 ? 'making the instance' : `making ${input.MaxCount} instances`;
  const ask = async (): Promise<RunInstancesCommandOutput> => {
    // Before each try: from its time on, what it made may be shown late.
    await call.recordRequest(input.MaxCount === 1 ? 'instance' : BATCH_REQUEST);
    return await aws.send(what, new aws.sdk.RunInstancesCommand(input));
  };
  const patient = (): Promise<RunInstancesCommandOutput> =>
    // A group that was made a moment ago may not be known everywhere yet.
    retry(what, ask, {
      transientReason: (error) =>
        causeAwsCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show its security group yet' : undefined,
      seconds: CONSISTENCY_RETRY_SECONDS,
      call,
    });
  return await retry(what, patient, {
    transientReason: (error) =>
      causeAwsCode(error) === 'InsufficientInstanceCapacity' ? 'EC2 has no room for it just now' : undefined,
    seconds: CAPACITY_RETRY_SECONDS,
    call,
  });
}

/**
 * What the bulk call of its batch made for it may be shown late: before one is made for this machine alone, it is waited for.
 * Whether there is one now that is not ended.
 */
export async function waitForBatchInstance(
  aws: Ec2Connection,
  target: Target<unknown>,
  call: CreateCall,
): Promise<boolean> {
  const { lastRequest, batch } = target;
  if (!batch || lastRequest?.what !== BATCH_REQUEST) return false;
  const seconds = Math.min(
    CONSISTENCY_WINDOW_SECONDS,
    (Date.parse(lastRequest.at) - Date.now()) / 1000 + CONSISTENCY_WINDOW_SECONDS,
  );
  if (seconds <= 0) return false;
  call.note(
    `EC2 was asked for it with its batch a moment ago and may show it late; looking for it for up to ${Math.ceil(seconds)} s`,
  );
  let shown: readonly AwsInstance[] = [];
  const look = async (): Promise<boolean> => {
    shown = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
    return shown.length > 0;
  };
  await waitUntilVisible(seconds, look, call);
  return shown.some(({ State }) => LIVE_STATES.includes(State?.Name ?? ''));
}

export function causeAwsCode(error: unknown): string {
  return awsCodeOf(error instanceof SlipwayError ? error.cause : error);
}

/** AWS's own words, to stand within a sentence. */
export function formatAwsReason(error: unknown): string {
  const { cause } = error instanceof SlipwayError ? error : { cause: error };
  const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '').replace(/\.$/, '') : '';
  return [causeAwsCode(error), ...(words === '' ? [] : [words])].join(', ');
}

function isTokenMismatch(error: unknown): boolean {
  return causeAwsCode(error) === 'IdempotentParameterMismatch';
}

async function waitUntilVisible(seconds: number, found: () => Promise<boolean>, call: CreateCall): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    if (await found()) return true;
    await sleepUnlessCanceled(1000, call.signal);
  }
  return false;
}

/** Waits until none of them is in another state; they are looked at again each second. */
export async function waitForInstanceState(
  aws: Ec2Connection,
  ids: readonly string[],
  wanted: readonly string[],
  seconds: number,
): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const now = await listInstances(aws, [{ Name: 'instance-id', Values: [...ids] }]);
    const open = now.filter(({ State }) => !wanted.includes(State?.Name ?? ''));
    // An ended instance is not shown for ever.
    if (open.length === 0) return true;
    if (performance.now() > end) return false;
    await sleepUnlessCanceled(1000, aws.call.signal);
  }
}
