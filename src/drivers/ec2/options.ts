import { z } from 'zod';
import type { Change } from '../contract.ts';

const CIDR = /^([0-9.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/;
const text = (): z.ZodString => z.string().min(1);
const cidrs = (): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z.array(z.string().regex(CIDR, 'a block of addresses like 198.51.100.0/24')).default([]);

/** `old` is the flag's name in the old tool, whose variables are read too. */
const also = (...old: readonly string[]): { also: readonly string[] } => ({
  also: old.map((name) => `amazonec2-${name}`),
});

const DEBIAN = { aws: '136693071363' };
const CANONICAL = { aws: '099720109477', china: '837727238323', gov: '513442679011' };
/** By architecture, since `debian-13-*` would also be those with a kernel of backports. */
const debian = (version: number): readonly string[] => [`debian-${version}-amd64-*`, `debian-${version}-arm64-*`];

/** Images known by a name: the newest of the distribution's own account, which differs by AWS's partitions. */
export const images = {
  'debian-13': { owners: DEBIAN, patterns: debian(13), user: 'admin' },
  'debian-12': { owners: DEBIAN, patterns: debian(12), user: 'admin' },
  'ubuntu-24.04': {
    owners: CANONICAL,
    patterns: ['ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-*-server-*'],
    user: 'ubuntu',
  },
  'ubuntu-22.04': {
    owners: CANONICAL,
    patterns: ['ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-*-server-*'],
    user: 'ubuntu',
  },
} as const;

export type ImageName = keyof typeof images;

export const options = z.object({
  profile: text().optional().meta({
    description: 'Profile of your AWS settings',
    ask: 'Which AWS profile?',
    env: 'AWS_PROFILE',
    value: 'name',
  }),
  region: text()
    .regex(/^[a-z0-9-]+$/, 'a region like eu-central-1')
    .optional()
    .meta({
      description: 'Region; without it that of your AWS settings',
      ask: 'Which region?',
      value: 'region',
      ...also('region'),
    }),
  zone: text()
    .regex(/^[a-z0-9-]+$/, 'a zone like eu-central-1a, or its letter')
    .optional()
    .meta({ description: 'Zone; without it AWS chooses', env: 'AWS_ZONE', value: 'zone', ...also('zone') }),
  vpc: text()
    .regex(/^vpc-[\w-]+$/, 'an id like vpc-0123')
    .optional()
    .meta({
      description: 'VPC; without it the region’s default one',
      env: 'AWS_VPC_ID',
      value: 'id',
      ...also('vpc-id'),
    }),
  subnet: text()
    .regex(/^subnet-[\w-]+$/, 'an id like subnet-0123')
    .optional()
    .meta({ description: 'Subnet', env: 'AWS_SUBNET_ID', value: 'id', ...also('subnet-id') }),
  instanceType: text()
    .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'a type like t3.small')
    .default('t3.small')
    .meta({
      description: 'Instance type',
      ask: 'Which instance type?',
      env: 'AWS_INSTANCE_TYPE',
      value: 'type',
      ...also('instance-type'),
    }),
  image: z
    .enum(Object.keys(images) as [ImageName, ...ImageName[]])
    .default('debian-13')
    .meta({
      description: 'Image, the newest one of the distribution’s own account',
      ask: 'Which image?',
    }),
  ami: text()
    .regex(/^ami-[\w-]+$/, 'an id like ami-0123')
    .optional()
    .meta({ description: 'Image by its id, instead of --ec2-image', env: 'AWS_AMI', value: 'id', ...also('ami') }),
  sshUser: text()
    .regex(/^[^\s@:-][^\s@:]*$/, 'a user name')
    .optional()
    .meta({
      description: 'User to log in as; without it the image’s own',
      env: 'AWS_SSH_USER',
      value: 'user',
      ...also('ssh-user'),
    }),
  sshPort: z
    .int()
    .min(1)
    .max(65535)
    .default(22)
    .meta({
      description: 'Port of its SSH server',
      env: 'AWS_SSH_PORT',
      value: 'port',
      ...also('ssh-port'),
    }),
  keypairName: text()
    .optional()
    .meta({
      description: 'Key pair of EC2 that may log in, with --ec2-ssh-key; without it a key of the machine’s own',
      env: 'AWS_KEYPAIR_NAME',
      value: 'name',
      ...also('keypair-name'),
    }),
  sshKey: text()
    .optional()
    .meta({
      description: 'Private key of that key pair',
      env: 'AWS_SSH_KEYPATH',
      value: 'file',
      ...also('ssh-keypath'),
    }),
  allowCidr: cidrs().meta({
    description: 'Who may connect to SSH and the engine, instead of your present address alone',
    value: 'cidr',
  }),
  openPort: z
    .array(z.string().regex(/^\d{1,5}(\/(tcp|udp))?$/, 'a port like 8080 or 53/udp'))
    .default([])
    .meta({ description: 'Further port, open to the whole internet', value: 'port', ...also('open-port') }),
  securityGroup: z
    .array(text())
    .default([])
    .meta({
      description: 'Security group of yours (name or id) to be in besides; its rules are left alone',
      env: 'AWS_SECURITY_GROUP',
      value: 'group',
      ...also('security-group'),
    }),
  securityGroupReadonly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Make no security group: those of --ec2-security-group must let you in',
      env: 'AWS_SECURITY_GROUP_READONLY',
      ...also('security-group-readonly'),
    }),
  rootSize: z
    .int()
    .min(8)
    .max(65536)
    .default(16)
    .meta({
      description: 'Root disk in GiB',
      env: 'AWS_ROOT_SIZE',
      value: 'gib',
      ...also('root-size'),
    }),
  volumeType: z
    .enum(['gp3', 'gp2', 'io1', 'io2', 'st1', 'sc1', 'standard'])
    .default('gp3')
    .meta({ description: 'Kind of root disk', env: 'AWS_VOLUME_TYPE', ...also('volume-type') }),
  volumeIops: z.int().min(100).optional().meta({ description: 'IOPS of the root disk', value: 'number' }),
  volumeThroughput: z.int().min(125).optional().meta({ description: 'MiB/s of a gp3 root disk', value: 'number' }),
  volumeEncrypted: z
    .boolean()
    .default(false)
    .meta({ description: 'Encrypt the root disk', ...also('volume-encrypted') }),
  volumeKmsKey: text()
    .optional()
    .meta({
      description: 'KMS key to encrypt it with',
      value: 'key',
      ...also('volume-kms-key'),
    }),
  deviceName: text()
    .optional()
    .meta({
      description: 'Device name of the root disk; without it the image’s own',
      env: 'AWS_DEVICE_NAME',
      value: 'name',
      ...also('device-name'),
    }),
  metadataTokens: z
    .enum(['required', 'optional'])
    .default('required')
    .meta({ description: 'IMDSv2 tokens', ...also('metadata-token') }),
  metadataHops: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .meta({
      description: 'Network hops that the metadata service answers within: 1 keeps containers from it',
      value: 'number',
      ...also('metadata-token-response-hop-limit'),
    }),
  iamInstanceProfile: text()
    .optional()
    .meta({
      description: 'IAM instance profile, by name or ARN',
      env: 'AWS_INSTANCE_PROFILE',
      value: 'profile',
      ...also('iam-instance-profile'),
    }),
  tags: z
    .array(
      z
        .string()
        // A variable is split at its commas: words of the old form come one by one, and are judged together.
        .regex(/^([^=,]+=[^,]*|[^=]*)$/, 'a tag like key=value, or a list key1,value1,key2,value2'),
    )
    .default([])
    .meta({ description: 'Further tag, key=value', env: 'AWS_TAGS', value: 'tag', ...also('tags') }),
  privateAddressOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Give it no public address',
      ...also('private-address-only'),
    }),
  usePrivateAddress: z
    .boolean()
    .default(false)
    .meta({
      description: 'Reach it by its private address',
      ...also('use-private-address'),
    }),
  spot: z
    .boolean()
    .default(false)
    .meta({
      description: 'A spot instance: cheaper, ended when AWS wants it, can’t be stopped',
      ...also('request-spot-instance'),
    }),
  spotPrice: z
    .string()
    .regex(/^\d+(\.\d+)?$/, 'a price in dollars an hour like 0.05')
    .optional()
    .meta({
      description: 'Most that a spot instance may cost an hour; without it the on-demand price',
      value: 'dollars',
      ...also('spot-price'),
    }),
  userData: text()
    .optional()
    .meta({
      description: 'User data of yours, merged with ours: a script, cloud-config or MIME archive',
      env: 'AWS_USERDATA',
      value: 'file',
      ...also('userdata'),
    }),
  ebsOptimized: z
    .boolean()
    .default(false)
    .meta({ description: 'EBS-optimised', ...also('use-ebs-optimized-instance') }),
  monitoring: z
    .boolean()
    .default(false)
    .meta({ description: 'Detailed CloudWatch monitoring', ...also('monitoring') }),
  cpuCredits: z.enum(['standard', 'unlimited']).optional().meta({ description: 'CPU credits of T types' }),
  tenancy: z.enum(['default', 'dedicated', 'host']).optional().meta({ description: 'Tenancy' }),
  placementGroup: text().optional().meta({ description: 'Placement group', value: 'name' }),
  account: z
    .string()
    .regex(/^\d{12}$/, 'an account number of 12 digits')
    .optional()
    .meta({ description: 'Account to insist on; kept from the first call on', value: 'number' }),
  endpoint: text()
    .optional()
    .meta({
      description: 'Endpoint, instead of that of your AWS settings',
      env: 'AWS_ENDPOINT',
      value: 'url',
      ...also('endpoint'),
    }),
  insecureTransport: z
    .boolean()
    .default(false)
    .meta({
      description: 'Speak plain HTTP to that endpoint',
      env: 'AWS_INSECURE_TRANSPORT',
      ...also('insecure-transport'),
    }),
  retries: z
    .int()
    .min(-1)
    .max(50)
    .default(8)
    .meta({
      description: 'Tries of a call that fails in passing; -1 for one try',
      value: 'number',
      ...also('retries'),
    }),
  blockDurationMinutes: z
    .int()
    .min(0)
    .optional()
    .meta({
      description: 'Without effect: AWS no longer sells spot blocks',
      value: 'minutes',
      ...also('block-duration-minutes'),
    }),
});

