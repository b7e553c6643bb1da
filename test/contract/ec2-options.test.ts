import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { lendCredentials } from '../../src/cli/spec.ts';
import type { Instance, Target } from '../../src/drivers/contract.ts';
import { ec2 } from '../../src/drivers/ec2/driver.ts';
import { options, type Options } from '../../src/drivers/ec2/options.ts';
import type { LifeSpec } from '../../src/machine/model.ts';
import type { CloudCall } from '../clouds/cloud.ts';
import { asUserOf, calling, machineWith, make, optionsOf } from '../clouds/ec2-driver.ts';
import { ACCOUNT, OWN_SUBNET, OWN_VPC, startEc2, type Ec2, type Ec2Instance } from '../clouds/ec2.ts';
import { noGuests } from '../clouds/guests.ts';
import { temporaryFolder } from '../fakes/folder.ts';

type Params = Readonly<Record<string, unknown>>;

/** What came of a create: the calls as they arrived, what was made, and how the driver sees it. */
type Course = {
  readonly calls: readonly CloudCall[];
  readonly made: Ec2Instance;
  readonly seen: Instance;
  readonly notes: readonly string[];
  readonly signer: string | undefined;
};

type Row = {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What of the course tells that the option has arrived … */
  readonly received: (course: Course) => unknown;
  /** … which it must be with the flag, and must not be without it. */
  readonly is: unknown;
};

let cloud: Ec2;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  folder = await temporaryFolder();
  cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
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
beforeEach(() => asUserOf(cloud, folder.path));
afterEach(() => {
  vi.unstubAllEnvs();
  cloud.onArrival = () => undefined;
});

async function courseOf({ argv, env = {} }: Pick<Row, 'argv' | 'env'>): Promise<Course> {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value || undefined);
  const base = cloud.calls.length;
  const call = calling(folder.path);
  const target = await make(machineWith(optionsOf(argv.map((word) => word.replace('HOME', folder.path)))), call);
  const made = cloud.instances.at(-1);
  if (!made) throw new Error('no instance was made');
  const see = async (): Promise<Instance> => ec2.inspect(target, call);
  let seen = await see();
  for (let tries = 0; tries < 50 && seen.state === 'pending'; tries += 1) {
    await sleep(20);
    seen = await see();
  }
  return { calls: cloud.calls.slice(base), made, seen, notes: call.notes, signer: cloud.signers.at(-1) };
}

/** The parameters of the last call of this operation. */
const sent =
  (operation: string, pick: (params: Params) => unknown) =>
  ({ calls }: Course): unknown => {
    const params = calls.findLast((call) => call.operation === operation)?.params;
    return params === undefined ? 'not called' : pick(params);
  };
/** `BlockDeviceMapping.0.Ebs.VolumeSize` of RunInstances. */
const run = (path: string): Row['received'] => sent('RunInstances', (params) => at(params, path));
const at = (value: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value as unknown);
const doors: Row['received'] = sent('AuthorizeSecurityGroupIngress', ({ IpPermissions }) =>
  (IpPermissions as readonly Params[]).map(
    ({ IpProtocol, FromPort, IpRanges }) =>
      `${String(FromPort)}/${String(IpProtocol)} ${(IpRanges as { CidrIp: string }[]).map(({ CidrIp }) => CidrIp).join()}`,
  ),
);
const ssh =
  (key: string): Row['received'] =>
  ({ seen }) =>
    seen.state === 'running' ? at(seen.host, key) : seen.state;
const tagged: Row['received'] = sent('RunInstances', ({ TagSpecification }) =>
  (TagSpecification as { ResourceType: string; Tag: { Key: string; Value: string }[] }[]).map(
    ({ ResourceType, Tag }) => `${ResourceType} ${Tag.find(({ Key }) => Key === 'team')?.Value ?? 'without'}`,
  ),
);
const disk = 'BlockDeviceMapping.0.Ebs';

