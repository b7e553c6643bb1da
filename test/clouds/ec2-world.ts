import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud, Guest, Guests } from './cloud.ts';
import { ApiError, type CloudServer } from './cloud-server.ts';
import { OTHER_ACCESS_KEY, OTHER_ACCOUNT, OWN_VPC } from './ec2-catalog.ts';
import { fieldOf, listOf, textOf, textsOf, type QueryParams, type QueryValue } from './ec2-query-protocol.ts';

export type Tags = Record<string, string>;
export type IngressRule = {
  readonly protocol: string;
  readonly from: number;
  readonly to: number;
  readonly cidr: string;
  readonly description?: string;
};
export type SecurityGroup = {
  readonly id: string;
  readonly region: string;
  readonly vpc: string;
  readonly name: string;
  readonly tags: Tags;
  readonly rules: IngressRule[];
  readonly made: number;
};
export type Volume = {
  readonly id: string;
  readonly region: string;
  instance: string | undefined;
  readonly deleteOnTermination: boolean;
  size: number;
  readonly type: string;
  readonly tags: Tags;
  readonly made: number;
};
export type NetworkInterface = {
  readonly id: string;
  readonly region: string;
  instance: string | undefined;
  /** Whether it is deleted with its instance. */
  readonly deleteOnTermination: boolean;
  readonly groups: readonly string[];
  readonly tags: Tags;
  readonly made: number;
};
export type SpotRequest = {
  readonly id: string;
  readonly region: string;
  state: string;
  readonly instance: string;
  readonly tags: Tags;
};
export type Ec2Instance = {
  readonly id: string;
  readonly region: string;
  readonly index: number;
  readonly reservation: string;
  readonly groups: readonly string[];
  readonly tags: Tags;
  readonly made: number;
  /** All parameters of RunInstances. */
  readonly params: Readonly<Record<string, QueryValue>>;
  type: string;
  /** What EC2 does when the instance powers itself off. */
  shutdownBehavior: string;
  state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  guest: Guest | undefined;
  address: string | undefined;
  reason: { readonly code: string; readonly message: string } | undefined;
};

export type Ec2 = Cloud & {
  readonly instances: Ec2Instance[];
  readonly groups: readonly SecurityGroup[];
  /** Tests may add some. */
  readonly volumes: Volume[];
  readonly nics: NetworkInterface[];
  /** The access key that each call was signed with. */
  readonly signingKeys: readonly string[];
  /** Credentials of another account, which replace those in `env`. */
  readonly otherEnv: Readonly<Record<string, string>>;
  /** The user's account. */
  account: string;
  hasDefaultVpc: boolean;
  /** Whether default subnets assign public addresses. */
  assignsPublicAddresses: boolean;
  /** Subnets without a route to an internet gateway. */
  readonly privateSubnets: Set<string>;
  /** Subnets with IPv6 addresses. */
  readonly ipv6Subnets: Set<string>;
  /** Subnets without a free address. */
  readonly fullSubnets: Set<string>;
  /** The zones (`a`) that do not offer an instance type. */
  readonly missingTypes: Map<string, readonly string[]>;
  /** Why EC2 terminates new instances right after it has accepted their request; undefined if it does not. */
  launchFailure: { readonly code: string; readonly message: string } | undefined;
  /** Regions that the account may not use. */
  readonly forbiddenRegions: Set<string>;
};

/** Everything that the operations of one double of EC2 read and change. */
export type Ec2World = {
  readonly cloud: Ec2 & CloudServer;
  readonly guests: Guests;
  readonly instances: Ec2Instance[];
  readonly groups: SecurityGroup[];
  readonly volumes: Volume[];
  readonly nics: NetworkInterface[];
  readonly spots: SpotRequest[];
  readonly keyPairs: Set<string>;
  readonly signingKeys: string[];
  /** The parameters of RunInstances for each client token, and the instances that it created. */
  readonly tokens: Map<string, { readonly params: string; readonly made: readonly Ec2Instance[] }>;
};

export type Ec2Operations = Readonly<Record<string, (world: Ec2World, params: QueryParams, region: string) => object>>;

export const newId = (prefix: string): string => `${prefix}-${randomBytes(8).toString('hex')}`;
export const vpcOf = (region: string): string => `vpc-${region}`;

