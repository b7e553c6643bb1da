import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud, CloudCall, Guest, Guests, Resource } from './cloud.ts';
import { parseQueryForm, toXml, type QueryValue } from './ec2-query-protocol.ts';

export const ACCOUNT = '123456789012';
export const DEBIAN_ACCOUNT = '136693071363';
export const CANONICAL_ACCOUNT = '099720109477';
export const OTHER_ACCOUNT = '210987654321';
const ACCESS_KEY = 'AKIAEXAMPLEOFTESTS';
/** Of another account, by the same secret. */
const OTHER_ACCESS_KEY = 'AKIAEXAMPLEOFOTHERS';
const SECRET_KEY = 'a-secret-that-must-never-be-seen-anywhere';
const REGIONS = ['eu-central-1', 'us-east-1'];
/** A VPC of the user's own besides the default one, with a subnet in which nothing gets a public address unasked. */
export const OWN_VPC = 'vpc-own';
export const OWN_SUBNET = 'subnet-own';

type Tags = Record<string, string>;
type IngressRule = { readonly protocol: string; readonly from: number; readonly to: number; readonly cidr: string };
type SecurityGroup = {
  readonly id: string;
  readonly region: string;
  readonly vpc: string;
  readonly name: string;
  readonly tags: Tags;
  readonly rules: IngressRule[];
  readonly made: number;
};
type Volume = {
  readonly id: string;
  readonly region: string;
  instance: string | undefined;
  readonly deleteOnTermination: boolean;
  size: number;
  readonly type: string;
  readonly tags: Tags;
  readonly made: number;
};
type NetworkInterface = {
  readonly id: string;
  readonly region: string;
  instance: string | undefined;
  /** With its instance. */
  readonly deleteOnTermination: boolean;
  readonly groups: readonly string[];
  readonly tags: Tags;
  readonly made: number;
};
type SpotRequest = {
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
  /** All that RunInstances was given. */
  readonly params: Readonly<Record<string, QueryValue>>;
  type: string;
  state: 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated';
  guest: Guest | undefined;
  address: string | undefined;
  reason: { readonly code: string; readonly message: string } | undefined;
};

export type Ec2 = Cloud & {
  readonly instances: Ec2Instance[];
  readonly groups: readonly SecurityGroup[];
  /** A test may add some. */
  readonly volumes: Volume[];
  readonly nics: NetworkInterface[];
  /** The access key that each call was signed with. */
  readonly signingKeys: readonly string[];
  /** Credentials of another account, to be set over `env`. */
  readonly otherEnv: Readonly<Record<string, string>>;
  /** Who the user is. */
  account: string;
  hasDefaultVpc: boolean;
  /** Whether default subnets give a public address unasked. */
  assignsPublicAddresses: boolean;
  /** Why new instances are ended as soon as they were said yes to. */
  launchFailure: { readonly code: string; readonly message: string } | undefined;
  /** Regions that the account may not use. */
  readonly forbiddenRegions: Set<string>;
};

class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const IMAGES = [
  fakeImage(
    'ami-0debian13new',
    DEBIAN_ACCOUNT,
    'debian-13-amd64-20261101-2285',
    'x86_64',
    '2026-11-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13old',
    DEBIAN_ACCOUNT,
    'debian-13-amd64-20250901-2200',
    'x86_64',
    '2025-09-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13arm',
    DEBIAN_ACCOUNT,
    'debian-13-arm64-20261101-2285',
    'arm64',
    '2026-11-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0debian13backports',
    DEBIAN_ACCOUNT,
    'debian-13-backports-amd64-20261105-2290',
    'x86_64',
    '2026-11-05T00:00:00.000Z',
    '/dev/xvda',
  ),
  { ...fakeImage('ami-0large', ACCOUNT, 'large', 'x86_64', '2026-11-01T00:00:00.000Z', '/dev/xvda'), size: 100 },
  fakeImage(
    'ami-0debian12',
    DEBIAN_ACCOUNT,
    'debian-12-amd64-20261001-2250',
    'x86_64',
    '2026-10-01T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0fakedebian',
    '666666666666',
    'debian-13-amd64-20261123-9999',
    'x86_64',
    '2026-11-23T00:00:00.000Z',
    '/dev/xvda',
  ),
  fakeImage(
    'ami-0ubuntu2404',
    CANONICAL_ACCOUNT,
    'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261015',
    'x86_64',
    '2026-10-15T00:00:00.000Z',
    '/dev/sda1',
  ),
];

function fakeImage(id: string, owner: string, name: string, architecture: string, made: string, root: string) {
  return { id, owner, name, architecture, made, root, size: 8 };
}

const INSTANCE_TYPES = ['c5.large', 'm7i.large', 't3.micro', 't3.small', 't3.medium', 't4g.small', 't3.xlarge'];

