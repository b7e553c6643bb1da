import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { setCredentialsForRun } from '../../src/machine-options/credential-flags.ts';
import type { InstanceStatus, Target } from '../../src/drivers/contract.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { ec2 as ec2Manifest } from '../../src/drivers/ec2/manifest.ts';
import { optionsSchema, type Ec2Options } from '../../src/drivers/ec2/options.ts';
import type { LifetimeSpec } from '../../src/machine/model.ts';
import type { CloudCall } from '../clouds/cloud.ts';
import {
  BOOT,
  stubUserEnvironment,
  recordingCall,
  newTarget,
  createTarget,
  parseEc2Options,
} from '../clouds/ec2-fixture.ts';
import { ACCOUNT, OWN_SUBNET, OWN_VPC } from '../clouds/ec2-catalog.ts';
import { startEc2, type Ec2, type Ec2Instance } from '../clouds/ec2-double.ts';
import { noGuests } from '../clouds/guests.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

type ApiParams = Readonly<Record<string, unknown>>;

/** The result of a create: the calls as they arrived, the new instance, and how the driver sees it. */
type CreateResult = {
  readonly calls: readonly CloudCall[];
  readonly created: Ec2Instance;
  readonly inspected: InstanceStatus;
  readonly notes: readonly string[];
  readonly signer: string | undefined;
};

type OptionCase = {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Returns the part of the result that shows the effect of the option. */
  readonly observe: (result: CreateResult) => unknown;
  /** The value with the flag. Without the flag, the value must differ. */
  readonly expected: unknown;
};

let cloud: Ec2;
let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;

