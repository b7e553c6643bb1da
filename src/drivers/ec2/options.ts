import { z } from 'zod';
import type { OptionChange } from '../contract.ts';

const CIDR_PATTERN = /^([0-9.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/;
const nonEmptyString = (): z.ZodString => z.string().min(1);
const cidrList = (): z.ZodDefault<z.ZodArray<z.ZodString>> =>
  z.array(z.string().regex(CIDR_PATTERN, 'a block of addresses like 198.51.100.0/24')).default([]);

/** `old` is the flag's name in the old tool, whose variables are read too. */
const dockerMachineAliases = (...old: readonly string[]): { also: readonly string[] } => ({
  also: old.map((name) => `amazonec2-${name}`),
});

const DEBIAN_ACCOUNTS = { aws: '136693071363' };
const CANONICAL_ACCOUNTS = { aws: '099720109477', china: '837727238323', gov: '513442679011' };
/** By architecture, since `debian-13-*` would also be those with a kernel of backports. */
const debianImagePatterns = (version: number): readonly string[] => [
  `debian-${version}-amd64-*`,
  `debian-${version}-arm64-*`,
];

/** Images known by a name: the newest of the distribution's own account, which differs by AWS's partitions. */
export const imageCatalog = {
  'debian-13': { owners: DEBIAN_ACCOUNTS, patterns: debianImagePatterns(13), user: 'admin' },
  'debian-12': { owners: DEBIAN_ACCOUNTS, patterns: debianImagePatterns(12), user: 'admin' },
  'ubuntu-24.04': {
    owners: CANONICAL_ACCOUNTS,
    patterns: ['ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-*-server-*'],
    user: 'ubuntu',
  },
  'ubuntu-22.04': {
    owners: CANONICAL_ACCOUNTS,
    patterns: ['ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-*-server-*'],
    user: 'ubuntu',
  },
} as const;

export type Ec2ImageName = keyof typeof imageCatalog;

export const optionsSchema = z.object({
  profile: nonEmptyString().optional().meta({
    description: 'Profile of your AWS settings',
    ask: 'Which AWS profile?',
    env: 'AWS_PROFILE',
    value: 'name',
  }),
  region: nonEmptyString()
    .regex(/^[a-z0-9-]+$/, 'a region like eu-central-1')
    .optional()
    .meta({
      description: 'Region; without it that of your AWS settings',
      ask: 'Which region?',
      value: 'region',
      ...dockerMachineAliases('region'),
    }),
  zone: nonEmptyString()
    .regex(/^[a-z0-9-]+$/, 'a zone like eu-central-1a, or its letter')
    .optional()
    .meta({
      description: 'Zone; without it AWS chooses',
      env: 'AWS_ZONE',
      value: 'zone',
      ...dockerMachineAliases('zone'),
    }),
  vpc: nonEmptyString()
    .regex(/^vpc-[\w-]+$/, 'an id like vpc-0123')
    .optional()
    .meta({
      description: "VPC; without it the region's default one",
      env: 'AWS_VPC_ID',
      value: 'id',
      ...dockerMachineAliases('vpc-id'),
    }),
  subnet: nonEmptyString()
    .regex(/^subnet-[\w-]+$/, 'an id like subnet-0123')
    .optional()
    .meta({ description: 'Subnet', env: 'AWS_SUBNET_ID', value: 'id', ...dockerMachineAliases('subnet-id') }),
  instanceType: nonEmptyString()
    .regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'a type like t3.small')
    .default('t3.small')
    .meta({
      description: 'Instance type',
      ask: 'Which instance type?',
      env: 'AWS_INSTANCE_TYPE',
      value: 'type',
      ...dockerMachineAliases('instance-type'),
    }),
  image: z
    .enum(Object.keys(imageCatalog) as [Ec2ImageName, ...Ec2ImageName[]])
    .default('debian-13')
    .meta({
      description: "Image, the newest one of the distribution's own account",
      ask: 'Which image?',
    }),
  ami: nonEmptyString()
    .regex(/^ami-[\w-]+$/, 'an id like ami-0123')
    .optional()
    .meta({
      description: 'Image by its id, instead of --ec2-image',
      env: 'AWS_AMI',
      value: 'id',
      ...dockerMachineAliases('ami'),
    }),
  sshUser: nonEmptyString()
    .regex(/^[^\s@:-][^\s@:]*$/, 'a user name')
    .optional()
    .meta({
      description: "User to log in as; without it the image's own",
      env: 'AWS_SSH_USER',
      value: 'user',
      ...dockerMachineAliases('ssh-user'),
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
      ...dockerMachineAliases('ssh-port'),
    }),
  keypairName: nonEmptyString()
    .optional()
    .meta({
      description: "Key pair of EC2 that may log in, with --ec2-ssh-key; without it a key of the machine's own",
      env: 'AWS_KEYPAIR_NAME',
      value: 'name',
      ...dockerMachineAliases('keypair-name'),
    }),
  sshKey: nonEmptyString()
    .optional()
    .meta({
      description: 'Private key of that key pair',
      env: 'AWS_SSH_KEYPATH',
      value: 'file',
      ...dockerMachineAliases('ssh-keypath'),
    }),
  allowCidr: cidrList().meta({
    description: 'Who may connect to SSH and the engine, instead of your present address alone',
    value: 'cidr',
  }),
  openPort: z
    .array(z.string().regex(/^\d{1,5}(\/(tcp|udp))?$/, 'a port like 8080 or 53/udp'))
    .default([])
    .meta({
      description: 'Further port, open to the whole internet',
      value: 'port',
      ...dockerMachineAliases('open-port'),
    }),
  securityGroup: z
    .array(nonEmptyString())
    .default([])
    .meta({
      description: 'Security group of yours (name or id) to be in besides; its rules are left alone',
      env: 'AWS_SECURITY_GROUP',
      value: 'group',
      ...dockerMachineAliases('security-group'),
    }),
  securityGroupReadonly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Make no security group: those of --ec2-security-group must let you in',
      env: 'AWS_SECURITY_GROUP_READONLY',
      ...dockerMachineAliases('security-group-readonly'),
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
      ...dockerMachineAliases('root-size'),
    }),
  volumeType: z
    .enum(['gp3', 'gp2', 'io1', 'io2', 'st1', 'sc1', 'standard'])
    .default('gp3')
    .meta({ description: 'Kind of root disk', env: 'AWS_VOLUME_TYPE', ...dockerMachineAliases('volume-type') }),
  volumeIops: z.int().min(100).optional().meta({ description: 'IOPS of the root disk', value: 'number' }),
  volumeThroughput: z.int().min(125).optional().meta({ description: 'MiB/s of a gp3 root disk', value: 'number' }),
  volumeEncrypted: z
    .boolean()
    .default(false)
    .meta({ description: 'Encrypt the root disk', ...dockerMachineAliases('volume-encrypted') }),
  volumeKmsKey: nonEmptyString()
    .optional()
    .meta({
      description: 'KMS key to encrypt it with',
      value: 'key',
      ...dockerMachineAliases('volume-kms-key'),
    }),
  deviceName: nonEmptyString()
    .optional()
    .meta({
      description: "Device name of the root disk; without it the image's own",
      env: 'AWS_DEVICE_NAME',
      value: 'name',
      ...dockerMachineAliases('device-name'),
    }),
  metadataTokens: z
    .enum(['required', 'optional'])
    .default('required')
    .meta({ description: 'IMDSv2 tokens', ...dockerMachineAliases('metadata-token') }),
  metadataHops: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .meta({
      description: 'Network hops that the metadata service answers within: 1 keeps containers from it',
      value: 'number',
      ...dockerMachineAliases('metadata-token-response-hop-limit'),
    }),
  iamInstanceProfile: nonEmptyString()
    .optional()
    .meta({
      description: 'IAM instance profile, by name or ARN',
      env: 'AWS_INSTANCE_PROFILE',
      value: 'profile',
      ...dockerMachineAliases('iam-instance-profile'),
    }),
  tags: z
    .array(
      z
        .string()
        // A variable is split at its commas: words of the old form come one by one, and are judged together.
        .regex(/^([^=,]+=[^,]*|[^=]*)$/, 'a tag like key=value, or a list key1,value1,key2,value2'),
    )
    .default([])
    .meta({ description: 'Further tag, key=value', env: 'AWS_TAGS', value: 'tag', ...dockerMachineAliases('tags') }),
  privateAddressOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Give it no public address',
      ...dockerMachineAliases('private-address-only'),
    }),
  usePrivateAddress: z
    .boolean()
    .default(false)
    .meta({
      description: 'Reach it by its private address',
      ...dockerMachineAliases('use-private-address'),
    }),
  spot: z
    .boolean()
    .default(false)
    .meta({
      description: "A spot instance: cheaper, ended when AWS wants it, can't be stopped",
      ...dockerMachineAliases('request-spot-instance'),
    }),
  spotPrice: z
    .string()
    .regex(/^\d+(\.\d+)?$/, 'a price in dollars an hour like 0.05')
    .optional()
    .meta({
      description: 'Most that a spot instance may cost an hour; without it the on-demand price',
      value: 'dollars',
      ...dockerMachineAliases('spot-price'),
    }),
  userData: nonEmptyString()
    .optional()
    .meta({
      description: 'User data of yours, merged with ours: a script, cloud-config or MIME archive',
      env: 'AWS_USERDATA',
      value: 'file',
      ...dockerMachineAliases('userdata'),
    }),
  ebsOptimized: z
    .boolean()
    .default(false)
    .meta({ description: 'EBS-optimised', ...dockerMachineAliases('use-ebs-optimized-instance') }),
  monitoring: z
    .boolean()
    .default(false)
    .meta({ description: 'Detailed CloudWatch monitoring', ...dockerMachineAliases('monitoring') }),
  cpuCredits: z.enum(['standard', 'unlimited']).optional().meta({ description: 'CPU credits of T types' }),
  tenancy: z.enum(['default', 'dedicated', 'host']).optional().meta({ description: 'Tenancy' }),
  placementGroup: nonEmptyString().optional().meta({ description: 'Placement group', value: 'name' }),
  account: z
    .string()
    .regex(/^\d{12}$/, 'an account number of 12 digits')
    .optional()
    .meta({ description: 'Account to insist on; kept from the first call on', value: 'number' }),
  endpoint: nonEmptyString()
    .optional()
    .meta({
      description: 'Endpoint, instead of that of your AWS settings',
      env: 'AWS_ENDPOINT',
      value: 'url',
      ...dockerMachineAliases('endpoint'),
    }),
  insecureTransport: z
    .boolean()
    .default(false)
    .meta({
      description: 'Speak plain HTTP to that endpoint',
      env: 'AWS_INSECURE_TRANSPORT',
      ...dockerMachineAliases('insecure-transport'),
    }),
  retries: z
    .int()
    .min(-1)
    .max(50)
    .default(8)
    .meta({
      description: 'Tries of a call that fails in passing; -1 for one try',
      value: 'number',
      ...dockerMachineAliases('retries'),
    }),
  blockDurationMinutes: z
    .int()
    .min(0)
    .optional()
    .meta({
      description: 'Without effect: AWS no longer sells spot blocks',
      value: 'minutes',
      ...dockerMachineAliases('block-duration-minutes'),
    }),
});