/** Top-level parameters that each operation takes; any other is refused, so that a typing error shows. */
const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  DescribeRegions: ['AllRegions', 'RegionName'],
  DescribeVpcs: ['VpcId', 'Filter', 'NextToken', 'MaxResults'],
  DescribeSubnets: ['SubnetId', 'Filter', 'NextToken', 'MaxResults'],
  DescribeImages: ['ImageId', 'Owner', 'Filter', 'NextToken', 'MaxResults', 'IncludeDeprecated'],
  DescribeInstanceTypes: ['InstanceType', 'Filter', 'NextToken', 'MaxResults'],
  CreateSecurityGroup: ['GroupName', 'GroupDescription', 'VpcId', 'TagSpecification'],
  DescribeSecurityGroups: ['GroupId', 'GroupName', 'Filter', 'NextToken', 'MaxResults'],
  AuthorizeSecurityGroupIngress: ['GroupId', 'IpPermissions', 'TagSpecification'],
  DeleteSecurityGroup: ['GroupId'],
  RunInstances: [
    'ImageId',
    'InstanceType',
    'MinCount',
    'MaxCount',
    'ClientToken',
    'UserData',
    'TagSpecification',
    'BlockDeviceMapping',
    'MetadataOptions',
    'SecurityGroupId',
    'NetworkInterface',
    'Placement',
    'KeyName',
    'IamInstanceProfile',
    'EbsOptimized',
    'InstanceInitiatedShutdownBehavior',
    'Monitoring',
    'CreditSpecification',
    'InstanceMarketOptions',
    'SubnetId',
    'DryRun',
  ],
  DescribeInstances: ['InstanceId', 'Filter', 'NextToken', 'MaxResults'],
  StartInstances: ['InstanceId'],
  StopInstances: ['InstanceId', 'Force', 'Hibernate'],
  TerminateInstances: ['InstanceId'],
  CreateTags: ['ResourceId', 'Tag'],
  ImportKeyPair: ['KeyName', 'PublicKeyMaterial'],
  DeleteKeyPair: ['KeyName'],
  DeleteTags: ['ResourceId', 'Tag'],
  ModifyInstanceAttribute: ['InstanceId', 'InstanceType'],
  ModifyVolume: ['VolumeId', 'Size'],
  RevokeSecurityGroupIngress: ['GroupId', 'IpPermissions'],
  DescribeVolumes: ['VolumeId', 'Filter', 'NextToken', 'MaxResults'],
  DeleteVolume: ['VolumeId'],
  DescribeNetworkInterfaces: ['NetworkInterfaceId', 'Filter', 'NextToken', 'MaxResults'],
  DeleteNetworkInterface: ['NetworkInterfaceId'],
  DescribeSpotInstanceRequests: ['SpotInstanceRequestId', 'Filter', 'NextToken', 'MaxResults'],
  CancelSpotInstanceRequests: ['SpotInstanceRequestId'],
};

/** What a resource shows to filters; one of another name is refused, as EC2 does, and not passed over. */
type FilterFields = Readonly<Record<string, string | undefined>>;