const rows: Readonly<Record<keyof Options, Row | (() => Promise<void>)>> = {
  region: { argv: ['--ec2-region', 'us-east-1'], received: ({ made }) => made.region, is: 'us-east-1' },
  zone: { argv: ['--ec2-zone', 'b'], received: run('Placement.AvailabilityZone'), is: 'eu-central-1b' },
  vpc: { argv: ['--ec2-vpc', OWN_VPC], received: sent('CreateSecurityGroup', ({ VpcId }) => VpcId), is: OWN_VPC },
  subnet: { argv: ['--ec2-subnet', OWN_SUBNET], received: run('NetworkInterface.0.SubnetId'), is: OWN_SUBNET },
  instanceType: { argv: ['--ec2-instance-type', 'm5.large'], received: run('InstanceType'), is: 'm5.large' },
  image: { argv: ['--ec2-image', 'ubuntu-24.04'], received: run('ImageId'), is: 'ami-0ubuntu2404' },
  ami: { argv: ['--ec2-ami', 'ami-0debian12'], received: run('ImageId'), is: 'ami-0debian12' },
  sshUser: { argv: ['--ec2-ssh-user', 'ops'], received: ssh('ssh.user'), is: 'ops' },
  sshPort: {
    argv: ['--ec2-ssh-port', '2222'],
    received: (course) => [ssh('ssh.port')(course), doors(course)],
    is: [2222, ['2222/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32']],
  },
  keypairName: {
    argv: ['--ec2-keypair-name', 'laptop', '--ec2-ssh-key', 'HOME/web.pem'],
    received: run('KeyName'),
    is: 'laptop',
  },
  sshKey: {
    argv: ['--ec2-keypair-name', 'laptop', '--ec2-ssh-key', 'HOME/web.pem'],
    received: (course) => String(ssh('ssh.keyFile')(course)).replace(folder.path, 'HOME'),
    is: 'HOME/web.pem',
  },
  allowCidr: {
    argv: ['--ec2-allow-cidr', '198.51.100.0/24'],
    received: doors,
    is: ['22/tcp 198.51.100.0/24', '2376/tcp 198.51.100.0/24'],
  },
  openPort: {
    argv: ['--ec2-open-port', '8080', '--ec2-open-port', '53/udp'],
    received: doors,
    is: ['22/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32', '8080/tcp 0.0.0.0/0', '53/udp 0.0.0.0/0'],
  },
  securityGroup: {
    argv: ['--ec2-security-group', 'default', '--ec2-security-group', 'sg-0123456789abcdef1'],
    received: sent('RunInstances', ({ SecurityGroupId }) => (SecurityGroupId as readonly string[]).slice(1)),
    is: ['sg-0123456789abcdef0', 'sg-0123456789abcdef1'],
  },
  securityGroupReadonly: {
    argv: ['--ec2-security-group', 'default', '--ec2-security-group-readonly'],
    received: (course) => [
      sent('CreateSecurityGroup', () => 'called')(course),
      sent('AuthorizeSecurityGroupIngress', () => 'called')(course),
      run('SecurityGroupId')(course),
    ],
    is: ['not called', 'not called', ['sg-0123456789abcdef0']],
  },
  rootSize: { argv: ['--ec2-root-size', '40'], received: run(`${disk}.VolumeSize`), is: '40' },
  volumeType: { argv: ['--ec2-volume-type', 'gp2'], received: run(`${disk}.VolumeType`), is: 'gp2' },
  volumeIops: { argv: ['--ec2-volume-iops', '4000'], received: run(`${disk}.Iops`), is: '4000' },
  volumeThroughput: { argv: ['--ec2-volume-throughput', '250'], received: run(`${disk}.Throughput`), is: '250' },
  volumeEncrypted: { argv: ['--ec2-volume-encrypted'], received: run(`${disk}.Encrypted`), is: 'true' },
  volumeKmsKey: {
    argv: ['--ec2-volume-kms-key', 'alias/web'],
    received: (course) => [run(`${disk}.KmsKeyId`)(course), run(`${disk}.Encrypted`)(course)],
    is: ['alias/web', 'true'],
  },
  deviceName: {
    argv: ['--ec2-device-name', '/dev/sda1'],
    received: run('BlockDeviceMapping.0.DeviceName'),
    is: '/dev/sda1',
  },
  metadataTokens: {
    argv: ['--ec2-metadata-tokens', 'optional'],
    received: run('MetadataOptions.HttpTokens'),
    is: 'optional',
  },
  metadataHops: {
    argv: ['--ec2-metadata-hops', '2'],
    received: run('MetadataOptions.HttpPutResponseHopLimit'),
    is: '2',
  },
  iamInstanceProfile: {
    argv: ['--ec2-iam-instance-profile', 'web'],
    received: run('IamInstanceProfile'),
    is: { Name: 'web' },
  },
  tags: {
    argv: ['--ec2-tags', 'team=web'],
    received: tagged,
    is: ['instance web', 'volume web', 'network-interface web'],
  },
  privateAddressOnly: {
    argv: ['--ec2-private-address-only'],
    received: (course) => [run('NetworkInterface.0.AssociatePublicIpAddress')(course), ssh('address')(course)],
    is: ['false', '10.0.0.9'],
  },
  usePrivateAddress: { argv: ['--ec2-use-private-address'], received: ssh('address'), is: '10.0.0.9' },
  spot: {
    argv: ['--ec2-spot'],
    received: run('InstanceMarketOptions'),
    is: {
      MarketType: 'spot',
      SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
    },
  },
  spotPrice: {
    argv: ['--ec2-spot', '--ec2-spot-price', '0.05'],
    received: run('InstanceMarketOptions.SpotOptions.MaxPrice'),
    is: '0.05',
  },
  userData: {
    argv: ['--ec2-user-data', 'HOME/data.sh'],
    received: sent('RunInstances', ({ UserData }) =>
      /#!\/bin\/sh\necho of-the-user\n[^]*AAAALOGIN/.test(Buffer.from(String(UserData), 'base64').toString()),
    ),
    is: true,
  },
  ebsOptimized: { argv: ['--ec2-ebs-optimized'], received: run('EbsOptimized'), is: 'true' },
  monitoring: { argv: ['--ec2-monitoring'], received: run('Monitoring.Enabled'), is: 'true' },
  cpuCredits: {
    argv: ['--ec2-cpu-credits', 'standard'],
    received: run('CreditSpecification.CpuCredits'),
    is: 'standard',
  },
  tenancy: { argv: ['--ec2-tenancy', 'dedicated'], received: run('Placement.Tenancy'), is: 'dedicated' },
  placementGroup: { argv: ['--ec2-placement-group', 'near'], received: run('Placement.GroupName'), is: 'near' },
  profile: {
    argv: ['--ec2-profile', 'work'],
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' },
    received: ({ signer }) => signer,
    is: 'AKIAEXAMPLEOFOTHERS',
  },
  // These change how EC2 is spoken to, and are seen where they would be missed.

  async account() {
    const call = calling(folder.path);
    await expect(make(machineWith(optionsOf(['--ec2-account', '999999999999'])), call)).rejects.toMatchObject({
      code: 'CREDENTIALS',
    });
    await make(machineWith(optionsOf(['--ec2-account', ACCOUNT])), call);
  },
  async endpoint() {
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', 'http://127.0.0.1:9');
    const { calls } = await courseOf({ argv: ['--ec2-endpoint', cloud.url] });
    expect(calls.length).toBeGreaterThan(3);
  },
  async insecureTransport() {
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', 'http://127.0.0.1:9');
    const { host } = new URL(cloud.url);
    const { calls } = await courseOf({ argv: ['--ec2-endpoint', host, '--ec2-insecure-transport'] });
    expect(calls.length).toBeGreaterThan(3);
    await expect(
      courseOf({ argv: ['--ec2-endpoint', host, '--ec2-retries', '-1'] }),
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
      await expect(courseOf({ argv: ['--ec2-retries', retries, '--ec2-ami', 'ami-0debian12'] })).rejects.toMatchObject({
        code: 'PROVIDER_REFUSED',
      });
      return cloud.calls.slice(base).filter(({ operation }) => operation === 'DescribeInstanceTypes').length;
    };
    expect(await triesWith('-1')).toBe(1);
    expect(await triesWith('2')).toBe(2);
  },
  blockDurationMinutes: {
    argv: ['--ec2-block-duration-minutes', '60'],
    received: ({ notes }) => notes,
    is: ['--ec2-block-duration-minutes has no effect: AWS no longer sells spot blocks'],
  },
};
describe('each option of the driver ec2 reaches the wire', () => {
  test.each(Object.keys(options.shape) as (keyof Options)[])('%s', async (key) => {
    const row = rows[key];
    if (typeof row === 'function') return row();
    if (row === undefined) throw new Error(`the option "${key}" has no row`);
    expect(row.received(await courseOf({ argv: [] })), 'without it').not.toEqual(row.is);
    expect(row.received(await courseOf(row)), row.argv.join(' ')).toEqual(row.is);
  });

  test('and no row is of an option that is gone', () => {
    expect(Object.keys(rows).toSorted()).toEqual(Object.keys(options.shape).toSorted());
  });
});

