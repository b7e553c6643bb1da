import { createHash } from 'node:crypto';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CreateCall, Target } from '../../src/drivers/contract.ts';
import { driver as ec2 } from '../../src/drivers/ec2/driver.ts';
import { ec2 as ec2Manifest } from '../../src/drivers/ec2/manifest.ts';
import type { Ec2Options } from '../../src/drivers/ec2/options.ts';
import type { SlipwayError } from '../../src/errors.ts';
import type { Fault, Resource } from '../clouds/cloud.ts';
import {
  stubUserEnvironment,
  BOOT,
  recordingCall,
  newTarget,
  createTarget,
  parseEc2Options,
  createPair,
} from '../clouds/ec2-fixture.ts';
import { ACCOUNT, OTHER_ACCOUNT, OWN_SUBNET, OWN_VPC } from '../clouds/ec2-catalog.ts';
import { startEc2, type Ec2 } from '../clouds/ec2-double.ts';
import { noGuests } from '../clouds/guests.ts';
import type { RecordingCall } from '../clouds/recording-call.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

let cloud: Ec2;
let folder: Awaited<ReturnType<typeof createTemporaryFolder>>;

beforeAll(async () => {
  folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'large.sh'), `#!/bin/sh\n${'# nothing\n'.repeat(1_600)}`);
  await writeFile(join(folder.path, 'odd.txt'), 'packages: [git]\n');
  await writeFile(join(folder.path, 'web.pub'), 'ssh-ed25519 AAAA me@here\n');
});
afterAll(async () => folder[Symbol.asyncDispose]());
beforeEach(async () => {
  cloud = await startEc2({ guests: noGuests(), bootTime: 0 });
  stubUserEnvironment(cloud, folder.path);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await cloud[Symbol.asyncDispose]();
});

const refusalFault = (code: string, message: string, status = 400): Fault => ({
  kind: 'refuse',
  status,
  code,
  message,
});
const faultOn =
  (operation: string, fault: Fault, times = Infinity): Ec2['onArrival'] =>
  (call) => {
    if (call.operation !== operation || times < 1) return undefined;
    times -= 1;
    return fault;
  };
const mutatingCalls = (): readonly string[] =>
  cloud.calls.filter(({ mutates }) => mutates).map(({ operation }) => operation);
const countCalls = (operation: string): number => cloud.calls.filter((call) => call.operation === operation).length;

async function getCreateError(
  argv: readonly string[],
  call: CreateCall = recordingCall(folder.path),
): Promise<SlipwayError> {
  const error = await catchRejection(
    createTarget(newTarget(parseEc2Options(argv.map((word) => word.replace('HOME', folder.path)))), call),
  );
  if (!error) throw new Error('the create was not refused');
  return error;
}

type RefusalCase = {
  readonly title: string;
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly setUp?: () => void;
  readonly code: SlipwayError['code'];
  readonly message: RegExp;
  readonly hint: RegExp;
};

