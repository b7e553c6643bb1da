import { z } from 'zod';
import { allowCidrOption, dockerMachineAliasesOf, nonEmptyString, openPortOption } from '../cloud/options.ts';
import { changeKindsOf } from '../cloud/option-changes.ts';

const dockerMachineAliases = dockerMachineAliasesOf('amazonec2');

const DEBIAN_ACCOUNTS = { aws: '136693071363' };
const CANONICAL_ACCOUNTS = { aws: '099720109477', china: '837727238323', gov: '513442679011' };
/** One pattern for each architecture, since `debian-13-*` would also find images with a backports kernel. */
const debianImagePatterns = (version: number): readonly string[] => [
  `debian-${version}-amd64-*`,
  `debian-${version}-arm64-*`,
];

/** Images by name. Slipway uses the newest of the distribution's own account, which differs between AWS partitions. */
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
    description: 'Profile in your AWS settings',
    ask: 'Which AWS profile?',
    env: 'AWS_PROFILE',
    value: 'name',
  }),
  region: nonEmptyString()
    .regex(/^[a-z0-9-]+$/, 'a region like eu-central-1')
    .optional()
    .meta({
      description: 'Region; default: the one of your AWS settings',
      ask: 'Which region?',
      value: 'region',
      ...dockerMachineAliases('region'),
    }),
  zone: nonEmptyString()
    .regex(/^[a-z0-9-]+$/, 'a zone like eu-central-1a, or its letter')
    .optional()
    .meta({
      description: 'Availability zone; default: AWS chooses',
      env: 'AWS_ZONE',
      value: 'zone',
      ...dockerMachineAliases('zone'),
    }),
  vpc: nonEmptyString()
    .regex(/^vpc-[\w-]+$/, 'an ID like vpc-0123')
    .optional()
    .meta({
      description: "VPC; default: the region's default VPC",
      env: 'AWS_VPC_ID',
      value: 'id',
      ...dockerMachineAliases('vpc-id'),
    }),
  subnet: nonEmptyString()
    .regex(/^subnet-[\w-]+$/, 'an ID like subnet-0123')
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
      description: 'Image, in the newest version that the distribution publishes',
      ask: 'Which image?',
    }),
  ami: nonEmptyString()
    .regex(/^ami-[\w-]+$/, 'an ID like ami-0123')
    .optional()
    .meta({
      description: 'Image by ID, instead of --ec2-image',
      env: 'AWS_AMI',
      value: 'id',
      ...dockerMachineAliases('ami'),
    }),
  sshUser: nonEmptyString()
    .regex(/^[^\s@:-][^\s@:]*$/, 'a user name')
    .optional()
    .meta({
      description: "User to log in as; default: the image's own user",
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
      description: 'Port of the SSH server',
      env: 'AWS_SSH_PORT',
      value: 'port',
      ...dockerMachineAliases('ssh-port'),
    }),
  keypairName: nonEmptyString()
    .optional()
    .meta({
      description: 'EC2 key pair that may log in, with --ec2-ssh-key; default: Slipway creates a key for the machine',
      env: 'AWS_KEYPAIR_NAME',
      value: 'name',
      ...dockerMachineAliases('keypair-name'),
    }),
  sshKey: nonEmptyString()
    .optional()
    .meta({
      description: 'Private key of the key pair',
      env: 'AWS_SSH_KEYPATH',
      value: 'file',
      ...dockerMachineAliases('ssh-keypath'),
    }),
  allowCidr: allowCidrOption(),
  openPort: openPortOption(dockerMachineAliases),
  securityGroup: z
    .array(nonEmptyString())
    .default([])
    .meta({
      description: 'Additional security group of yours (name or ID); Slipway does not change its rules',
      env: 'AWS_SECURITY_GROUP',
      value: 'group',
      ...dockerMachineAliases('security-group'),
    }),
  securityGroupReadonly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Create no security group: those of --ec2-security-group must allow your address',
      env: 'AWS_SECURITY_GROUP_READONLY',
      ...dockerMachineAliases('security-group-readonly'),
    }),
  rootSize: z
    .int()
    .min(8)
    .max(65536)
    .default(16)
    .meta({
      description: 'Size of the root disk in GiB',
      env: 'AWS_ROOT_SIZE',
      value: 'gib',
      ...dockerMachineAliases('root-size'),
    }),
  volumeType: z
    .enum(['gp3', 'gp2', 'io1', 'io2', 'st1', 'sc1', 'standard'])
    .default('gp3')
    .meta({ description: 'Type of the root disk', env: 'AWS_VOLUME_TYPE', ...dockerMachineAliases('volume-type') }),
  volumeIops: z.int().min(100).optional().meta({ description: 'IOPS of the root disk', value: 'number' }),
  volumeThroughput: z
    .int()
    .min(125)
    .optional()
    .meta({ description: 'Throughput of a gp3 root disk in MiB/s', value: 'number' }),
  volumeEncrypted: z
    .boolean()
    .default(false)
    .meta({ description: 'Encrypt the root disk', ...dockerMachineAliases('volume-encrypted') }),
  volumeKmsKey: nonEmptyString()
    .optional()
    .meta({
      description: 'KMS key that encrypts the root disk',
      value: 'key',
      ...dockerMachineAliases('volume-kms-key'),
    }),
  deviceName: nonEmptyString()
    .optional()
    .meta({
      description: "Device name of the root disk; default: the image's own",
      env: 'AWS_DEVICE_NAME',
      value: 'name',
      ...dockerMachineAliases('device-name'),
    }),
  metadataTokens: z
    .enum(['required', 'optional'])
    .default('required')
    .meta({
      description: 'Whether the metadata service requires IMDSv2 tokens',
      ...dockerMachineAliases('metadata-token'),
    }),
  metadataHops: z
    .int()
    .min(1)
    .max(64)
    .default(1)
    .meta({
      description: 'Network hops to the metadata service; 1 keeps containers away from it',
      value: 'number',
      ...dockerMachineAliases('metadata-token-response-hop-limit'),
    }),
  iamInstanceProfile: nonEmptyString()
    .optional()
    .meta({
      description: 'IAM instance profile (name or ARN)',
      env: 'AWS_INSTANCE_PROFILE',
      value: 'profile',
      ...dockerMachineAliases('iam-instance-profile'),
    }),
  tags: z
    .array(
      z
        .string()
        // An environment variable is split at its commas: `parseTags` checks the words of docker-machine's form
        // together.
        .regex(/^([^=,]+=[^,]*|[^=]*)$/, 'a tag like key=value, or a list key1,value1,key2,value2'),
    )
    .default([])
    .meta({ description: 'Additional tag, key=value', env: 'AWS_TAGS', value: 'tag', ...dockerMachineAliases('tags') }),
  privateAddressOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Create the machine without a public address',
      ...dockerMachineAliases('private-address-only'),
    }),
  usePrivateAddress: z
    .boolean()
    .default(false)
    .meta({
      description: 'Connect to the private address',
      ...dockerMachineAliases('use-private-address'),
    }),
  ipv6: z
    .boolean()
    .optional()
    .meta({ description: 'Give the machine an IPv6 address, too; default: only if this computer has no IPv4' }),
  spot: z
    .boolean()
    .default(false)
    .meta({
      description: "Spot instance: cheaper; AWS may terminate it at any time, and it can't be stopped",
      ...dockerMachineAliases('request-spot-instance'),
    }),
  spotPrice: z
    .string()
    .regex(/^\d+(\.\d+)?$/, 'a price in dollars an hour like 0.05')
    .optional()
    .meta({
      description: 'Maximum price of a spot instance in dollars an hour; default: the on-demand price',
      value: 'dollars',
      ...dockerMachineAliases('spot-price'),
    }),
  userData: nonEmptyString()
    .optional()
    .meta({
      description: "Your user data (a script, cloud-config or MIME archive), merged with Slipway's own",
      env: 'AWS_USERDATA',
      value: 'file',
      ...dockerMachineAliases('userdata'),
    }),
  ebsOptimized: z
    .boolean()
    .default(false)
    .meta({ description: 'EBS-optimized instance', ...dockerMachineAliases('use-ebs-optimized-instance') }),
  monitoring: z
    .boolean()
    .default(false)
    .meta({ description: 'Detailed CloudWatch monitoring', ...dockerMachineAliases('monitoring') }),
  cpuCredits: z.enum(['standard', 'unlimited']).optional().meta({ description: 'CPU credits of T instance types' }),
  tenancy: z.enum(['default', 'dedicated', 'host']).optional().meta({ description: 'Tenancy of the instance' }),
  placementGroup: nonEmptyString().optional().meta({ description: 'Placement group', value: 'name' }),
  account: z
    .string()
    .regex(/^\d{12}$/, 'an account number of 12 digits')
    .optional()
    .meta({ description: 'Required AWS account; recorded at creation', value: 'number' }),
  endpoint: nonEmptyString()
    .refine((url) => !/^([^/]*:\/\/)?[^/]*@/.test(url), 'a URL without a login')
    .optional()
    .meta({
      description: 'Endpoint; default: the one of your AWS settings',
      env: 'AWS_ENDPOINT',
      value: 'url',
      ...dockerMachineAliases('endpoint'),
    }),
  insecureTransport: z
    .boolean()
    .default(false)
    .meta({
      description: 'Use plain HTTP for the endpoint',
      env: 'AWS_INSECURE_TRANSPORT',
      ...dockerMachineAliases('insecure-transport'),
    }),
  retries: z
    .int()
    .min(-1)
    .max(50)
    .default(8)
    .meta({
      description: 'Attempts for a request that fails temporarily; -1 for a single attempt',
      value: 'number',
      ...dockerMachineAliases('retries'),
    }),
  blockDurationMinutes: z
    .int()
    .min(0)
    .optional()
    .meta({
      description: 'No effect: AWS no longer offers spot blocks',
      value: 'minutes',
      ...dockerMachineAliases('block-duration-minutes'),
    }),
});

export type Ec2Options = z.output<typeof optionsSchema>;

export const changeKindOf = changeKindsOf({
  typeOption: 'instanceType',
  diskSizeOption: 'rootSize',
  liveOptions: [
    'tags',
    'allowCidr',
    'usePrivateAddress',
    'profile',
    'account',
    'endpoint',
    'insecureTransport',
    'retries',
    'blockDurationMinutes',
  ],
});

const TEXT_VALUE = { value: 'text' };

/** Credentials as flags, as scripts for docker-machine pass them; they apply to one run. */
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