test('credentials that are typed sign, also where AWS_PROFILE chooses others', async () => {
  const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = cloud.env;
  vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
  vi.stubEnv('AWS_PROFILE', 'work');
  expect((await courseOf({ argv: [] })).signer).toBe('AKIAEXAMPLEOFOTHERS');
  lendCredentials(
    { 'amazonec2-access-key': AWS_ACCESS_KEY_ID, 'amazonec2-secret-key': AWS_SECRET_ACCESS_KEY },
    { lend: (name, value) => void vi.stubEnv(name, value), say: () => {} },
  );
  expect((await courseOf({ argv: [] })).signer).toBe(AWS_ACCESS_KEY_ID);
});

test('an instance profile may be given by its ARN', async () => {
  const arn = 'arn:aws:iam::123456789012:instance-profile/web';
  expect(run('IamInstanceProfile')(await courseOf({ argv: ['--ec2-iam-instance-profile', arn] }))).toEqual({
    Arn: arn,
  });
});

test('tags go to the spot request too, and to the security group with its rules', async () => {
  const course = await courseOf({ argv: ['--ec2-spot', '--ec2-tags', 'team=web'] });
  expect(tagged(course)).toContain('spot-instances-request web');
  for (const operation of ['CreateSecurityGroup', 'AuthorizeSecurityGroupIngress'])
    expect(JSON.stringify(sent(operation, (params) => params)(course))).toContain('{"Key":"team","Value":"web"}');
});