/** Lists what Slipway refuses before it creates anything, in one line, with AWS's words if AWS said something. */
const REFUSED_BEFORE_CREATE: readonly RefusalCase[] = [
  {
    title: 'no credentials anywhere',
    env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_EC2_METADATA_DISABLED: '' },
    code: 'CREDENTIALS',
    message: /^There are no AWS credentials \(.+\): CredentialsProviderError, /,
    hint: /AWS_PROFILE|aws sso login/,
  },
  {
    title: 'a profile that does not exist',
    argv: ['--ec2-profile', 'nobody'],
    code: 'CREDENTIALS',
    message: /^There are no AWS credentials for the profile "nobody" \(/,
    hint: /AWS_PROFILE/,
  },
  {
    title: 'no region',
    env: { AWS_REGION: '' },
    code: 'USAGE',
    message: /^An AWS region is required/,
    hint: /--ec2-region eu-central-1, or set AWS_REGION/,
  },
  {
    title: 'credentials that AWS does not know',
    env: { AWS_ACCESS_KEY_ID: 'AKIAWRONG' },
    code: 'CREDENTIALS',
    message:
      /^AWS did not accept your credentials \(.+\): AuthFailure, AWS was not able to validate the provided access credentials$/,
    hint: /aws sts get-caller-identity/,
  },
  {
    title: 'credentials without permission to read',
    setUp: () => {
      cloud.onArrival = faultOn(
        'DescribeVpcs',
        refusalFault('UnauthorizedOperation', 'You are not authorized to perform this operation.', 403),
      );
    },
    code: 'CREDENTIALS',
    message:
      /^Your AWS credentials do not allow this \(looking for its VPC\): UnauthorizedOperation, You are not authorized/,
    hint: /docs\/clouds\.md/,
  },
  {
    title: 'an account that is not signed up',
    setUp: () => {
      cloud.onArrival = faultOn(
        'DescribeImages',
        refusalFault('OptInRequired', 'You are not subscribed to this service.', 401),
      );
    },
    code: 'CREDENTIALS',
    message: /^AWS does not serve your account here yet \(.+\): OptInRequired, You are not subscribed/,
    hint: /--ec2-region/,
  },
  {
    title: 'credentials of another account than --ec2-account',
    argv: ['--ec2-account', '999999999999'],
    code: 'CREDENTIALS',
    message: new RegExp(`^Your AWS credentials belong to the account ${ACCOUNT}, and this machine is in 999999999999$`),
    hint: /Use the credentials of 999999999999/,
  },
  {
    title: 'an image that does not exist',
    argv: ['--ec2-ami', 'ami-0none'],
    code: 'PROVIDER_REFUSED',
    message: /InvalidAMIID\.NotFound, The image id '\[ami-0none\]' does not exist$/,
    hint: /Fix what AWS names/,
  },
  {
    title: 'a distribution that is not published in the region',
    argv: ['--ec2-image', 'ubuntu-22.04'],
    code: 'USAGE',
    message: /^There is no image of ubuntu-22\.04 for x86_64 in eu-central-1: none of the account 099720109477/,
    hint: /--ec2-ami/,
  },
  {
    title: 'a distribution that is not published in the AWS partition',
    argv: ['--ec2-region', 'cn-north-1'],
    code: 'USAGE',
    message: /^No account is known that publishes images of debian-13 in cn-north-1$/,
    hint: /--ec2-image ubuntu-24\.04/,
  },
  {
    title: 'an image of another architecture',
    argv: ['--ec2-ami', 'ami-0debian13arm'],
    code: 'USAGE',
    message: /^The image ami-0debian13arm is for arm64, and t3\.small is x86_64$/,
    hint: /--ec2-instance-type/,
  },
  {
    title: 'an image that is larger than its disk',
    argv: ['--ec2-ami', 'ami-0large'],
    code: 'USAGE',
    message: /^The image ami-0large needs a root disk of 100 GiB, and --ec2-root-size is 16$/,
    hint: /--ec2-root-size 100/,
  },
  {
    title: 'a subnet that does not exist',
    argv: ['--ec2-subnet', 'subnet-none'],
    code: 'PROVIDER_REFUSED',
    message: /InvalidSubnetID\.NotFound, The subnet ID 'subnet-none' does not exist$/,
    hint: /Fix what AWS names/,
  },
  {
    title: 'a subnet without IPv4',
    argv: ['--ec2-subnet', 'subnet-six'],
    code: 'USAGE',
    message: /^The subnet subnet-six has no IPv4 addresses/,
    hint: /--ec2-subnet/,
  },
  {
    title: 'a VPC that does not exist',
    argv: ['--ec2-vpc', 'vpc-none'],
    code: 'PROVIDER_REFUSED',
    message: /InvalidVpcID\.NotFound, The vpc ID 'vpc-none' does not exist$/,
    hint: /Fix what AWS names/,
  },
  {
    title: 'no default VPC',
    setUp: () => {
      cloud.hasDefaultVpc = false;
    },
    code: 'USAGE',
    message: /^The region eu-central-1 has no default VPC in this account$/,
    hint: /--ec2-subnet/,
  },
  {
    title: 'a zone that does not exist',
    argv: ['--ec2-zone', 'q'],
    code: 'USAGE',
    message: /^vpc-eu-central-1 has no subnet in eu-central-1q$/,
    hint: /change or omit --ec2-zone/,
  },
  {
    title: 'an instance type that does not exist',
    argv: ['--ec2-instance-type', 't9.enormous'],
    code: 'USAGE',
    message: /^EC2 has no instance type t9\.enormous in this region$/,
    hint: /t3\.small/,
  },
  {
    title: 'a security group that does not exist',
    argv: ['--ec2-security-group', 'office'],
    code: 'USAGE',
    message: /^There is no security group "office" in vpc-eu-central-1$/,
    hint: /Omit --ec2-security-group/,
  },
  {
    title: 'a security group id that does not exist',
    argv: ['--ec2-security-group', 'sg-0123456789abcdeff'],
    code: 'USAGE',
    message: /^There is no security group "sg-0123456789abcdeff" in vpc-eu-central-1$/,
    hint: /Omit --ec2-security-group/,
  },
  {
    title: 'a security group of another VPC',
    argv: ['--ec2-security-group', 'sg-0123456789abcdef1'],
    code: 'USAGE',
    message: /^There is no security group "sg-0123456789abcdef1" in vpc-eu-central-1$/,
    hint: /Omit --ec2-security-group/,
  },
  {
    title: 'a subnet of another VPC',
    argv: ['--ec2-subnet', OWN_SUBNET, '--ec2-vpc', 'vpc-eu-central-1'],
    code: 'USAGE',
    message: /^The subnet subnet-own belongs to vpc-own, not to vpc-eu-central-1$/,
    hint: /--ec2-subnet/,
  },
  {
    title: 'a subnet of another zone',
    argv: ['--ec2-subnet', 'subnet-a', '--ec2-zone', 'b'],
    code: 'USAGE',
    message: /^The subnet subnet-a is in eu-central-1a, not in eu-central-1b \(--ec2-zone\)$/,
    hint: /--ec2-subnet/,
  },
  {
    title: 'a subnet from which nothing leads to the internet',
    argv: ['--ec2-subnet', OWN_SUBNET],
    setUp: () => {
      cloud.privateSubnets.add(OWN_SUBNET);
    },
    code: 'USAGE',
    message: /^The subnet subnet-own has no route to an internet gateway$/,
    hint: /--ec2-subnet/,
  },
  {
    title: 'a VPC whose subnets are all private, full or without the type',
    setUp: () => {
      cloud.privateSubnets.add('subnet-a');
      cloud.fullSubnets.add('subnet-b');
      cloud.missingTypes.set('t3.small', ['c']);
    },
    code: 'USAGE',
    message:
      /^No subnet of vpc-eu-central-1 suits this machine: subnet-a has no route to an internet gateway, subnet-b has no free address and subnet-c is in eu-central-1c, which has no t3\.small$/,
    hint: /--ec2-subnet subnet-0123/,
  },
  {
    title: 'a zone without the instance type',
    argv: ['--ec2-zone', 'b'],
    setUp: () => {
      cloud.missingTypes.set('t3.small', ['b']);
    },
    code: 'USAGE',
    message: /subnet-b is in eu-central-1b, which has no t3\.small$/,
    hint: /--ec2-instance-type t3a\.small; or change or omit --ec2-zone/,
  },
  {
    title: 'user data that is too large',
    argv: ['--ec2-user-data', 'HOME/large.sh'],
    code: 'USAGE',
    message: /^The user data is 1\d{4} bytes together with Slipway's own, and EC2 accepts at most 16384$/,
    hint: /--ec2-user-data/,
  },
  {
    title: 'user data that cloud-init does not support',
    argv: ['--ec2-user-data', 'HOME/odd.txt'],
    code: 'USAGE',
    message: /^cloud-init does not know the format of your user data$/,
    hint: /#cloud-config/,
  },
  {
    title: 'user data that does not exist',
    argv: ['--ec2-user-data', 'HOME/none'],
    code: 'USAGE',
    message: /none can't be read(: it does not exist)?$/,
    hint: /--ec2-user-data/,
  },
  {
    title: 'a key pair without its private key',
    argv: ['--ec2-keypair-name', 'laptop'],
    code: 'USAGE',
    message: /^--ec2-keypair-name and --ec2-ssh-key are required together$/,
    hint: /--ec2-ssh-key/,
  },
  {
    title: 'the public half of a key',
    argv: ['--ec2-keypair-name', 'laptop', '--ec2-ssh-key', 'HOME/web.pub'],
    code: 'USAGE',
    message: /web\.pub is not a private key$/,
    hint: /--ec2-ssh-key/,
  },
  {
    title: 'a volume type without its IOPS',
    argv: ['--ec2-volume-type', 'io2'],
    code: 'USAGE',
    message: /^A root disk of type io2 needs a number of IOPS$/,
    hint: /--ec2-volume-iops/,
  },
  {
    title: 'IOPS for a volume type without them',
    argv: ['--ec2-volume-type', 'gp2', '--ec2-volume-iops', '3000'],
    code: 'USAGE',
    message: /^--ec2-volume-iops is not supported with a root disk of type gp2/,
    hint: /gp3/,
  },
  {
    title: 'throughput for a volume type without it',
    argv: ['--ec2-volume-type', 'io2', '--ec2-volume-iops', '3000', '--ec2-volume-throughput', '200'],
    code: 'USAGE',
    message: /^--ec2-volume-throughput is not supported with a root disk of type io2/,
    hint: /gp3/,
  },
  {
    title: 'tags that are not pairs',
    argv: ['--ec2-tags', 'team,web,cost'],
    code: 'USAGE',
    message: /^--ec2-tags must be key=value pairs/,
    hint: /--ec2-tags team=web/,
  },
  {
    title: 'an endpoint where nothing listens',
    argv: ['--ec2-retries', '-1'],
    env: { AWS_ENDPOINT_URL_EC2: 'http://127.0.0.1:9' },
    code: 'PROVIDER_REFUSED',
    message: /^EC2 could not be reached \(.+\): ECONNREFUSED, /,
    hint: /--ec2-endpoint/,
  },
];