/** Returns the group `default` that each VPC has; nobody can share or delete it. */
export const defaultGroups = ({ cloud }: Ec2World, region: string): readonly SecurityGroup[] =>
  [...(cloud.hasDefaultVpc ? [vpcOf(region)] : []), OWN_VPC].map((vpc) => ({
    id: vpc === OWN_VPC ? 'sg-0123456789abcdef1' : 'sg-0123456789abcdef0',
    region,
    vpc,
    name: 'default',
    tags: {},
    rules: [],
    made: 0,
  }));

/** Returns the account of the latest request, which is answered before the next one is read. */
export const accountOf = ({ cloud, signingKeys }: Ec2World): string =>
  signingKeys.at(-1) === OTHER_ACCESS_KEY ? OTHER_ACCOUNT : cloud.account;

export const tagsFor = (params: QueryParams, kind: string): Tags =>
  Object.fromEntries(
    listOf(params.TagSpecification)
      .filter((one) => textOf(fieldOf(one, 'ResourceType')) === kind)
      .flatMap((one) => listOf(fieldOf(one, 'Tag')))
      .map((tag) => [textOf(fieldOf(tag, 'Key')), textOf(fieldOf(tag, 'Value'))]),
  );
export const tagSet = (tags: Tags): object[] => Object.entries(tags).map(([key, value]) => ({ key, value }));

/** The fields of a resource that filters can name; another filter is refused, as by EC2. */
type FilterFields = Readonly<Record<string, string | undefined>>;

/** Returns the resources that match all filters of a request. The values of one filter are alternatives, with `*`. */
export function filterResources<T>(
  params: QueryParams,
  all: readonly T[],
  show: (item: T) => FilterFields,
  tags: (item: T) => Tags,
): readonly T[] {
  return all.filter((item) =>
    listOf(params.Filter).every((filter) => {
      const name = textOf(fieldOf(filter, 'Name'));
      const wanted = textsOf(fieldOf(filter, 'Value'));
      if (name === 'tag-key') return wanted.some((key) => key in tags(item));
      const shown = show(item);
      if (!name.startsWith('tag:') && !(name in shown))
        throw new ApiError(400, 'InvalidParameterValue', `The filter '${name}' is invalid`);
      const value = name.startsWith('tag:') ? tags(item)[name.slice(4)] : shown[name];
      return value !== undefined && wanted.some((pattern) => isMatchingPattern(value, pattern));
    }),
  );
}

function isMatchingPattern(value: string, pattern: string): boolean {
  const words = pattern.split('*').map((word) => word.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`));
  return new RegExp(`^${words.join('.*')}$`).test(value);
}

/** Returns the instances with these ids. Refuses the request, as EC2 does, if it names one that does not show. */
export function requireInstances(world: Ec2World, region: string, wanted: readonly string[]): readonly Ec2Instance[] {
  return wanted.map((id) => {
    const found = world.instances.find(
      (instance) => instance.id === id && instance.region === region && world.cloud.isShown(instance),
    );
    if (!found) throw new ApiError(400, 'InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    return found;
  });
}

/** Boots the guest of a new instance, unless that is terminated in the meantime. */
export async function bootInstance(world: Ec2World, instance: Ec2Instance): Promise<void> {
  const { cloud, guests } = world;
  const data = Buffer.from(textOf(instance.params.UserData), 'base64').toString('utf8');
  const guest = await guests.start({ name: instance.id, userData: { 'user-data': data } });
  instance.guest = guest;
  await sleep(cloud.bootTime);
  if (instance.state !== 'pending') return guest.remove();
  if (cloud.launchFailure) {
    instance.reason = cloud.launchFailure;
    await guest.remove();
    return endInstance(world, instance);
  }
  instance.address = guest.address;
  instance.state = 'running';
}

/** Terminates an instance, and deletes the resources that are deleted with it. */
export function endInstance({ volumes, nics, spots }: Ec2World, instance: Ec2Instance): void {
  instance.state = 'terminated';
  for (const volume of volumes.filter((one) => one.instance === instance.id)) {
    if (volume.deleteOnTermination) volumes.splice(volumes.indexOf(volume), 1);
    else volume.instance = undefined;
  }
  for (const nic of nics.filter((one) => one.instance === instance.id)) {
    if (nic.deleteOnTermination) nics.splice(nics.indexOf(nic), 1);
    else nic.instance = undefined;
  }
  for (const spot of spots.filter((one) => one.instance === instance.id)) spot.state = 'closed';
}