/** EC2 as far as a driver of machines needs it, by its own protocol, with hosts behind its instances. */
export async function startEc2({
  guests,
  lateness = 0,
  bootTime = 100,
}: {
  readonly guests: Guests;
  readonly lateness?: number;
  readonly bootTime?: number;
}): Promise<Ec2> {
  const instances: Ec2Instance[] = [];
  const groups: SecurityGroup[] = [];
  const volumes: Volume[] = [];
  const spots: SpotRequest[] = [];
  const nics: NetworkInterface[] = [];
  const keyPairs = new Set(['laptop']);
  const signingKeys: string[] = [];
  const tokens = new Map<string, { readonly params: string; readonly made: readonly Ec2Instance[] }>();
  const calls: CloudCall[] = [];
  const at = Date.now;
  const shownYet = ({ made }: { made: number }): boolean => at() >= made + cloud.lateness;

  const text = (value: QueryValue | undefined): string => (typeof value === 'string' ? value : '');
  const items = (value: QueryValue | undefined): readonly QueryValue[] =>
    Array.isArray(value) ? value : value === undefined ? [] : [value];
  const texts = (value: QueryValue | undefined): readonly string[] => items(value).map(text);
  const field = (value: QueryValue | undefined, key: string): QueryValue | undefined =>
    typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, QueryValue>)[key] : undefined;
  const tagsFor = (params: Record<string, QueryValue>, kind: string): Tags =>
    Object.fromEntries(
      items(params.TagSpecification)
        .filter((one) => text(field(one, 'ResourceType')) === kind)
        .flatMap((one) => items(field(one, 'Tag')))
        .map((tag) => [text(field(tag, 'Key')), text(field(tag, 'Value'))]),
    );
  const tagSet = (tags: Tags): object[] => Object.entries(tags).map(([key, value]) => ({ key, value }));
  const id = (prefix: string): string => `${prefix}-${randomBytes(8).toString('hex')}`;

  /** Values of one filter are alternatives, and may hold `*`. */
  function matching<T>(
    params: Record<string, QueryValue>,
    all: readonly T[],
    show: (item: T) => FilterFields,
    tags: (item: T) => Tags,
  ): readonly T[] {
    return all.filter((item) =>
      items(params.Filter).every((filter) => {
        const name = text(field(filter, 'Name'));
        const wanted = texts(field(filter, 'Value'));
        if (name === 'tag-key') return wanted.some((key) => key in tags(item));
        const shown = show(item);
        if (!name.startsWith('tag:') && !(name in shown))
          throw new ApiError('InvalidParameterValue', `The filter '${name}' is invalid`);
        const value = name.startsWith('tag:') ? tags(item)[name.slice(4)] : shown[name];
        return value !== undefined && wanted.some((pattern) => isMatchingPattern(value, pattern));
      }),
    );
  }

  const vpcOf = (region: string): string => `vpc-${region}`;
  /** One that each VPC has by itself, and nobody can share or remove. */
  const defaultGroups = (region: string): readonly SecurityGroup[] =>
    [...(cloud.hasDefaultVpc ? [vpcOf(region)] : []), OWN_VPC].map((vpc) => ({
      id: vpc === OWN_VPC ? 'sg-0123456789abcdef1' : 'sg-0123456789abcdef0',
      region,
      vpc,
      name: 'default',
      tags: {},
      rules: [],
      made: 0,
    }));
  /** Of who asks now: what he sees is made for him at once, before the next request. */
  const account = (): string => (signingKeys.at(-1) === OTHER_ACCESS_KEY ? OTHER_ACCOUNT : cloud.account);
  const own = (region: string, wanted: readonly string[]): readonly Ec2Instance[] =>
    wanted.map((one) => {
      const found = instances.find(
        (instance) => instance.id === one && instance.region === region && shownYet(instance),
      );
      if (!found) throw new ApiError('InvalidInstanceID.NotFound', `The instance ID '${one}' does not exist`);
      return found;
    });

  const tagged = (region: string, wanted: readonly string[]): readonly { readonly tags: Tags }[] =>
    wanted.flatMap((one): readonly { readonly tags: Tags }[] => {
      const thing = [...volumes, ...spots].find((other) => other.id === one);
      return thing ? [thing] : own(region, [one]);
    });

  const rulesIn = (params: Record<string, QueryValue>): readonly IngressRule[] =>
    items(params.IpPermissions).flatMap((one) =>
      [...items(field(one, 'IpRanges')), ...items(field(one, 'Ipv6Ranges'))].map((range): IngressRule => ({
        protocol: text(field(one, 'IpProtocol')),
        from: Number(text(field(one, 'FromPort'))),
        to: Number(text(field(one, 'ToPort'))),
        cidr: text(field(range, 'CidrIp')) || text(field(range, 'CidrIpv6')),
      })),
    );

  const shape = (one: Ec2Instance): object => ({
    instanceId: one.id,
    imageId: text(one.params.ImageId),
    instanceState: { code: 0, name: one.state },
    instanceType: one.type,
    architecture: IMAGES.find(({ id: known }) => known === text(one.params.ImageId))?.architecture,
    rootDeviceName: '/dev/xvda',
    blockDeviceMapping: volumes
      .filter(({ instance }) => instance === one.id)
      .map(({ id: volumeId, deleteOnTermination }) => ({
        deviceName: '/dev/xvda',
        ebs: { volumeId, status: 'attached', deleteOnTermination },
      })),
    keyName: text(one.params.KeyName) || undefined,
    spotInstanceRequestId: spots.find(({ instance }) => instance === one.id)?.id,
    networkInterfaceSet: nics
      .filter(({ instance }) => instance === one.id)
      .map(({ id: networkInterfaceId }) => ({ networkInterfaceId, status: 'in-use' })),
    amiLaunchIndex: one.index,
    launchTime: new Date(one.made),
    ipAddress:
      one.state === 'running' &&
      (text(field(items(one.params.NetworkInterface)[0], 'AssociatePublicIpAddress')) ||
        String(cloud.assignsPublicAddresses)) === 'true'
        ? one.address
        : undefined,
    privateIpAddress: one.guest?.host ? one.address : '10.0.0.9',
    instanceLifecycle: one.params.InstanceMarketOptions ? 'spot' : undefined,
    stateReason: one.reason,
    tagSet: tagSet(one.tags),
    groupSet: one.groups.map((groupId) => ({ groupId })),
  });

  async function boot(one: Ec2Instance): Promise<void> {
    const data = Buffer.from(text(one.params.UserData), 'base64').toString('utf8');
    const guest = await guests.start({ name: one.id, userData: { 'user-data': data } });
    one.guest = guest;
    await sleep(cloud.bootTime);
    if (one.state !== 'pending') return guest.remove();
    if (cloud.launchFailure) {
      one.reason = cloud.launchFailure;
      await guest.remove();
      return end(one);
    }
    one.address = guest.address;
    one.state = 'running';
  }

  /** What goes with an instance when it ends. */
  function end(one: Ec2Instance): void {
    one.state = 'terminated';
    for (const volume of volumes.filter(({ instance }) => instance === one.id)) {
      if (volume.deleteOnTermination) volumes.splice(volumes.indexOf(volume), 1);
      else volume.instance = undefined;
    }
    for (const nic of nics.filter(({ instance }) => instance === one.id)) {
      if (nic.deleteOnTermination) nics.splice(nics.indexOf(nic), 1);
      else nic.instance = undefined;
    }
    for (const spot of spots.filter(({ instance }) => instance === one.id)) spot.state = 'closed';
  }

  /** Work of the double's own, which the end waits for and whose failure shows. */
  const works = new Set<Promise<void>>();
  const failures: unknown[] = [];
  const go = (work: Promise<void>): void => {
    const watched = work.catch((error: unknown) => void failures.push(error)).finally(() => works.delete(watched));
    works.add(watched);
  };

  const operations: Readonly<Record<string, (params: Record<string, QueryValue>, region: string) => object>> = {
    DescribeRegions: () => ({
      regionInfo: REGIONS.map((regionName) => ({ regionName, optInStatus: 'opt-in-not-required' })),
    }),
    DescribeVpcs(params, region) {
      const all = [
        ...(cloud.hasDefaultVpc ? [{ vpcId: vpcOf(region), isDefault: true, cidrBlock: '172.31.0.0/16' }] : []),
        { vpcId: OWN_VPC, isDefault: false, cidrBlock: '10.20.0.0/16' },
      ];
      const wanted = texts(params.VpcId);
      const missing = wanted.find((one) => !all.some(({ vpcId }) => vpcId === one));
      if (missing !== undefined) throw new ApiError('InvalidVpcID.NotFound', `The vpc ID '${missing}' does not exist`);
      return {
        vpcSet: matching(
          params,
          all.filter(({ vpcId }) => wanted.length === 0 || wanted.includes(vpcId)),
          (one) => ({ 'is-default': String(one.isDefault), 'vpc-id': one.vpcId }),
          () => ({}),
        ).map((one) => ({ ...one, ownerId: account(), state: 'available' })),
      };
    },
    DescribeSubnets(params, region) {
      const all = [
        ...(cloud.hasDefaultVpc ? ['a', 'b', 'c'] : []).map((letter) => ({
          subnetId: `subnet-${letter}`,
          vpcId: vpcOf(region),
          availabilityZone: `${region}${letter}`,
          defaultForAz: true,
          mapPublicIpOnLaunch: cloud.assignsPublicAddresses,
          ipv6Native: false,
        })),
        ...[false, true].map((ipv6Native) => ({
          subnetId: ipv6Native ? 'subnet-six' : OWN_SUBNET,
          vpcId: OWN_VPC,
          availabilityZone: `${region}a`,
          defaultForAz: false,
          mapPublicIpOnLaunch: false,
          ipv6Native,
        })),
      ];
      const wanted = texts(params.SubnetId);
      const missing = wanted.find((one) => !all.some(({ subnetId }) => subnetId === one));
      if (missing !== undefined)
        throw new ApiError('InvalidSubnetID.NotFound', `The subnet ID '${missing}' does not exist`);
      return {
        subnetSet: matching(
          params,
          all.filter(({ subnetId }) => wanted.length === 0 || wanted.includes(subnetId)),
          (one) => ({ 'vpc-id': one.vpcId, 'availability-zone': one.availabilityZone }),
          () => ({}),
        ),
      };
    },
    DescribeImages(params) {
      const wanted = texts(params.ImageId);
      const missing = wanted.find((one) => !IMAGES.some((known) => known.id === one));
      if (missing !== undefined)
        throw new ApiError('InvalidAMIID.NotFound', `The image id '[${missing}]' does not exist`);
      const owners = texts(params.Owner);
      const found = matching(
        params,
        IMAGES.filter(
          (one) =>
            (wanted.length === 0 || wanted.includes(one.id)) && (owners.length === 0 || owners.includes(one.owner)),
        ),
        (one) => ({ name: one.name, architecture: one.architecture, state: 'available' }),
        () => ({}),
      );
      return {
        imagesSet: found.map((one) => ({
          imageId: one.id,
          imageOwnerId: one.owner,
          name: one.name,
          architecture: one.architecture,
          creationDate: one.made,
          rootDeviceName: one.root,
          blockDeviceMapping: [{ deviceName: one.root, ebs: { volumeSize: one.size } }],
          imageState: 'available',
        })),
      };
    },
    DescribeInstanceTypes(params) {
      const named = texts(params.InstanceType);
      const types =
        named.length > 0
          ? named
          : matching(
              params,
              INSTANCE_TYPES,
              (type) => ({ 'instance-type': type }),
              () => ({}),
            );
      const wrong = types.find((type) => !/^(t[234]|m[567]|c[567]|r[567]|p3)[a-z]*\.\d*[a-z]+$/.test(type));
      if (wrong !== undefined)
        throw new ApiError('InvalidInstanceType', `The following supplied instance types do not exist: [${wrong}]`);
      return {
        instanceTypeSet: types.map((instanceType) => ({
          instanceType,
          vCpuInfo: { defaultVCpus: instanceType.endsWith('.xlarge') ? 4 : 2 },
          memoryInfo: {
            sizeInMiB: { micro: 1024, small: 2048, medium: 4096 }[instanceType.split('.')[1] ?? ''] ?? 8192,
          },
          processorInfo: { supportedArchitectures: [/^[a-z]\d+g/.test(instanceType) ? 'arm64' : 'x86_64'] },
        })),
      };
    },
    CreateSecurityGroup(params, region) {
      const name = text(params.GroupName);
      const vpc = text(params.VpcId) || vpcOf(region);
      if (groups.some((one) => one.name === name && one.region === region && one.vpc === vpc))
        throw new ApiError('InvalidGroup.Duplicate', `The security group '${name}' already exists for VPC '${vpc}'`);
      const tags = tagsFor(params, 'security-group');
      const group = { id: id('sg'), region, vpc, name, tags, rules: [], made: at() };
      groups.push(group);
      return { groupId: group.id, tagSet: tagSet(group.tags) };
    },
    DescribeSecurityGroups(params, region) {
      const found = matching(
        params,
        [...defaultGroups(region), ...groups.filter((one) => one.region === region && shownYet(one))],
        (one) => ({ 'group-name': one.name, 'vpc-id': one.vpc, 'group-id': one.id }),
        (one) => one.tags,
      );
      return {
        securityGroupInfo: found.map((one) => ({
          groupId: one.id,
          groupName: one.name,
          ownerId: account(),
          vpcId: one.vpc,
          tagSet: tagSet(one.tags),
          ipPermissions: one.rules.map(({ protocol, from, to, cidr }) => ({
            ipProtocol: protocol,
            fromPort: from,
            toPort: to,
            ...(cidr.includes(':') ? { ipv6Ranges: [{ cidrIpv6: cidr }] } : { ipRanges: [{ cidrIp: cidr }] }),
          })),
        })),
      };
    },
    AuthorizeSecurityGroupIngress(params, region) {
      const group = groups.find((one) => one.id === text(params.GroupId) && one.region === region && shownYet(one));
      if (!group)
        throw new ApiError('InvalidGroup.NotFound', `The security group '${text(params.GroupId)}' does not exist`);
      const rules = rulesIn(params);
      if (rules.length === 0) throw new ApiError('MissingParameter', 'Either ipPermissions or a source is needed');
      const twice = rules.find((rule) => group.rules.some((known) => JSON.stringify(known) === JSON.stringify(rule)));
      if (twice)
        throw new ApiError('InvalidPermission.Duplicate', `the specified rule "peer: ${twice.cidr}" already exists`);
      group.rules.push(...rules);
      return { return: true };
    },
    RevokeSecurityGroupIngress(params, region) {
      const group = groups.find((one) => one.id === text(params.GroupId) && one.region === region);
      if (!group)
        throw new ApiError('InvalidGroup.NotFound', `The security group '${text(params.GroupId)}' does not exist`);
      for (const rule of rulesIn(params)) {
        const at = group.rules.findIndex((known) => JSON.stringify(known) === JSON.stringify(rule));
        if (at < 0) throw new ApiError('InvalidPermission.NotFound', 'The specified rule does not exist');
        group.rules.splice(at, 1);
      }
      return { return: true };
    },
    DeleteSecurityGroup(params, region) {
      const group = groups.find((one) => one.id === text(params.GroupId) && one.region === region);
      if (!group)
        throw new ApiError('InvalidGroup.NotFound', `The security group '${text(params.GroupId)}' does not exist`);
      if (instances.some((one) => one.groups.includes(group.id) && one.state !== 'terminated'))
        throw new ApiError('DependencyViolation', `resource ${group.id} has a dependent object`);
      groups.splice(groups.indexOf(group), 1);
      return { return: true, groupId: group.id };
    },
    RunInstances: (params, region) => run(params, region),
    DescribeInstances(params, region) {
      const wanted = texts(params.InstanceId);
      const all =
        wanted.length > 0 ? own(region, wanted) : instances.filter((one) => one.region === region && shownYet(one));
      const found = matching(
        params,
        all,
        (one) => ({ 'instance-state-name': one.state, 'launch-index': String(one.index), 'instance-id': one.id }),
        (one) => one.tags,
      );
      const from = Number(text(params.NextToken) || 0);
      const most = Number(text(params.MaxResults) || 5);
      const page = found.slice(from, from + most);
      return {
        reservationSet: page.map((one) => ({
          reservationId: one.reservation,
          ownerId: ACCOUNT,
          instancesSet: [shape(one)],
        })),
        nextToken: from + most < found.length ? String(from + most) : undefined,
      };
    },
    StartInstances(params, region) {
      for (const one of own(region, texts(params.InstanceId))) {
        if (one.state === 'running' || one.state === 'pending') continue;
        if (one.state !== 'stopped')
          throw new ApiError(
            'IncorrectInstanceState',
            `The instance '${one.id}' is not in a state from which it can be started.`,
          );
        one.state = 'pending';
        go(
          (async (): Promise<void> => {
            one.address = await one.guest?.start();
            await sleep(cloud.bootTime);
            one.state = 'running';
          })(),
        );
      }
      return { instancesSet: [] };
    },
    StopInstances(params, region) {
      for (const one of own(region, texts(params.InstanceId))) {
        if (one.params.InstanceMarketOptions)
          throw new ApiError('UnsupportedOperation', "You can't stop a one-time spot instance");
        if (one.state === 'stopped' || one.state === 'stopping') continue;
        if (one.state !== 'running')
          throw new ApiError(
            'IncorrectInstanceState',
            `The instance '${one.id}' is not in a state from which it can be stopped.`,
          );
        one.state = 'stopping';
        go(
          (async (): Promise<void> => {
            await one.guest?.stop();
            one.state = 'stopped';
          })(),
        );
      }
      return { instancesSet: [] };
    },
    TerminateInstances(params, region) {
      for (const one of own(region, texts(params.InstanceId))) {
        if (one.state === 'terminated' || one.state === 'shutting-down') continue;
        const { state } = one;
        one.state = 'shutting-down';
        go(
          (async (): Promise<void> => {
            // One that still boots removes its guest itself.
            if (state !== 'pending') await one.guest?.remove();
            await sleep(cloud.bootTime);
            one.reason = {
              code: 'Client.UserInitiatedShutdown',
              message: 'Client.UserInitiatedShutdown: User initiated shutdown',
            };
            end(one);
          })(),
        );
      }
      return { instancesSet: [] };
    },
    CreateTags(params, region) {
      const pairs = items(params.Tag).map((tag) => [text(field(tag, 'Key')), text(field(tag, 'Value'))] as const);
      for (const one of tagged(region, texts(params.ResourceId))) Object.assign(one.tags, Object.fromEntries(pairs));
      return { return: true };
    },
    ImportKeyPair(params) {
      const name = text(params.KeyName);
      if (keyPairs.has(name)) throw new ApiError('InvalidKeyPair.Duplicate', `The keypair '${name}' already exists.`);
      keyPairs.add(name);
      return { keyName: name, keyPairId: id('key') };
    },
    DeleteKeyPair(params) {
      keyPairs.delete(text(params.KeyName));
      return { return: true };
    },
    DeleteTags(params, region) {
      const keys = items(params.Tag).map((tag) => text(field(tag, 'Key')));
      for (const { tags } of tagged(region, texts(params.ResourceId))) for (const key of keys) delete tags[key];
      return { return: true };
    },
    ModifyInstanceAttribute(params, region) {
      const [one] = own(region, [text(params.InstanceId)]);
      if (one?.state !== 'stopped')
        throw new ApiError(
          'IncorrectInstanceState',
          `The instance '${text(params.InstanceId)}' is not in the 'stopped' state.`,
        );
      one.type = text(field(params.InstanceType, 'Value'));
      return { return: true };
    },
    ModifyVolume(params) {
      const volume = volumes.find((one) => one.id === text(params.VolumeId));
      if (!volume)
        throw new ApiError('InvalidVolume.NotFound', `The volume '${text(params.VolumeId)}' does not exist.`);
      const size = Number(text(params.Size));
      if (size < volume.size)
        throw new ApiError('InvalidParameterValue', 'New size cannot be smaller than existing size');
      volume.size = size;
      return { volumeModification: { volumeId: volume.id, modificationState: 'optimizing', targetSize: size } };
    },
    DescribeVolumes(params, region) {
      const found = matching(
        params,
        volumes.filter(
          (one) =>
            one.region === region &&
            shownYet(one) &&
            (params.VolumeId === undefined || texts(params.VolumeId).includes(one.id)),
        ),
        (one) => ({ status: one.instance === undefined ? 'available' : 'in-use' }),
        (one) => one.tags,
      );
      return {
        volumeSet: found.map((one) => ({
          volumeId: one.id,
          size: one.size,
          volumeType: one.type,
          status: one.instance === undefined ? 'available' : 'in-use',
          createTime: new Date(one.made),
          tagSet: tagSet(one.tags),
          attachmentSet: one.instance === undefined ? [] : [{ instanceId: one.instance, status: 'attached' }],
        })),
      };
    },
    DeleteVolume(params) {
      const volume = volumes.find((one) => one.id === text(params.VolumeId));
      if (!volume)
        throw new ApiError('InvalidVolume.NotFound', `The volume '${text(params.VolumeId)}' does not exist.`);
      if (volume.instance !== undefined) throw new ApiError('VolumeInUse', `Volume ${volume.id} is currently attached`);
      volumes.splice(volumes.indexOf(volume), 1);
      return { return: true };
    },
    DescribeNetworkInterfaces(params, region) {
      const found = matching(
        params,
        nics.filter((one) => one.region === region && shownYet(one)),
        (one) => ({ status: one.instance === undefined ? 'available' : 'in-use' }),
        (one) => one.tags,
      );
      return {
        networkInterfaceSet: found.map((one) => ({
          networkInterfaceId: one.id,
          status: one.instance === undefined ? 'available' : 'in-use',
          tagSet: tagSet(one.tags),
        })),
      };
    },
    DeleteNetworkInterface(params) {
      const nic = nics.find((one) => one.id === text(params.NetworkInterfaceId));
      if (!nic)
        throw new ApiError(
          'InvalidNetworkInterfaceID.NotFound',
          `The networkInterface ID '${text(params.NetworkInterfaceId)}' does not exist`,
        );
      if (nic.instance !== undefined)
        throw new ApiError('InvalidParameterValue', `Network interface '${nic.id}' is currently in use.`);
      nics.splice(nics.indexOf(nic), 1);
      return { return: true };
    },
    DescribeSpotInstanceRequests(params, region) {
      const found = matching(
        params,
        spots.filter((one) => one.region === region),
        (one) => ({ state: one.state }),
        (one) => one.tags,
      );
      return {
        spotInstanceRequestSet: found.map((one) => ({
          spotInstanceRequestId: one.id,
          state: one.state,
          tagSet: tagSet(one.tags),
          instanceId: one.instance,
        })),
      };
    },
    CancelSpotInstanceRequests(params) {
      for (const one of spots.filter((spot) => texts(params.SpotInstanceRequestId).includes(spot.id)))
        one.state = 'cancelled';
      return { spotInstanceRequestSet: [] };
    },
  };

  function run(params: Record<string, QueryValue>, region: string): object {
    const token = `${region} ${text(params.ClientToken)}`;
    const known = tokens.get(token);
    const same = JSON.stringify(params);
    if (known && known.params !== same)
      throw new ApiError(
        'IdempotentParameterMismatch',
        'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
      );
    if (known) return { reservationId: 'r-again', ownerId: ACCOUNT, instancesSet: known.made.map(shape) };
    if (!IMAGES.some((one) => one.id === text(params.ImageId)))
      throw new ApiError('InvalidAMIID.NotFound', `The image id '[${text(params.ImageId)}]' does not exist`);
    if (Buffer.from(text(params.UserData), 'base64').length > 16 * 1024)
      throw new ApiError('InvalidParameterValue', 'User data is limited to 16384 bytes');
    const [nic] = items(params.NetworkInterface);
    if (nic !== undefined && params.SecurityGroupId !== undefined)
      throw new ApiError(
        'InvalidParameterCombination',
        'Network interfaces and an instance-level security groups may not be specified on the same request',
      );
    const wanted = nic === undefined ? texts(params.SecurityGroupId) : texts(field(nic, 'SecurityGroupId'));
    const missing = wanted.find(
      (one) =>
        ![...defaultGroups(region), ...groups].some(
          (group) => group.id === one && group.region === region && shownYet(group),
        ),
    );
    if (missing !== undefined)
      throw new ApiError('InvalidGroup.NotFound', `The security group '${missing}' does not exist`);
    unlessStrange(params, region);
    const [disk] = items(params.BlockDeviceMapping);
    const made = Array.from({ length: Number(text(params.MaxCount)) }, (_, index): Ec2Instance => ({
      id: id('i'),
      region,
      index,
      reservation: id('r'),
      groups: wanted,
      tags: tagsFor(params, 'instance'),
      made: at(),
      params,
      type: text(params.InstanceType),
      state: 'pending',
      guest: undefined,
      address: undefined,
      reason: undefined,
    }));
    for (const one of made) {
      instances.push(one);
      const ebs = field(disk, 'Ebs');
      volumes.push({
        id: id('vol'),
        region,
        instance: one.id,
        deleteOnTermination: text(field(ebs, 'DeleteOnTermination')) === 'true',
        size: Number(text(field(ebs, 'VolumeSize'))),
        type: text(field(ebs, 'VolumeType')),
        tags: tagsFor(params, 'volume'),
        made: at(),
      });
      nics.push({
        id: id('eni'),
        region,
        instance: one.id,
        deleteOnTermination: true,
        groups: wanted,
        tags: tagsFor(params, 'network-interface'),
        made: at(),
      });
      if (params.InstanceMarketOptions)
        spots.push({
          id: id('sir'),
          region,
          state: 'active',
          instance: one.id,
          tags: tagsFor(params, 'spot-instances-request'),
        });
      go(boot(one));
    }
    tokens.set(token, { params: same, made });
    return { reservationId: made[0]?.reservation, ownerId: ACCOUNT, instancesSet: made.map(shape) };
  }

  /** Names of things that are nowhere. */
  function unlessStrange(params: Record<string, QueryValue>, region: string): void {
    const zone = text(field(params.Placement, 'AvailabilityZone'));
    if (zone !== '' && !['a', 'b', 'c'].some((letter) => zone === `${region}${letter}`))
      throw new ApiError('InvalidParameterValue', `Invalid availability zone: [${zone}]`);
    const key = text(params.KeyName);
    if (key !== '' && !keyPairs.has(key))
      throw new ApiError('InvalidKeyPair.NotFound', `The key pair '${key}' does not exist`);
  }

  /** The region of the signature; who signed with another key is turned away. */
  function regionOf({ headers: { authorization = '' } }: IncomingMessage): string {
    const [, key = '', region = ''] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/([^/]+)\/ec2\/aws4_request,/.exec(authorization) ?? [];
    signingKeys.push(key);
    if (key !== ACCESS_KEY && key !== OTHER_ACCESS_KEY)
      throw new ApiError('AuthFailure', 'AWS was not able to validate the provided access credentials', 401);
    if (cloud.forbiddenRegions.has(region))
      throw new ApiError('UnauthorizedOperation', 'You are not authorized to perform this operation.', 403);
    return region;
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const { Action, Version: _, ...params } = parseQueryForm(new URLSearchParams(body));
    const operation = text(Action);
    const call: CloudCall = { n: calls.length + 1, operation, mutates: !operation.startsWith('Describe'), params };
    calls.push(call);
    const fault = await cloud.onArrival(call);
    if (fault?.kind === 'slow') await sleep(fault.ms);
    if (fault?.kind === 'drop') return void request.socket.destroy();
    let status = 200;
    let answer: string;
    try {
      if (fault?.kind === 'refuse') throw new ApiError(fault.code, fault.message, fault.status);
      const region = regionOf(request);
      const perform = operations[operation];
      if (!perform) throw new ApiError('InvalidAction', `The action ${operation} is not valid for this web service.`);
      const strange = Object.keys(params).find((name) => !PARAMETERS[operation]?.includes(name));
      if (strange !== undefined) throw new ApiError('UnknownParameter', `The parameter ${strange} is not recognized`);
      answer = `<${operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>${toXml(perform(params, region))}</${operation}Response>`;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      status = error.status;
      answer = `<Response><Errors><Error>${toXml({ Code: error.code, Message: error.message })}</Error></Errors><RequestID>r</RequestID></Response>`;
    }
    if (fault?.kind === 'lose') return void request.socket.destroy();
    // The client may be gone: what it asked for is done all the same.
    response.on('error', () => {});
    response
      .writeHead(status, { 'content-type': 'text/xml' })
      .end(`<?xml version="1.0" encoding="UTF-8"?>${answer}`, () => cloud.onAnswered(call));
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      failures.push(error);
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const listAlive = (): readonly Resource[] => [
    ...instances
      .filter(({ state }) => state !== 'terminated')
      .map((one) => ({ kind: 'instance', id: one.id, state: one.state, alive: true, tags: one.tags })),
    ...volumes.map((one) => ({
      kind: 'disk',
      id: one.id,
      state: one.instance === undefined ? 'available' : 'in-use',
      alive: true,
      tags: one.tags,
    })),
    ...nics.map((one) => ({ kind: 'network interface', id: one.id, state: 'in-use', alive: true, tags: one.tags })),
    ...groups.map((one) => ({ kind: 'firewall', id: one.id, state: '', alive: true, tags: one.tags })),
    ...[...keyPairs]
      // The one that the user has of his own.
      .filter((name) => name !== 'laptop')
      .map((name) => ({ kind: 'key pair', id: name, state: '', alive: true, tags: {} })),
    ...spots
      .filter(({ state }) => state === 'open' || state === 'active')
      .map((one) => ({ kind: 'spot request', id: one.id, state: one.state, alive: true, tags: one.tags })),
  ];
  const cloud: Ec2 = {
    url,
    env: {
      AWS_ENDPOINT_URL_EC2: url,
      AWS_ACCESS_KEY_ID: ACCESS_KEY,
      AWS_SECRET_ACCESS_KEY: SECRET_KEY,
      AWS_REGION: REGIONS[0] ?? '',
      AWS_EC2_METADATA_DISABLED: 'true',
    },
    calls,
    instances,
    groups,
    volumes,
    nics,
    signingKeys,
    otherEnv: { AWS_ACCESS_KEY_ID: OTHER_ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY },
    account: ACCOUNT,
    hasDefaultVpc: true,
    assignsPublicAddresses: true,
    launchFailure: undefined,
    forbiddenRegions: new Set(),
    lateness,
    bootTime,
    onArrival: () => undefined,
    onAnswered: () => {},
    listAlive,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await Promise.all(works);
      for (const one of instances) if (one.state !== 'terminated') await one.guest?.remove();
      if (failures.length > 0) throw new AggregateError(failures, 'the double of EC2 failed');
    },
  };
  return cloud;
}

function isMatchingPattern(value: string, pattern: string): boolean {
  const words = pattern.split('*').map((word) => word.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`));
  return new RegExp(`^${words.join('.*')}$`).test(value);
}