describe('AWS settings that can not be read', () => {
  const write = async (name: string, content: string | Buffer): Promise<string> => {
    const file = join(folder.path, name);
    await writeFile(file, content);
    return file;
  };

  test.each([
    ['UTF-16', async () => write('utf16', Buffer.from('\uFEFF[default]\n', 'utf16le')), 'is in UTF-16'],
    ['a folder', async () => folder.path, 'it is a folder'],
    [
      'a loop of links',
      async () => {
        const file = join(folder.path, 'loop');
        await symlink('loop', file).catch(() => {});
        return file;
      },
      'its symbolic links form a loop',
    ],
  ])('(%s) are named, instead of a missing region', async (_, create, words) => {
    const file = await create();
    vi.stubEnv('AWS_CONFIG_FILE', file);
    vi.stubEnv('AWS_REGION', undefined);
    const expected = { code: 'LOCAL_FILES', message: expect.stringMatching(new RegExp(`^${file}.*${words}`)) };
    expect(await getCreateError([])).toMatchObject(expected);
    const listing = catchRejection(
      Promise.resolve(ec2.cloud.listResources({ options: parseEc2Options([]), home: 'x' }, recordingCall(folder.path))),
    );
    expect(await listing).toMatchObject(expected);
    expect(cloud.calls).toEqual([]);
  });

  test('are named, instead of missing credentials', async () => {
    const file = await write('encoded', Buffer.from('\uFEFF[default]\n', 'utf16le'));
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', file);
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    expect(await getCreateError([])).toMatchObject({
      code: 'LOCAL_FILES',
      message: `${file} is in UTF-16, which AWS's SDK can't read`,
    });
    const { computer } = recordingCall(folder.path);
    expect(await ec2Manifest.checkHealth?.(computer)).toMatchObject({
      usable: false,
      reason: expect.stringContaining(file),
    });
  });

  test('with a region that can not be one are quoted', async () => {
    vi.stubEnv('AWS_CONFIG_FILE', await write('odd', '[default]\nregion = eu central 1\n'));
    vi.stubEnv('AWS_REGION', undefined);
    expect(await getCreateError([])).toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/^"eu central 1" is not an AWS region/),
      hint: expect.stringContaining('aws configure'),
    });
  });

  test('of a token that does not exist name its file, and do not blame the network', async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined);
    vi.stubEnv('AWS_WEB_IDENTITY_TOKEN_FILE', join(folder.path, 'no-token'));
    vi.stubEnv('AWS_ROLE_ARN', 'arn:aws:iam::123456789012:role/ci');
    expect(await getCreateError([])).toMatchObject({
      code: 'CREDENTIALS',
      message: expect.stringContaining(`could not be loaded: ${join(folder.path, 'no-token')} could not be read`),
    });
  });
});

describe('before it creates anything, create', () => {
  test.each(REFUSED_BEFORE_CREATE.map((row) => [row.title, row] as const))(
    'refuses %s in one line',
    async (_, { argv = [], env = {}, setUp, code, message, hint }) => {
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value || undefined);
      setUp?.();
      const start = performance.now();
      const error = await getCreateError(argv);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message), hint: expect.stringMatching(hint) });
      expect(error.message).not.toContain('\n');
      expect(performance.now() - start).toBeLessThan(10_000);
      expect(mutatingCalls()).toEqual([]);
      expect(cloud.listAlive()).toEqual([]);
    },
  );
});

/**
 * Only RunInstances can report these errors. By then a security group exists, which create deletes, so that the machine
 * can be created with other options.
 */