export type Ec2Options = z.output<typeof optionsSchema>;

/** These direct this program alone, or are carried over by `change`. */
const LIVE_OPTIONS: ReadonlySet<string> = new Set([
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

export function changeKindOf(option: string, from: unknown, to: unknown): OptionChange {
  if (option === 'instanceType') return 'restart';
  // A disk of EC2 grows and never shrinks.
  if (option === 'rootSize') return Number(to) > Number(from) ? 'restart' : 'replace';
  return LIVE_OPTIONS.has(option) ? 'live' : 'replace';
}

const TEXT_VALUE = { value: 'text' };

/** As old scripts give them; for one run. */
export const credentialsSchema = z.object({
  accessKey: nonEmptyString()
    .optional()
    .meta({ flag: 'amazonec2-access-key', env: 'AWS_ACCESS_KEY_ID', description: 'Access key', ...TEXT_VALUE }),
  secretKey: nonEmptyString()
    .optional()
    .meta({ flag: 'amazonec2-secret-key', env: 'AWS_SECRET_ACCESS_KEY', description: 'Secret key', ...TEXT_VALUE }),
  sessionToken: nonEmptyString()
    .optional()
    .meta({ flag: 'amazonec2-session-token', env: 'AWS_SESSION_TOKEN', description: 'Session token', ...TEXT_VALUE }),
});