test('without a flag IMDSv2 is demanded, one hop away, and all that is made goes with the instance', async () => {
  const course = await courseOf({ argv: [] });
  expect(run('MetadataOptions')(course)).toEqual({
    HttpEndpoint: 'enabled',
    HttpTokens: 'required',
    HttpPutResponseHopLimit: '1',
  });
  expect(run(`${disk}.DeleteOnTermination`)(course)).toBe('true');
  expect(run('ImageId')(course), 'the newest of Debian’s own, without a kernel of backports').toBe('ami-0debian13new');
  expect(doors(course)).toEqual(['22/tcp 127.0.0.1/32', '2376/tcp 127.0.0.1/32']);
});

test('an ARM type gets the image for ARM', async () => {
  expect(run('ImageId')(await courseOf({ argv: ['--ec2-instance-type', 't4g.small'] }))).toBe('ami-0debian13arm');
});

describe('an instance that is to end by itself', () => {
  const lifeOf = (life: LifeSpec, argv: readonly string[] = []): Target<Options> => {
    const target = machineWith(optionsOf(argv), { life });
    return { ...target, ending: ec2.ends?.(target).byItself ?? 'stopped' };
  };
  const shutdown = async (target: Target<Options>): Promise<unknown> => {
    await make(target, calling(folder.path));
    return cloud.calls.findLast(({ operation }) => operation === 'RunInstances')?.params
      .InstanceInitiatedShutdownBehavior;
  };

  test('is terminated by its own shutdown, and stops where it is to be kept', async () => {
    expect(await shutdown(lifeOf({ ttl: '4h' }))).toBe('terminate');
    expect(await shutdown(lifeOf({ ttl: '4h', idleStop: '30m' }))).toBeUndefined();
    expect(await shutdown(lifeOf({ idleStop: '30m' }))).toBeUndefined();
    expect(await shutdown(machineWith(optionsOf([])))).toBeUndefined();
  });

  test('that was said to stop when it was made is not terminated by what is asked since', async () => {
    expect(await shutdown({ ...lifeOf({ ttl: '4h' }), ending: 'stopped' })).toBeUndefined();
  });

  test('says what a stopped one goes on costing, and that a spot instance can’t stop', () => {
    expect(ec2.ends?.(lifeOf({ idleStop: '30m' }, ['--ec2-root-size', '20']))).toEqual({
      byItself: 'stopped',
      costs: 'its disk goes on costing about $1.60 a month',
    });
    expect(lifeOf({ idleStop: '30m' }, ['--ec2-spot']).ending).toBe('removed');
  });

  test('is gone once it has shut itself down, and rm takes what is left of it without a word', async () => {
    const call = calling(folder.path);
    const target = await make(lifeOf({ ttl: '4h' }), call);
    const made = cloud.instances.at(-1);
    if (!made) throw new Error('no instance was made');
    made.state = 'terminated';
    expect(await ec2.inspect(target, call)).toEqual({ state: 'missing' });
    const base = cloud.calls.length;
    await ec2.remove?.(target, call);
    expect(cloud.calls.slice(base).map(({ operation }) => operation)).toContain('DeleteSecurityGroup');
    expect(call.notes).toEqual([]);
  });
});