describe('when EC2 refuses the instance', () => {
  const REFUSED: readonly (readonly [string, Fault, SlipwayError['code'], RegExp])[] = [
    [
      'missing permissions',
      refusalFault(
        'UnauthorizedOperation',
        'You are not authorized to perform this operation. Encoded authorization failure message: 4qYd1234',
        403,
      ),
      'CREDENTIALS',
      /^Your AWS credentials do not allow this \(creating the instance\): UnauthorizedOperation, You are not authorized to perform this operation\.$/,
    ],
    [
      'an exceeded quota',
      refusalFault(
        'VcpuLimitExceeded',
        'You have requested more vCPU capacity than your current vCPU limit of 0 allows.',
      ),
      'QUOTA',
      /^Your AWS account has reached its quota \(creating the instance\): VcpuLimitExceeded, You have requested more vCPU/,
    ],
    [
      'an exceeded quota of spot instances',
      refusalFault('MaxSpotInstanceCountExceeded', 'Max spot instance count exceeded'),
      'QUOTA',
      /MaxSpotInstanceCountExceeded, Max spot/,
    ],
    [
      'an instance type that the zone lacks',
      refusalFault('Unsupported', 'Your requested instance type (t3.small) is not supported in your requested zone.'),
      'CAPACITY',
      /^EC2 has no capacity for this instance at the moment \(creating the instance\): Unsupported, Your requested/,
    ],
    [
      'a key pair that no longer exists',
      refusalFault('InvalidKeyPair.NotFound', "The key pair 'laptop' does not exist"),
      'PROVIDER_REFUSED',
      /^EC2 refused \(creating the instance\): InvalidKeyPair\.NotFound, The key pair 'laptop' does not exist$/,
    ],
  ];

  test.each(REFUSED)('reports %s without a retry', async (_, fault, code, message) => {
    cloud.onArrival = faultOn('RunInstances', fault);
    const call = recordingCall(folder.path);
    expect(await getCreateError([], call)).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(countCalls('RunInstances')).toBe(1);
    expect(call.notes).toEqual([]);
    expect(mutatingCalls()).toEqual([
      'CreateSecurityGroup',
      'AuthorizeSecurityGroupIngress',
      'RunInstances',
      'DeleteSecurityGroup',
    ]);
    expect(cloud.listAlive()).toEqual([]);
    // No instance can appear later, so `rm` does not wait for one.
    expect(call.recordedRequests.at(-1)).toBe('nothing');
  });

  test('keeps the security group and says so in the record if it may not be deleted', async () => {
    const quota = faultOn('RunInstances', REFUSED[1]?.[1] ?? refusalFault('', ''));
    const forbidden = faultOn('DeleteSecurityGroup', refusalFault('UnauthorizedOperation', 'No.', 403));
    cloud.onArrival = async (arrived) => (await quota(arrived)) ?? (await forbidden(arrived));
    const call = recordingCall(folder.path);
    expect((await getCreateError([], call)).code).toBe('QUOTA');
    expectNoCost();
    expect(call.recordedRequests.at(-1)).toBe('security group');
  });

  test('keeps its request in the record after an attempt without a response, which may have created an instance', async () => {
    let attempts = 0;
    cloud.onArrival = ({ operation }) => {
      if (operation !== 'RunInstances') return undefined;
      attempts += 1;
      return attempts === 1 ? { kind: 'drop response' } : refusalFault('RequestExpired', 'Request has expired.');
    };
    const call = recordingCall(folder.path);
    expect((await getCreateError([], call)).code).toBe('CREDENTIALS');
    expect(call.recordedRequests.at(-1)).toBe('instance');
    expect(mutatingCalls()).not.toContain('DeleteSecurityGroup');
  });

  test('keeps its request in the record if the last create may have requested an instance a moment ago', async () => {
    cloud.onArrival = faultOn('RunInstances', REFUSED[1]?.[1] ?? refusalFault('', ''));
    const call = recordingCall(folder.path);
    const lastRequest = { what: 'instance', at: new Date().toISOString() };
    await catchRejection(createTarget(newTarget(parseEc2Options([]), { lastRequest }), call));
    expect(call.recordedRequests.at(-1)).toBe('instance');
  });

  test('keeps the encoded authorization message out of the error message', async () => {
    cloud.onArrival = faultOn('RunInstances', REFUSED[0]?.[1] ?? refusalFault('', ''));
    const error = await getCreateError([]);
    expect(error.message).not.toContain('4qYd1234');
    expect(error.detail.join()).toContain('4qYd1234');
  });

  test.each([500, 400])(
    'retries for a while without capacity (HTTP %i), then reports it',
    async (status) => {
      cloud.onArrival = faultOn(
        'RunInstances',
        refusalFault('InsufficientInstanceCapacity', 'We do not have sufficient capacity.', status),
      );
      const call = recordingCall(folder.path);
      const start = performance.now();
      expect(await getCreateError(['--ec2-retries', '2'], call)).toMatchObject({
        code: 'CAPACITY',
        message: expect.stringContaining('InsufficientInstanceCapacity, We do not have sufficient capacity.'),
        hint: expect.stringContaining('--ec2-zone'),
      });
      expect(performance.now() - start).toBeLessThan(28_000);
      expect(countCalls('RunInstances')).toBeGreaterThan(3);
      expect(call.notes.join()).toContain('EC2 has no capacity for it at the moment; trying again');
      expect(cloud.listAlive()).toEqual([]);
    },
    60_000,
  );

  test('records a request before each try', async () => {
    const call = recordingCall(folder.path);
    const requestsBeforeCall: number[] = [];
    const injectNoCapacity = faultOn(
      'RunInstances',
      refusalFault('InsufficientInstanceCapacity', 'Not enough.', 400),
      2,
    );
    cloud.onArrival = (arrived) => {
      if (arrived.operation === 'RunInstances')
        requestsBeforeCall.push(call.recordedRequests.filter((what) => what === 'instance').length);
      return injectNoCapacity(arrived);
    };
    await createTarget(newTarget(parseEc2Options([])), call);
    expect(requestsBeforeCall).toEqual([1, 2, 3]);
  });

  test('succeeds on retry when capacity returns', async () => {
    cloud.onArrival = faultOn('RunInstances', refusalFault('InsufficientInstanceCapacity', 'Not enough.', 400), 2);
    await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
    expect(liveInstances()).toHaveLength(1);
  });
});

