import type {
  DescribeInstancesCommandOutput,
  Instance as AwsInstance,
  RunInstancesCommandInput,
  RunInstancesCommandOutput,
  Tag,
  TagSpecification,
} from '@aws-sdk/client-ec2';
import { insist, pauseFor } from '../cloud/retry.ts';
import { tagsOf } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { MakingCall, Target } from '../contract.ts';
import type { Aws } from './client.ts';
import { awsCode, kindOf, type Kind } from './errors.ts';
import type { Options } from './options.ts';

type Marked = Pick<Target<unknown>, 'id' | 'batch' | 'adopts'>;

/** The tag that names the key pair which was imported for an instance alone. */
export const KEY_PAIR = 'slipway-key-pair';

export const LIVE = ['pending', 'running', 'stopping', 'stopped'];
export const ENDED = ['shutting-down', 'terminated'];
/** EC2 shows what it has made within seconds; so long it is looked for before it counts as not made. */
const SHOWS_SECONDS = 30;
/** EC2 shows what it makes within seconds. So long after it was asked, what is not there was not made. */
export const LATE_SECONDS = 60;
/** What the record says that a bulk call was about to ask for. */
const BATCH_ASKED = 'instances';
/** Rooms come free by the minute, but a create that waits for one says so soon. */
const CAPACITY_SECONDS = 15;
/** An id whose instance was ended can't be used for another one: then its next number is. */
const GENERATIONS = 5;
const REFUSALS: ReadonlySet<Kind> = new Set([
  'credentials',
  'forbidden',
  'account',
  'quota',
  'capacity',
  'refused',
  'throttled',
]);

/** The instances of a machine that are not ended, oldest first: its own, and its place in the batch that it was made with. */
export async function findInstances(aws: Aws, target: Marked, states = LIVE): Promise<readonly AwsInstance[]> {
  const { id, batch, adopts } = target;
  const inState = { Name: 'instance-state-name', Values: [...states] };
  // Until it carries the machine's id.
  if (adopts !== undefined)
    return await instancesWith(aws, [{ Name: 'instance-id', Values: [adopts.split('/')[0] ?? ''] }, inState]);
  const all = await instancesWith(aws, [{ Name: 'tag:slipway-id', Values: batch ? [id, batch.id] : [id] }, inState]);
  return all
    .filter((one) => tagOf(one.Tags, 'slipway-id') === id || one.AmiLaunchIndex === batch?.index)
    .toSorted(
      (left, right) => time(left) - time(right) || (left.InstanceId ?? '').localeCompare(right.InstanceId ?? ''),
    );
}

/** Machines of the same batch that exist, made by the one call. */
export async function siblingsOf(aws: Aws, { batch }: Marked): Promise<readonly AwsInstance[]> {
  if (!batch) return [];
  const live = await instancesWith(aws, [
    { Name: 'tag:slipway-id', Values: [batch.id] },
    { Name: 'instance-state-name', Values: LIVE },
  ]);
  return live.filter(({ AmiLaunchIndex }) => AmiLaunchIndex !== batch.index);
}