export type Options = z.output<typeof options>;

/** These direct this program alone, or are carried over by `change`. */
const LIVE: ReadonlySet<string> = new Set([
  'tags',
  'allowCidr',
  'usePrivateAddress',
  'profile',
  'account',
  'endpoint',
  'insecureTransport',
  'retries',
  'blockDurationMinutes',
]);

export function changeOf(option: string, from: unknown, to: unknown): Change {
  if (option === 'instanceType') return 'restart';
  // A disk of EC2 grows and never shrinks.
  if (option === 'rootSize') return Number(to) > Number(from) ? 'restart' : 'replace';
  return LIVE.has(option) ? 'live' : 'replace';
}

const CHAIN = { value: 'text' };

/** As old scripts give them; for one run. */
export const credentials = z.object({
  accessKey: text()
    .optional()
    .meta({ flag: 'amazonec2-access-key', env: 'AWS_ACCESS_KEY_ID', description: 'Access key', ...CHAIN }),
  secretKey: text()
    .optional()
    .meta({ flag: 'amazonec2-secret-key', env: 'AWS_SECRET_ACCESS_KEY', description: 'Secret key', ...CHAIN }),
  sessionToken: text()
    .optional()
    .meta({ flag: 'amazonec2-session-token', env: 'AWS_SESSION_TOKEN', description: 'Session token', ...CHAIN }),
});