describe('a temporary failure', () => {
  test('from throttling is reported once and retried', async () => {
    cloud.onArrival = ({ n }) =>
      n % 3 === 0 ? refusalFault('RequestLimitExceeded', 'Request limit exceeded.', 503) : undefined;
    const call = recordingCall(folder.path);
    await createTarget(newTarget(parseEc2Options([])), call);
    expect(liveInstances()).toHaveLength(1);
    expect(call.notes.filter((note) => note.includes('RequestLimitExceeded'))).not.toEqual([]);
    expect(call.notes.length, call.notes.join('\n')).toBeLessThanOrEqual(2);
  });

  test('from throttling is reported as an error when it does not end', async () => {
    cloud.onArrival = () => refusalFault('RequestLimitExceeded', 'Request limit exceeded.', 503);
    expect(await getCreateError(['--ec2-retries', '3'])).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(
        /^EC2 received too many requests \(.+\): RequestLimitExceeded, Request limit exceeded\.$/,
      ),
      hint: expect.stringContaining('Try again in a minute'),
    });
    expect(mutatingCalls()).toEqual([]);
  });

  test('inside EC2 is reported once and retried', async () => {
    cloud.onArrival = faultOn('RunInstances', refusalFault('InternalError', 'An internal error has occurred', 500), 2);
    const call = recordingCall(folder.path);
    await createTarget(newTarget(parseEc2Options([])), call);
    expect(liveInstances()).toHaveLength(1);
    expect(call.notes).toEqual(['EC2 RunInstances: InternalError; trying again']);
  });

  test('is not reported as retried when retries are off', async () => {
    cloud.onArrival = faultOn('DescribeVpcs', refusalFault('Unavailable', 'Not now.', 503));
    const call = recordingCall(folder.path);
    await getCreateError(['--ec2-retries', '-1'], call);
    expect(call.notes).toEqual([]);
  });

  test.each(['drop response', 'drop request'] as const)(
    'that breaks the connection (%s) creates no second instance',
    async (kind) => {
      cloud.onArrival = faultOn('RunInstances', { kind }, 2);
      await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
      expect(countCalls('RunInstances')).toBe(3);
      expect(liveInstances()).toHaveLength(1);
    },
  );

  test('that loses the response creates no second security group', async () => {
    cloud.onArrival = faultOn('CreateSecurityGroup', { kind: 'drop response' }, 1);
    await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
    expect(cloud.groups).toHaveLength(1);
    expect(liveInstances()).toHaveLength(1);
  });

  test('that hides a new group or new instances for a moment is waited out', async () => {
    cloud.lateness = 1200;
    const call = recordingCall(folder.path);
    const batch = (index: number) => ({ id: '5a1f9a52-6f0a-4c8c-9d8e-0f6f3f1b2c3d', index, size: 2 });
    const options = (await ec2.cloud.resolveOptions(newTarget(parseEc2Options([])), call)) ?? parseEc2Options([]);
    const many = ['web-1', 'web-2'].map((name, index) => newTarget(options, { name, batch: batch(index) }));
    await ec2.cloud.createMany(many, BOOT, call);
    expect(liveInstances().map(({ tags }) => tags.Name)).toEqual(['web-1', 'web-2']);
    expect(liveInstances().map(({ tags }) => tags['slipway-name'])).toEqual(['web-1', 'web-2']);
    expect(call.notes.join()).toContain('EC2 does not show it yet');
    expect(call.notes.join()).not.toContain('could not be named');
  });

  test('of naming instances is fixed by the next createMany', async () => {
    const call = recordingCall(folder.path);
    const options = (await ec2.cloud.resolveOptions(newTarget(parseEc2Options([])), call)) ?? parseEc2Options([]);
    const batch = (index: number) => ({ id: '7c1f9a52-6f0a-4c8c-9d8e-0f6f3f1b2c3d', index, size: 2 });
    const many = ['web-1', 'web-2'].map((name, index) => newTarget(options, { name, batch: batch(index) }));
    cloud.onArrival = faultOn('CreateTags', refusalFault('UnauthorizedOperation', 'You are not authorized.', 403));
    await ec2.cloud.createMany(many, BOOT, call);
    expect(call.notes.join()).toContain('could not be named "web-2" in EC2');
    cloud.onArrival = () => undefined;
    await ec2.cloud.createMany(many, BOOT, call);
    expect(liveInstances().map(({ tags }) => tags.Name)).toEqual(['web-1', 'web-2']);
    expect(countCalls('RunInstances')).toBe(1);
  });

  test('does not cause a Node warning when one call creates twelve machines', async () => {
    const warnings: string[] = [];
    const recordWarning = (warning: Error): void => void warnings.push(warning.name);
    process.on('warning', recordWarning);
    const call = recordingCall(folder.path);
    const options = (await ec2.cloud.resolveOptions(newTarget(parseEc2Options([])), call)) ?? parseEc2Options([]);
    const batch = (index: number) => ({ id: '1e1f9a52-6f0a-4c8c-9d8e-0f6f3f1b2c3d', index, size: 12 });
    const names = Array.from({ length: 12 }, (_, at) => `web-${at + 1}`);
    await ec2.cloud.createMany(
      names.map((name, index) => newTarget(options, { name, batch: batch(index) })),
      BOOT,
      call,
    );
    await sleep(0);
    process.off('warning', recordWarning);
    expect(liveInstances()).toHaveLength(12);
    expect(warnings).toEqual([]);
  });

  test('of an endpoint that never responds ends in a timeout', async () => {
    await using silent = await startSilentServer();
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', silent.url);
    const start = performance.now();
    expect(await getCreateError(['--ec2-retries', '-1'])).toMatchObject({
      code: 'PROVIDER_REFUSED',
      message: expect.stringMatching(/^EC2 could not be reached \(.+\): TimeoutError, /),
    });
    expect(performance.now() - start).toBeLessThan(25_000);
  }, 60_000);

  test('from a server other than EC2 says so', async () => {
    await using proxy = await startAnsweringServer(502, '<html><body>Bad gateway</title>');
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', proxy.url);
    expect(await getCreateError(['--ec2-retries', '-1'])).toMatchObject({
      message: expect.stringMatching(/^EC2 failed \(.+\): HTTP 502, the answer is not from EC2$/),
    });
  });

  test('stops being retried at once on Ctrl-C', async () => {
    await using silent = await startSilentServer();
    vi.stubEnv('AWS_ENDPOINT_URL_EC2', silent.url);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 300);
    const start = performance.now();
    expect((await getCreateError([], recordingCall(folder.path, stop.signal))).code).toBe('CANCELED');
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('create of one machine after its bulk call was killed', () => {
  const requestedAgo = (seconds: number, what = 'instances') => ({
    what,
    at: new Date(Date.now() - seconds * 1000).toISOString(),
  });

  test('waits for the instance of the bulk call before it creates another one', async () => {
    const call = recordingCall(folder.path);
    const [first] = await createPair(call);
    cloud.lateness = Date.now() - (cloud.instances[0]?.made ?? 0) + 1500;
    await ec2.machines.create({ ...first, lastRequest: requestedAgo(1) }, BOOT, call);
    expect(countCalls('RunInstances')).toBe(1);
    expect(countCalls('CreateSecurityGroup')).toBe(1);
    expect(call.notes.join()).toMatch(/late to show the requested instances; .+ for up to 5\d s/);
  });

  test.each([
    ['long ago', requestedAgo(61)],
    ['only for a security group', requestedAgo(1, 'security group')],
  ])('creates an instance at once when the request was %s', async (_, lastRequest) => {
    const call = recordingCall(folder.path);
    const [first, second] = await createPair(call);
    await removeInstance(first, call);
    await removeInstance(second, call);
    cloud.instances.splice(0);
    await ec2.machines.create({ ...first, lastRequest }, BOOT, call);
    expect(countCalls('RunInstances')).toBe(2);
    expect(call.notes).toEqual([]);
  });

  test('creates another instance when EC2 shows that the first one has ended', async () => {
    const call = recordingCall(folder.path);
    const [first] = await createPair(call);
    await removeInstance(first, call);
    await ec2.machines.create({ ...first, lastRequest: requestedAgo(1) }, BOOT, call);
    expect(countCalls('RunInstances')).toBe(2);
  });
});

describe('an instance that EC2 terminates', () => {
  test("is reported with EC2's reason, and the next create creates another one", async () => {
    cloud.launchFailure = {
      code: 'Client.VolumeLimitExceeded',
      message: 'Client.VolumeLimitExceeded: Volume limit exceeded',
    };
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    await waitUntil(() => cloud.instances[0]?.state === 'terminated');
    expect(await catchRejection(ec2.machines.inspect(target, call))).toMatchObject({
      code: 'QUOTA',
      message: expect.stringMatching(
        /^EC2 has terminated i-\w+, the instance of "web": Client\.VolumeLimitExceeded: Volume limit/,
      ),
    });
    cloud.launchFailure = undefined;
    cloud.lateness = 1500;
    await ec2.machines.create(target, BOOT, call);
    expect((await ec2.machines.inspect(target, call)).state).toBe('running');
    expect(liveInstances()).toHaveLength(1);
  });

  test('after it was ready is missing, with the reason: a spot instance was reclaimed', async () => {
    const call = recordingCall(folder.path);
    const created = await createTarget(newTarget(parseEc2Options(['--ec2-spot'])), call);
    const target = { ...created, host: { address: '203.0.113.7' } };
    await waitUntil(async () => (await ec2.machines.inspect(target, call)).state === 'running');
    const [instance] = cloud.instances;
    if (!instance) throw new Error('no instance was created');
    instance.state = 'terminated';
    instance.reason = { code: 'Server.SpotInstanceTermination', message: 'Server.SpotInstanceTermination: Spot' };
    expect(await ec2.machines.inspect(target, call)).toEqual({
      state: 'missing',
      reason: `AWS has reclaimed its spot instance ${instance.id} (Server.SpotInstanceTermination)`,
    });
    // EC2 shows an ended instance for about an hour.
    cloud.instances.splice(0);
    expect(await ec2.machines.inspect(target, call)).toMatchObject({
      state: 'missing',
      reason: expect.stringMatching(/^its spot instance no longer exists/),
    });
    await ec2.machines.remove(target, call);
    expect(cloud.listAlive().filter(({ kind }) => kind === 'firewall')).toEqual([]);
  });

  test("at the user's request is missing, without an error", async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    await waitUntil(async () => (await ec2.machines.inspect(target, call)).state === 'running');
    await ec2.machines.remove(target, call);
    expect(await ec2.machines.inspect(target, call)).toEqual({ state: 'missing' });
    expect(cloud.listAlive()).toEqual([]);
  });
});