export async function instancesWith(
  aws: Aws,
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

function time({ LaunchTime }: AwsInstance): number {
  return LaunchTime?.getTime() ?? 0;
}

export function tagOf(tags: readonly Tag[] | undefined, key: string): string {
  return tags?.find(({ Key }) => Key === key)?.Value ?? '';
}

export type Launch = {
  readonly options: Options;
  readonly userData: string;
  readonly groups: readonly string[];
  readonly tags: readonly Tag[];
  /** Its own shutdown is its end, disk and all. */
  readonly removed: boolean;
};

/** Marks of ours, then the user's own: what both name is ours. */
export async function marksOf(target: Target<Options>, call: MakingCall, name: string): Promise<readonly Tag[]> {
  const ours = { Name: name, ...(await tagsOf(target, call.computer)) };
  const all = { ...Object.fromEntries(tagPairs(target.options.tags)), ...ours };
  return Object.entries(all).map(([Key, Value]) => ({ Key, Value }));
}

/** `key=value`, or the old tool's `key1,value1,key2,value2`. */
export function tagPairs(tags: readonly string[]): readonly (readonly [string, string])[] {
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
export function runInput(
  { options, userData, groups, tags, removed }: Launch,
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
    BlockDeviceMappings: [{ DeviceName: options.deviceName, Ebs: rootDisk(options) }],
    MetadataOptions: {
      HttpEndpoint: 'enabled',
      HttpTokens: options.metadataTokens,
      HttpPutResponseHopLimit: options.metadataHops,
    },
    ...(subnet === undefined
      ? { SecurityGroupIds: [...groups] }
      : {
          NetworkInterfaces: [
            {
              DeviceIndex: 0,
              SubnetId: subnet,
              Groups: [...groups],
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
    ...(removed ? { InstanceInitiatedShutdownBehavior: 'terminate' as const } : {}),
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

function rootDisk(options: Options): object {
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
export async function launch(
  aws: Aws,
  {
    token,
    input,
    call,
    found,
  }: {
    readonly token: string;
    readonly input: RunInstancesCommandInput;
    readonly call: MakingCall;
    readonly found: () => Promise<boolean>;
  },
): Promise<readonly AwsInstance[]> {
  for (let generation = 1; generation <= GENERATIONS; generation += 1) {
    try {
      const ClientToken = generation === 1 ? token : `${token}-${generation}`;
      const { Instances = [] }: RunInstancesCommandOutput = await run(aws, { ...input, ClientToken }, call);
      if (Instances.some(({ State }) => LIVE.includes(State?.Name ?? 'pending'))) {
        // Until it is shown, the one that was ended is all that is seen.
        if (generation > 1) await shownWithin(SHOWS_SECONDS, found, call);
        return Instances;
      }
      call.log(`EC2 has ended what it made for ${ClientToken}`);
    } catch (error) {
      if (!isMismatch(error)) {
        // A plain no: nothing will show up late, and what was asked for before it is all there is. Of a Ctrl-C EC2 knows nothing.
        const words = error instanceof SlipwayError ? error.cause : error;
        if (words instanceof Error && REFUSALS.has(kindOf(words))) await call.asking('security group');
        throw error;
      }
      // The token was used with other values before: what it made is taken, and may be shown late.
      if (await shownWithin(SHOWS_SECONDS, found, call)) return [];
    }
  }
  throw new SlipwayError('PROVIDER_REFUSED', `EC2 ended ${GENERATIONS} instances that were made for this machine`, {
    hint: 'See why in the console of EC2 (instance state transition reason), then try again',
  });
}

async function run(aws: Aws, input: RunInstancesCommandInput, call: MakingCall): Promise<RunInstancesCommandOutput> {
  const what = input.MaxCount === 1 ? 'making the instance' : `making ${input.MaxCount} instances`;
  const ask = async (): Promise<RunInstancesCommandOutput> => {
    // Before each try: from its time on, what it made may be shown late.
    await call.asking(input.MaxCount === 1 ? 'instance' : BATCH_ASKED);
    return await aws.send(what, new aws.sdk.RunInstancesCommand(input));
  };
  const patient = (): Promise<RunInstancesCommandOutput> =>
    // A group that was made a moment ago may not be known everywhere yet.
    insist(what, ask, {
      passing: (error) =>
        causeCode(error) === 'InvalidGroup.NotFound' ? 'EC2 does not show its security group yet' : undefined,
      seconds: SHOWS_SECONDS,
      call,
    });
  return await insist(what, patient, {
    passing: (error) =>
      causeCode(error) === 'InsufficientInstanceCapacity' ? 'EC2 has no room for it just now' : undefined,
    seconds: CAPACITY_SECONDS,
    call,
  });
}

/**
 * What the bulk call of its batch made for it may be shown late: before one is made for this machine alone, it is waited for.
 * Whether there is one now that is not ended.
 */
export async function shownOfBatch(aws: Aws, target: Target<unknown>, call: MakingCall): Promise<boolean> {
  const { asked, batch } = target;
  if (!batch || asked?.what !== BATCH_ASKED) return false;
  const seconds = Math.min(LATE_SECONDS, (Date.parse(asked.at) - Date.now()) / 1000 + LATE_SECONDS);
  if (seconds <= 0) return false;
  call.note(
    `EC2 was asked for it with its batch a moment ago and may show it late; looking for it for up to ${Math.ceil(seconds)} s`,
  );
  let shown: readonly AwsInstance[] = [];
  const look = async (): Promise<boolean> => {
    shown = await findInstances(aws, target, [...LIVE, ...ENDED]);
    return shown.length > 0;
  };
  await shownWithin(seconds, look, call);
  return shown.some(({ State }) => LIVE.includes(State?.Name ?? ''));
}

export function causeCode(error: unknown): string {
  return awsCode(error instanceof SlipwayError ? error.cause : error);
}

/** AWS's own words, to stand within a sentence. */
export function reasonOf(error: unknown): string {
  const { cause } = error instanceof SlipwayError ? error : { cause: error };
  const words = cause instanceof Error ? (cause.message.split('\n')[0] ?? '').replace(/\.$/, '') : '';
  return [causeCode(error), ...(words === '' ? [] : [words])].join(', ');
}

function isMismatch(error: unknown): boolean {
  return causeCode(error) === 'IdempotentParameterMismatch';
}

async function shownWithin(seconds: number, found: () => Promise<boolean>, call: MakingCall): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    if (await found()) return true;
    await pauseFor(1000, call.signal);
  }
  return false;
}

/** Waits until none of them is in another state; they are looked at again each second. */
export async function waitForState(
  aws: Aws,
  ids: readonly string[],
  wanted: readonly string[],
  seconds: number,
): Promise<boolean> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const now = await instancesWith(aws, [{ Name: 'instance-id', Values: [...ids] }]);
    const open = now.filter(({ State }) => !wanted.includes(State?.Name ?? ''));
    // An ended instance is not shown for ever.
    if (open.length === 0) return true;
    if (performance.now() > end) return false;
    await pauseFor(1000, aws.call.signal);
  }
}