beforeAll(async () => {
  folder = await createTemporaryFolder();
  cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
  cloud.ipv6Subnets.add('subnet-a');
  await writeFile(join(folder.path, 'web.pem'), '-----BEGIN OPENSSH PRIVATE KEY-----\n');
  await writeFile(join(folder.path, 'data.sh'), '#!/bin/sh\necho of-the-user\n');
  const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = cloud.otherEnv;
  await writeFile(
    join(folder.path, 'credentials'),
    `[work]\naws_access_key_id = ${AWS_ACCESS_KEY_ID}\naws_secret_access_key = ${AWS_SECRET_ACCESS_KEY}\n`,
  );
});
afterAll(async () => {
  await cloud[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
beforeEach(() => stubUserEnvironment(cloud, folder.path));
afterEach(() => {
  vi.unstubAllEnvs();
  cloud.onArrival = () => undefined;
});

async function runCreate({ argv, env = {} }: Pick<OptionCase, 'argv' | 'env'>): Promise<CreateResult> {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value || undefined);
  const base = cloud.calls.length;
  const call = recordingCall(folder.path);
  const target = await createTarget(
    newTarget(parseEc2Options(argv.map((word) => word.replace('HOME', folder.path)))),
    call,
  );
  const created = cloud.instances.at(-1);
  if (!created) throw new Error('no instance was created');
  const inspect = async (): Promise<InstanceStatus> => ec2.machines.inspect(target, call);
  let inspected = await inspect();
  for (let tries = 0; tries < 50 && inspected.state === 'pending'; tries += 1) {
    await sleep(20);
    inspected = await inspect();
  }
  return { calls: cloud.calls.slice(base), created, inspected, notes: call.notes, signer: cloud.signingKeys.at(-1) };
}

/** Returns the part that `pick` selects from the parameters of the last call of this operation. */
const lastParam =
  (operation: string, pick: (params: ApiParams) => unknown) =>
  ({ calls }: CreateResult): unknown => {
    const params = calls.findLast((call) => call.operation === operation)?.params;
    return params === undefined ? 'not called' : pick(params);
  };
/** Returns a parameter of RunInstances, such as `BlockDeviceMapping.0.Ebs.VolumeSize`. */
const runInstancesParam = (path: string): OptionCase['observe'] =>
  lastParam('RunInstances', (params) => valueAt(params, path));
const valueAt = (value: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value as unknown);
const openedPorts: OptionCase['observe'] = lastParam('AuthorizeSecurityGroupIngress', ({ IpPermissions }) =>
  (IpPermissions as readonly ApiParams[]).map(
    ({ IpProtocol, FromPort, IpRanges }) =>
      `${String(FromPort)}/${String(IpProtocol)} ${(IpRanges as { CidrIp: string }[]).map(({ CidrIp }) => CidrIp).join()}`,
  ),
);
const sshField =
  (key: string): OptionCase['observe'] =>
  ({ inspected }) =>
    inspected.state === 'running' ? valueAt(inspected.host, key) : inspected.state;
const teamTags: OptionCase['observe'] = lastParam('RunInstances', ({ TagSpecification }) =>
  (TagSpecification as { ResourceType: string; Tag: { Key: string; Value: string }[] }[]).map(
    ({ ResourceType, Tag }) => `${ResourceType} ${Tag.find(({ Key }) => Key === 'team')?.Value ?? 'without'}`,
  ),
);
const DISK_PATH = 'BlockDeviceMapping.0.Ebs';

const optionCases: Readonly<Record<keyof Ec2Options, OptionCase | (() => Promise<void>)>> = {
  region: { argv: ['--ec2-region', 'us-east-1'], observe: ({ created }) => created.region, expected: 'us-east-1' },
  zone: {
    argv: ['--ec2-zone', 'b'],
    observe: runInstancesParam('Placement.AvailabilityZone'),
    expected: 'eu-central-1b',
  },
  vpc: {
    argv: ['--ec2-vpc', OWN_VPC],
    observe: lastParam('CreateSecurityGroup', ({ VpcId }) => VpcId),
    expected: OWN_VPC,
  },
  subnet: {
    argv: ['--ec2-subnet', OWN_SUBNET],
    observe: runInstancesParam('NetworkInterface.0.SubnetId'),
    expected: OWN_SUBNET,
  },
  instanceType: {
    argv: ['--ec2-instance-type', 'm5.large'],
    observe: runInstancesParam('InstanceType'),
    expected: 'm5.large',
  },
  image: { argv: ['--ec2-image', 'ubuntu-24.04'], observe: runInstancesParam('ImageId'), expected: 'ami-0ubuntu2404' },
  ami: { argv: ['--ec2-ami', 'ami-0debian12'], observe: runInstancesParam('ImageId'), expected: 'ami-0debian12' },
  sshUser: { argv: ['--ec2-ssh-user', 'ops'], observe: sshField('ssh.user'), expected: 'ops' },
  sshPort: {
    argv: ['--ec2-ssh-port', '2222'],
    observe: (result) => [sshField('ssh.port')(result), openedPorts(result)],
    expected: [2222, ['2222/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32']],
  },
  keypairName: {
    argv: ['--ec2-keypair-name', 'laptop', '--ec2-ssh-key', 'HOME/web.pem'],
    observe: runInstancesParam('KeyName'),
    expected: 'laptop',
  },
  sshKey: {
    argv: ['--ec2-keypair-name', 'laptop', '--ec2-ssh-key', 'HOME/web.pem'],
    observe: (result) => String(sshField('ssh.keyFile')(result)).replace(folder.path, 'HOME'),
    expected: 'HOME/web.pem',
  },
  allowCidr: {
    argv: ['--ec2-allow-cidr', '198.51.100.0/24'],
    observe: openedPorts,
    expected: ['22/tcp 198.51.100.0/24', '2376/tcp 198.51.100.0/24'],
  },
  openPort: {
    argv: ['--ec2-open-port', '8080', '--ec2-open-port', '53/udp'],
    observe: openedPorts,
    expected: ['22/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32', '8080/tcp 0.0.0.0/0', '53/udp 0.0.0.0/0'],
  },
  securityGroup: {
    argv: ['--ec2-security-group', 'default', '--ec2-security-group', 'sg-0123456789abcdef0'],
    observe: lastParam('RunInstances', ({ SecurityGroupId }) => (SecurityGroupId as readonly string[]).slice(1)),
    expected: ['sg-0123456789abcdef0', 'sg-0123456789abcdef0'],
  },
  securityGroupReadonly: {
    argv: ['--ec2-security-group', 'default', '--ec2-security-group-readonly'],
    observe: (result) => [
      lastParam('CreateSecurityGroup', () => 'called')(result),
      lastParam('AuthorizeSecurityGroupIngress', () => 'called')(result),
      runInstancesParam('SecurityGroupId')(result),
    ],
    expected: ['not called', 'not called', ['sg-0123456789abcdef0']],
  },
  rootSize: { argv: ['--ec2-root-size', '40'], observe: runInstancesParam(`${DISK_PATH}.VolumeSize`), expected: '40' },
  volumeType: {
    argv: ['--ec2-volume-type', 'gp2'],
    observe: runInstancesParam(`${DISK_PATH}.VolumeType`),
    expected: 'gp2',
  },
  volumeIops: {
    argv: ['--ec2-volume-iops', '4000'],
    observe: runInstancesParam(`${DISK_PATH}.Iops`),
    expected: '4000',
  },
  volumeThroughput: {
    argv: ['--ec2-volume-throughput', '250'],
    observe: runInstancesParam(`${DISK_PATH}.Throughput`),
    expected: '250',
  },
  volumeEncrypted: {
    argv: ['--ec2-volume-encrypted'],
    observe: runInstancesParam(`${DISK_PATH}.Encrypted`),
    expected: 'true',
  },
  volumeKmsKey: {
    argv: ['--ec2-volume-kms-key', 'alias/web'],
    observe: (result) => [
      runInstancesParam(`${DISK_PATH}.KmsKeyId`)(result),
      runInstancesParam(`${DISK_PATH}.Encrypted`)(result),
    ],
    expected: ['alias/web', 'true'],
  },
  async deviceName() {
    const named = await runCreate({ argv: ['--ec2-device-name', '/dev/sda1'] });
    expect(runInstancesParam('BlockDeviceMapping.0.DeviceName')(named), 'no second disk').toBe('/dev/xvda');
    expect(named.notes).toEqual([
      'The root disk of ami-0debian13new is /dev/xvda, so --ec2-device-name /dev/sda1 has no effect',
    ]);
    expect((await runCreate({ argv: ['--ec2-device-name', '/dev/xvda'] })).notes).toEqual([]);
  },
  metadataTokens: {
    argv: ['--ec2-metadata-tokens', 'optional'],
    observe: runInstancesParam('MetadataOptions.HttpTokens'),
    expected: 'optional',
  },
  metadataHops: {
    argv: ['--ec2-metadata-hops', '2'],
    observe: runInstancesParam('MetadataOptions.HttpPutResponseHopLimit'),
    expected: '2',
  },
  iamInstanceProfile: {
    argv: ['--ec2-iam-instance-profile', 'web'],
    observe: runInstancesParam('IamInstanceProfile'),
    expected: { Name: 'web' },
  },
  tags: {
    argv: ['--ec2-tags', 'team=web'],
    observe: teamTags,
    expected: ['instance web', 'volume web', 'network-interface web'],
  },
  privateAddressOnly: {
    argv: ['--ec2-private-address-only'],
    observe: (result) => [
      runInstancesParam('NetworkInterface.0.AssociatePublicIpAddress')(result),
      sshField('address')(result),
    ],
    expected: ['false', '10.0.0.9'],
  },
  usePrivateAddress: { argv: ['--ec2-use-private-address'], observe: sshField('address'), expected: '10.0.0.9' },
  spot: {
    argv: ['--ec2-spot'],
    observe: runInstancesParam('InstanceMarketOptions'),
    expected: {
      MarketType: 'spot',
      SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
    },
  },
  spotPrice: {
    argv: ['--ec2-spot', '--ec2-spot-price', '0.05'],
    observe: runInstancesParam('InstanceMarketOptions.SpotOptions.MaxPrice'),
    expected: '0.05',
  },
  userData: {
    argv: ['--ec2-user-data', 'HOME/data.sh'],
    observe: lastParam('RunInstances', ({ UserData }) =>
      /#!\/bin\/sh\necho of-the-user\n[^]*AAAALOGIN/.test(Buffer.from(String(UserData), 'base64').toString()),
    ),
    expected: true,
  },
  ebsOptimized: { argv: ['--ec2-ebs-optimized'], observe: runInstancesParam('EbsOptimized'), expected: 'true' },
  monitoring: { argv: ['--ec2-monitoring'], observe: runInstancesParam('Monitoring.Enabled'), expected: 'true' },
  cpuCredits: {
    argv: ['--ec2-cpu-credits', 'standard'],
    observe: runInstancesParam('CreditSpecification.CpuCredits'),
    expected: 'standard',
  },
  tenancy: {
    argv: ['--ec2-tenancy', 'dedicated'],
    observe: runInstancesParam('Placement.Tenancy'),
    expected: 'dedicated',
  },
  placementGroup: {
    argv: ['--ec2-placement-group', 'near'],
    observe: runInstancesParam('Placement.GroupName'),
    expected: 'near',
  },
  profile: {
    argv: ['--ec2-profile', 'work'],
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
    observe: ({ signer }) => signer,
    expected: 'AKIAEXAMPLEOFOTHERS',
  },
  // These options change how the driver calls EC2. Each test fails without the option.

  async account() {
    const call = recordingCall(folder.path);
    await expect(
      createTarget(newTarget(parseEc2Options(['--ec2-account', '999999999999'])), call),
    ).rejects.toMatchObject({
      code: 'CREDENTIALS',
    });
    await createTarget(newTarget(parseEc2Options(['--ec2-account', ACCOUNT])), call);
  },
  async endpoint() {
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', 'http://127.0.0.1:9');
    const { calls } = await runCreate({ argv: ['--ec2-endpoint', cloud.url] });
    expect(calls.length).toBeGreaterThan(3);
  },
  async insecureTransport() {
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', 'http://127.0.0.1:9');
    const { host } = new URL(cloud.url);
    const { calls } = await runCreate({ argv: ['--ec2-endpoint', host, '--ec2-insecure-transport'] });
    expect(calls.length).toBeGreaterThan(3);
    await expect(
      runCreate({ argv: ['--ec2-endpoint', host, '--ec2-retries', '-1'] }),
      'https without it',
    ).rejects.toMatchObject({ code: 'PROVIDER_REFUSED' });
  },
  async retries() {
    const triesWith = async (retries: string): Promise<number> => {
      const base = cloud.calls.length;
      cloud.onArrival = ({ operation }) =>
        operation === 'DescribeInstanceTypes'
          ? { kind: 'refuse', status: 503, code: 'Unavailable', message: 'Not now.' }
          : undefined;
      await expect(runCreate({ argv: ['--ec2-retries', retries, '--ec2-ami', 'ami-0debian12'] })).rejects.toMatchObject(
        {
          code: 'PROVIDER_REFUSED',
        },
      );
      return cloud.calls.slice(base).filter(({ operation }) => operation === 'DescribeInstanceTypes').length;
    };
    expect(await triesWith('-1')).toBe(1);
    expect(await triesWith('2')).toBe(2);
  },
  ipv6: {
    argv: ['--ec2-ipv6'],
    observe: runInstancesParam('NetworkInterface.0.Ipv6AddressCount'),
    expected: '1',
  },
  blockDurationMinutes: {
    argv: ['--ec2-block-duration-minutes', '60'],
    observe: ({ notes }) => notes,
    expected: ['--ec2-block-duration-minutes has no effect: AWS no longer offers spot blocks'],
  },
};
describe('each option of the driver ec2', () => {
  test.each(Object.keys(optionsSchema.shape) as (keyof Ec2Options)[])('takes effect: %s', async (key) => {
    const optionCase = optionCases[key];
    if (typeof optionCase === 'function') return optionCase();
    if (optionCase === undefined) throw new Error(`the option "${key}" has no case`);
    expect(optionCase.observe(await runCreate({ argv: [] })), 'without it').not.toEqual(optionCase.expected);
    expect(optionCase.observe(await runCreate(optionCase)), optionCase.argv.join(' ')).toEqual(optionCase.expected);
  });

  test('has a case in this file, and no case is for a removed option', () => {
    expect(Object.keys(optionCases).toSorted()).toEqual(Object.keys(optionsSchema.shape).toSorted());
  });
});

test('credentials from flags sign requests even when AWS_PROFILE selects others', async () => {
  const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = cloud.env;
  vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
  vi.stubEnv('AWS_PROFILE', 'work');
  expect((await runCreate({ argv: [] })).signer).toBe('AKIAEXAMPLEOFOTHERS');
  setCredentialsForRun(
    { 'amazonec2-access-key': AWS_ACCESS_KEY_ID, 'amazonec2-secret-key': AWS_SECRET_ACCESS_KEY },
    { setEnvForRun: (name, value) => void vi.stubEnv(name, value), say: () => {} },
  );
  expect((await runCreate({ argv: [] })).signer).toBe(AWS_ACCESS_KEY_ID);
});

test('--ec2-iam-instance-profile accepts an ARN', async () => {
  const arn = 'arn:aws:iam::123456789012:instance-profile/web';
  expect(
    runInstancesParam('IamInstanceProfile')(await runCreate({ argv: ['--ec2-iam-instance-profile', arn] })),
  ).toEqual({
    Arn: arn,
  });
});

test('--ec2-tags also tags the spot request, the security group and its rules', async () => {
  const result = await runCreate({ argv: ['--ec2-spot', '--ec2-tags', 'team=web'] });
  expect(teamTags(result)).toContain('spot-instances-request web');
  for (const operation of ['CreateSecurityGroup', 'AuthorizeSecurityGroupIngress'])
    expect(JSON.stringify(lastParam(operation, (params) => params)(result))).toContain('{"Key":"team","Value":"web"}');
});

test('by default, an instance requires IMDSv2 with one hop, and its disk is deleted with it', async () => {
  const result = await runCreate({ argv: [] });
  expect(runInstancesParam('MetadataOptions')(result)).toEqual({
    HttpEndpoint: 'enabled',
    HttpTokens: 'required',
    HttpPutResponseHopLimit: '1',
  });
  expect(runInstancesParam(`${DISK_PATH}.DeleteOnTermination`)(result)).toBe('true');
  expect(runInstancesParam('ImageId')(result), "Debian's newest official image, without a backports kernel").toBe(
    'ami-0debian13new',
  );
  expect(openedPorts(result)).toEqual(['22/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32']);
});

test('an ARM type gets the image for ARM', async () => {
  expect(runInstancesParam('ImageId')(await runCreate({ argv: ['--ec2-instance-type', 't4g.small'] }))).toBe(
    'ami-0debian13arm',
  );
});

describe('an instance with a lifetime', () => {
  const targetWithLifetime = (lifetime: LifetimeSpec, argv: readonly string[] = []): Target<Ec2Options> => {
    const target = newTarget(parseEc2Options(argv), { lifetime });
    return { ...target, onShutdown: ec2Manifest.shutdownBehavior?.(target).byItself ?? 'stopped' };
  };
  const getShutdownBehavior = async (target: Target<Ec2Options>): Promise<unknown> => {
    await createTarget(target, recordingCall(folder.path));
    return cloud.calls.findLast(({ operation }) => operation === 'RunInstances')?.params
      .InstanceInitiatedShutdownBehavior;
  };

  test('is terminated by its own shutdown for a TTL, and stopped for an idle stop', async () => {
    expect(await getShutdownBehavior(targetWithLifetime({ ttl: '4h' }))).toBe('terminate');
    expect(await getShutdownBehavior(targetWithLifetime({ ttl: '4h', idleStop: '30m' }))).toBeUndefined();
    expect(await getShutdownBehavior(targetWithLifetime({ idleStop: '30m' }))).toBeUndefined();
    expect(await getShutdownBehavior(newTarget(parseEc2Options([])))).toBeUndefined();
  });

  test('that was created to stop is not terminated by its current options', async () => {
    expect(await getShutdownBehavior({ ...targetWithLifetime({ ttl: '4h' }), onShutdown: 'stopped' })).toBeUndefined();
  });

  test('is continued with its instance, or with a new one at once, after a create whose deadline was another', async () => {
    const call = recordingCall(folder.path);
    const wanted = targetWithLifetime({ ttl: '4h' });
    const options = (await ec2.cloud.resolveOptions(wanted, call)) ?? wanted.options;
    const target = { ...wanted, options };
    const createUntil = async (deadline: string): Promise<void> => {
      const files = [{ path: '/etc/deadline', mode: '644', content: deadline }];
      await ec2.machines.create(target, { ...BOOT, files, commands: ['true'] }, call);
    };
    const base = cloud.instances.length;
    await createUntil('14:00');
    cloud.lateness = Date.now() - (cloud.instances.at(-1)?.made ?? 0) + 1500;
    await createUntil('15:00');
    expect(cloud.instances).toHaveLength(base + 1);
    cloud.lateness = 0;
    const [created] = cloud.instances.slice(base);
    if (!created) throw new Error('no instance was created');
    created.state = 'terminated';
    const start = performance.now();
    await createUntil('16:00');
    expect(cloud.instances).toHaveLength(base + 2);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("reports what a stopped instance costs, and that a spot instance can't stop", () => {
    expect(ec2Manifest.shutdownBehavior?.(targetWithLifetime({ idleStop: '30m' }, ['--ec2-root-size', '20']))).toEqual({
      byItself: 'stopped',
      costs: 'its disk still costs about $1.60 a month',
    });
    expect(targetWithLifetime({ idleStop: '30m' }, ['--ec2-spot']).onShutdown).toBe('removed');
  });

  test('is missing once it has shut itself down, and remove deletes its other resources without a note', async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(targetWithLifetime({ ttl: '4h' }), call);
    const created = cloud.instances.at(-1);
    if (!created) throw new Error('no instance was created');
    created.state = 'terminated';
    expect(await ec2.machines.inspect(target, call)).toEqual({ state: 'missing' });
    const base = cloud.calls.length;
    await ec2.machines.remove(target, call);
    expect(cloud.calls.slice(base).map(({ operation }) => operation)).toContain('DeleteSecurityGroup');
    expect(call.notes).toEqual([]);
  });
});