describe('the network of an instance', () => {
  const runInstancesParams = (): Readonly<Record<string, unknown>> =>
    cloud.calls.findLast(({ operation }) => operation === 'RunInstances')?.params ?? {};

  test('requests a public address when default subnets do not assign one', async () => {
    cloud.assignsPublicAddresses = false;
    await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
    expect(runInstancesParams().NetworkInterface).toMatchObject([
      { SubnetId: 'subnet-a', AssociatePublicIpAddress: 'true' },
    ]);
  });

  test('is in a subnet that suits the machine when others do not', async () => {
    cloud.privateSubnets.add('subnet-a');
    cloud.fullSubnets.add('subnet-b');
    await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
    expect(runInstancesParams().NetworkInterface).toMatchObject([{ SubnetId: 'subnet-c' }]);
  });

  test('may be private if Slipway connects to the private address', async () => {
    cloud.privateSubnets.add(OWN_SUBNET);
    const argv = ['--ec2-subnet', OWN_SUBNET, '--ec2-private-address-only', '--ec2-allow-cidr', '10.20.0.0/16'];
    await createTarget(newTarget(parseEc2Options(argv)), recordingCall(folder.path));
    expect(runInstancesParams().NetworkInterface).toMatchObject([{ SubnetId: OWN_SUBNET }]);
  });

  test.each(['DescribeRouteTables', 'DescribeInstanceTypeOfferings'])(
    'is not checked where %s is not allowed',
    async (operation) => {
      cloud.onArrival = faultOn(operation, refusalFault('UnauthorizedOperation', 'No.', 403));
      await createTarget(newTarget(parseEc2Options([])), recordingCall(folder.path));
      expect(liveInstances()).toHaveLength(1);
    },
  );

  test('is in a subnet with IPv4 of the VPC that the user names', async () => {
    cloud.hasDefaultVpc = false;
    const { options } = await createTarget(
      newTarget(parseEc2Options(['--ec2-vpc', OWN_VPC])),
      recordingCall(folder.path),
    );
    expect(options).toMatchObject({ vpc: OWN_VPC, subnet: OWN_SUBNET, account: ACCOUNT });
  });

  test('is left to EC2 for a zone of the default VPC, since EC2 knows where capacity is', async () => {
    await createTarget(newTarget(parseEc2Options(['--ec2-zone', 'c'])), recordingCall(folder.path));
    expect(runInstancesParams()).toMatchObject({ Placement: { AvailabilityZone: 'eu-central-1c' } });
    expect(runInstancesParams().NetworkInterface).toBeUndefined();
  });
});

test('create works with a server that reports no account', async () => {
  cloud.account = '';
  const call = recordingCall(folder.path);
  const target = await createTarget(newTarget(parseEc2Options([])), call);
  expect(ec2Manifest.options.parse(target.options).account).toBeUndefined();
  await removeInstance(target, call);
  expect(cloud.listAlive()).toEqual([]);
});

describe('credentials that AWS does not accept', () => {
  /** Writes the settings of a profile that signs in with SSO, and its expired token. */
  async function writeExpiredSignIn(): Promise<void> {
    const session = ['sso_start_url = https://corp.example/start', 'sso_region = eu-central-1'];
    const role = ['sso_session = corp', 'sso_account_id = 123456789012', 'sso_role_name = Dev'];
    const config = ['[profile corp]', ...role, '[sso-session corp]', ...session, ''];
    // The SDK reads each file once.
    const file = join(folder.path, 'config-of-corp');
    await writeFile(file, config.join('\n'));
    vi.stubEnv('AWS_CONFIG_FILE', file);
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) vi.stubEnv(name, undefined);
    vi.stubEnv('HOME', folder.path);
    const cache = join(folder.path, '.aws', 'sso', 'cache');
    await mkdir(cache, { recursive: true });
    const token = { accessToken: 'x', expiresAt: '2020-01-01T00:00:00Z', region: 'eu-central-1' };
    await writeFile(join(cache, `${createHash('sha1').update('corp').digest('hex')}.json`), JSON.stringify(token));
  }

  test.each(['resolveOptions', 'inspect', 'start', 'stop', 'remove', 'allowCallerIp', 'gc', 'adopt'] as const)(
    'are reported by %s as an expired sign-in, with the command that signs in again',
    async (action) => {
      const call = recordingCall(folder.path);
      const { options } = await createTarget(newTarget(parseEc2Options([])), call);
      const target = newTarget({ ...options, profile: 'corp' });
      await writeExpiredSignIn();
      const actions: Readonly<Record<typeof action, () => Promise<unknown>>> = {
        resolveOptions: async () =>
          ec2.cloud.resolveOptions(newTarget(parseEc2Options(['--ec2-profile', 'corp'])), call),
        inspect: async () => ec2.machines.inspect(target, call),
        start: async () => ec2.power?.start(target, call),
        stop: async () => ec2.power?.stop(target, { seconds: 1 }, call),
        remove: async () => ec2.machines.remove(target, call),
        allowCallerIp: async () => ec2.cloud.allowCallerIp(target, call),
        gc: async () => ec2.cloud.listResources({ options: target.options, home: undefined }, call),
        adopt: async () => ec2.cloud.adopt?.(target, 'i-0123', call),
      };
      const error = await catchRejection(Promise.resolve(actions[action]()));
      expect(error).toMatchObject({
        name: 'SlipwayError',
        code: 'CREDENTIALS',
        message: expect.stringMatching(/^Your sign-in to AWS \(SSO\) has expired for the profile "corp" \(/),
        hint: expect.stringMatching(/^Sign in again: aws sso login --profile corp\./),
      });
    },
  );

  test('name the access key that AWS refused', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAWRONG');
    expect((await getCreateError([])).hint).toMatch(/^You use the access key AKIAWRONG\. Check who you are: aws sts/);
  });

  test("are explained by the clock if this computer's clock is wrong", async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3 * 3600_000 });
    try {
      cloud.onArrival = () => refusalFault('AuthFailure', 'AWS was not able to validate the credentials', 401);
      expect(await getCreateError([])).toMatchObject({
        code: 'CREDENTIALS',
        message: expect.stringMatching(
          /^AWS did not accept your credentials: this computer's clock is 180 min ahead of its own \(/,
        ),
        hint: "Set this computer's clock, then try again",
      });
    } finally {
      vi.useRealTimers();
    }
  });

  test.each([
    ['AuthFailure', 401],
    ['InvalidClientTokenId', 403],
    ['OptInRequired', 401],
    ['UnauthorizedOperation', 403],
    ['RequestExpired', 400],
    ['Blocked', 403],
  ])('make remove fail with a sentence and a hint: %s', async (code, status) => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    cloud.onArrival = () => refusalFault(code, 'Not you.', status);
    expect(await catchRejection(removeInstance(target, call))).toMatchObject({
      name: 'SlipwayError',
      code: 'CREDENTIALS',
      hint: expect.stringMatching(/./),
    });
  });
});

describe('with credentials of another account', () => {
  test('remove reports the account and changes nothing', async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    const before = mutatingCalls();
    for (const [name, value] of Object.entries(cloud.otherEnv)) vi.stubEnv(name, value);
    const error = await catchRejection(removeInstance(target, call));
    expect(error).toMatchObject({
      code: 'CREDENTIALS',
      message: `Your AWS credentials belong to the account ${OTHER_ACCOUNT}, and this machine is in ${ACCOUNT}`,
      hint: expect.stringContaining(`Use the credentials of ${ACCOUNT}`),
    });
    expect(mutatingCalls()).toEqual(before);
  });

  test.each(['inspect', 'start', 'stop', 'create'] as const)(
    '%s reports the account, and not that the machine is missing',
    async (action) => {
      const call = recordingCall(folder.path);
      const target = await createTarget(newTarget(parseEc2Options([])), call);
      const before = mutatingCalls();
      const callsBefore = countCalls('DescribeSecurityGroups');
      await ec2.machines.inspect(target, call);
      await ec2.machines.create(target, BOOT, call);
      expect(countCalls('DescribeSecurityGroups'), 'calls to look up the account of an existing instance').toBe(
        callsBefore,
      );
      for (const [name, value] of Object.entries(cloud.otherEnv)) vi.stubEnv(name, value);
      // The other account does not see this instance.
      cloud.instances.splice(0);
      const actions = {
        inspect: async () => ec2.machines.inspect(target, call),
        start: async () => ec2.power?.start(target, call),
        stop: async () => ec2.power?.stop(target, { seconds: 1 }, call),
        create: async () => ec2.machines.create(target, BOOT, call),
      };
      expect(await catchRejection(actions[action]())).toMatchObject({
        code: 'CREDENTIALS',
        message: `Your AWS credentials belong to the account ${OTHER_ACCOUNT}, and this machine is in ${ACCOUNT}`,
      });
      expect(mutatingCalls()).toEqual(before);
    },
  );

  test('inspect looks up the account once, however often it is called', async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    cloud.lateness = 60_000;
    const callsBefore = countCalls('DescribeSecurityGroups');
    for (let times = 0; times < 3; times += 1)
      expect(await ec2.machines.inspect(target, call)).toEqual({ state: 'missing' });
    expect(countCalls('DescribeSecurityGroups')).toBe(callsBefore);
  });

  test('remove succeeds when the VPC no longer exists', async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options(['--ec2-vpc', OWN_VPC])), call);
    await removeInstance(target, call);
    await removeInstance({ ...target, options: { ...target.options, vpc: 'vpc-gone' } }, call);
    expect(cloud.listAlive()).toEqual([]);
  });
});

test("describes what a machine may have left, with the provider's names, from its record alone", async () => {
  const options = { ...parseEc2Options(['--ec2-spot', '--ec2-profile', 'two words']), region: 'eu-central-1' };
  const target = newTarget({ ...options, account: ACCOUNT }, { host: { address: '203.0.113.7', instance: 'i-0abc' } });
  const { id } = target;
  expect(ec2.cloud.describeLeftovers(target)).toEqual({
    resources: `the instance i-0abc (203.0.113.7) with its disk, its spot request and the security group slipway-${id}, in eu-central-1 of the account ${ACCOUNT}, all with the tag slipway-id=${id}`,
    search: `To look for them, open https://eu-central-1.console.aws.amazon.com/ec2/home?region=eu-central-1#Instances:instanceId=i-0abc or run: aws ec2 describe-instances --profile 'two words' --region eu-central-1 --filters Name=tag:slipway-id,Values=${id}`,
    command: "slipway gc --ec2-profile 'two words' --ec2-region eu-central-1",
  });
  const adopted = newTarget(options, { adoptedResource: 'i-0old/key of web' });
  expect(ec2.cloud.describeLeftovers(adopted).resources).toContain(
    'i-0old with its disk, its spot request, the key pair key of web',
  );
});

describe('removing a machine', () => {
  test('deletes disks that the image would keep', async () => {
    const call = recordingCall(folder.path);
    const target = await createTarget(newTarget(parseEc2Options([])), call);
    const [volume] = cloud.volumes;
    if (!volume) throw new Error('no disk was made');
    cloud.volumes.push({ ...volume, id: 'vol-second', deleteOnTermination: false });
    await removeInstance(target, call);
    expect(mutatingCalls()).toContain('DeleteVolume');
    expect(cloud.listAlive()).toEqual([]);
  });

  test('keeps the disks of other machines of its batch', async () => {
    const call = recordingCall(folder.path);
    const [first, second] = await createPair(call);
    await removeInstance(first, call);
    expect(cloud.listAlive().map(({ kind }) => kind)).toEqual(['instance', 'disk', 'network interface', 'firewall']);
    await removeInstance(second, call);
    expect(cloud.listAlive()).toEqual([]);
  });

  test('deletes its own detached disks and interfaces, and keeps those of the batch', async () => {
    const call = recordingCall(folder.path);
    const [first, second] = await createPair(call);
    const [disk, nic] = [cloud.volumes[0], cloud.nics[0]];
    if (!disk || !nic) throw new Error('the batch has no disk or interface');
    const detached = { instance: undefined, deleteOnTermination: false };
    cloud.volumes.push(
      { ...disk, id: 'vol-own', deleteOnTermination: false },
      { ...disk, id: 'vol-loose', ...detached },
    );
    cloud.nics.push({ ...nic, id: 'eni-own', deleteOnTermination: false }, { ...nic, id: 'eni-loose', ...detached });
    cloud.volumes.push({ ...disk, id: 'vol-marked', ...detached, tags: { ...disk.tags, 'slipway-id': first.id } });
    await removeInstance(first, call);
    const remainingIds = cloud.listAlive().map(({ id }) => id);
    expect(remainingIds).toEqual(expect.arrayContaining(['vol-loose', 'eni-loose']));
    for (const deleted of ['vol-own', 'eni-own', 'vol-marked']) expect(remainingIds).not.toContain(deleted);
    await removeInstance(second, call);
    expect(cloud.listAlive()).toEqual([]);
  });

  test('keeps the spot requests of other machines of its batch', async () => {
    const call = recordingCall(folder.path);
    const [first, second] = await createPair(call, ['--ec2-spot']);
    await removeInstance(first, call);
    expect(cloud.listAlive().map(({ kind }) => kind)).toContain('spot request');
    await removeInstance(second, call);
    expect(cloud.listAlive()).toEqual([]);
  });
});

describe('gc', () => {
  test('reports regions that the account cannot use, and lists the others', async () => {
    const call = recordingCall(folder.path);
    await createTarget(newTarget(parseEc2Options([])), call);
    cloud.forbiddenRegions.add('us-east-1');
    const found = await ec2.cloud.listResources({ options: parseEc2Options([]), home: undefined }, call);
    expect(found?.map(({ kind, place }) => `${kind} in ${place}`)).toContain('instance in eu-central-1');
    expect(call.notes.join()).toMatch(/Not listed: us-east-1 \(Your AWS credentials do not allow this/);
    cloud.forbiddenRegions.add('eu-central-1');
    expect(
      (
        await catchRejection(
          ec2.cloud.listResources({ options: parseEc2Options([]), home: undefined }, call) ?? Promise.resolve(),
        )
      )?.code,
    ).toBe('CREDENTIALS');
  });

  test('skips an instance that no longer exists', async () => {
    const call = recordingCall(folder.path);
    await createTarget(newTarget(parseEc2Options([])), call);
    const found = (await ec2.cloud.listResources({ options: parseEc2Options([]), home: undefined }, call)) ?? [];
    const [instance] = found.filter(({ kind }) => kind === 'instance');
    if (!instance) throw new Error('gc found no instance');
    await ec2.cloud.deleteResources([{ ...instance, resource: 'i-0gone' }, ...found], parseEc2Options([]), call);
    expect(cloud.listAlive()).toEqual([]);
  });
});

async function removeInstance(target: Target<Ec2Options>, call: RecordingCall): Promise<void> {
  await ec2.machines.remove(target, call);
}

function liveInstances(): readonly Resource[] {
  return cloud.listAlive().filter(({ kind }) => kind === 'instance');
}

/** Expects that only resources without a cost exist. */
function expectNoCost(): void {
  expect(new Set(cloud.listAlive().map(({ kind }) => kind))).toEqual(new Set(['firewall']));
}

async function waitUntil(isDone: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await isDone()) return;
    await sleep(20);
  }
  throw new Error('the condition did not become true');
}

type RunningServer = AsyncDisposable & { readonly url: string };

async function startServer(server: Server): Promise<RunningServer> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Starts a server that accepts requests and never responds. */
async function startSilentServer(): Promise<RunningServer> {
  return await startServer(createServer(() => {}));
}

async function startAnsweringServer(status: number, body: string): Promise<RunningServer> {
  return await startServer(createServer((_, response) => response.writeHead(status).end(body)));
}
