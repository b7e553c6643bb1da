import { z } from 'zod';
import type { OptionChange } from '../contract.ts';

const CIDR_PATTERN = /^([0-9.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/;
const nonEmptyString = (): z.ZodString => z.string().min(1);
const resourceNameOrPath = (what: string): z.ZodString => z.string().regex(/^[a-z0-9][\w.:/-]*$/, what);

/** `old` is the flag's name in the old tool, whose variables are read too. */
const dockerMachineAliases = (...old: readonly string[]): { also: readonly string[] } => ({
  also: old.map((name) => `google-${name}`),
});

export const optionsSchema = z.object({
  project: resourceNameOrPath('a project id like my-project-42')
    .optional()
    .meta({
      description: 'Project; without it that of your gcloud settings or credentials',
      env: 'GOOGLE_PROJECT',
      value: 'project',
      ...dockerMachineAliases('project'),
    }),
  zone: resourceNameOrPath('a zone like europe-west3-a')
    .default('us-central1-a')
    .meta({
      description: 'Zone',
      ask: 'Which zone?',
      env: 'GOOGLE_ZONE',
      value: 'zone',
      ...dockerMachineAliases('zone'),
    }),
  machineType: resourceNameOrPath('a type like e2-medium')
    .default('e2-medium')
    .meta({
      description: 'Machine type',
      ask: 'Which machine type?',
      env: 'GOOGLE_MACHINE_TYPE',
      value: 'type',
      ...dockerMachineAliases('machine-type'),
    }),
  imageFamily: resourceNameOrPath('an image family like debian-13').default('debian-13').meta({
    description: 'Image, the newest of a family',
    ask: 'Which image?',
    value: 'family',
  }),
  imageProject: resourceNameOrPath('a project like debian-cloud').default('debian-cloud').meta({
    description: 'Project that has the family',
    value: 'project',
  }),
  machineImage: resourceNameOrPath('an image like debian-cloud/global/images/debian-13-… or …/images/family/debian-13')
    .optional()
    .meta({
      description: 'Image by its path or URL, instead of a family',
      env: 'GOOGLE_MACHINE_IMAGE',
      value: 'image',
      ...dockerMachineAliases('machine-image'),
    }),
  diskSize: z
    .int()
    .min(10)
    .max(65536)
    .default(20)
    .meta({
      description: 'Boot disk in GB',
      env: 'GOOGLE_DISK_SIZE',
      value: 'gb',
      ...dockerMachineAliases('disk-size'),
    }),
  diskType: resourceNameOrPath('a kind of disk like pd-balanced')
    .default('pd-balanced')
    .meta({
      description: 'Kind of boot disk',
      env: 'GOOGLE_DISK_TYPE',
      value: 'type',
      ...dockerMachineAliases('disk-type'),
    }),
  network: resourceNameOrPath('a network')
    .default('default')
    .meta({
      description: 'Network',
      env: 'GOOGLE_NETWORK',
      value: 'network',
      ...dockerMachineAliases('network'),
    }),
  subnetwork: resourceNameOrPath('a subnetwork')
    .optional()
    .meta({
      description: 'Subnetwork, by name or path',
      env: 'GOOGLE_SUBNETWORK',
      value: 'subnetwork',
      ...dockerMachineAliases('subnetwork'),
    }),
  tags: z
    .array(z.string().regex(/^[a-z]([a-z0-9-]*[a-z0-9])?(,[a-z]([a-z0-9-]*[a-z0-9])?)*$/, 'a network tag like web'))
    .default([])
    .meta({ description: 'Network tag', env: 'GOOGLE_TAGS', value: 'tag', ...dockerMachineAliases('tags') }),
  labels: z
    .array(z.string().regex(/^[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}$/, 'a label like team=web, in lower case'))
    .default([])
    .meta({ description: 'Further label', value: 'key=value' }),
  serviceAccount: nonEmptyString()
    .optional()
    .meta({
      description: "Service account of the machine; without it none, and its processes can't act in your project",
      env: 'GOOGLE_SERVICE_ACCOUNT',
      value: 'email',
      ...dockerMachineAliases('service-account'),
    }),
  scopes: z
    .array(nonEmptyString())
    .default([])
    .meta({
      description: 'Scope of that account, instead of cloud-platform',
      env: 'GOOGLE_SCOPES',
      value: 'url',
      ...dockerMachineAliases('scopes'),
    }),
  preemptible: z
    .boolean()
    .default(false)
    .meta({
      description: 'A preemptible machine, of the old kind: ends within a day',
      env: 'GOOGLE_PREEMPTIBLE',
      ...dockerMachineAliases('preemptible'),
    }),
  spot: z.boolean().default(false).meta({ description: 'A spot machine: cheaper, stopped when Google wants it' }),
  accelerator: z
    .string()
    .regex(/^type=[\w-]+(,count=\d+)?$|^count=\d+,type=[\w-]+$/, 'an accelerator like type=nvidia-tesla-t4,count=1')
    .optional()
    .meta({ description: 'Accelerator', value: 'type', ...dockerMachineAliases('accelerator') }),
  maintenancePolicy: z
    .enum(['MIGRATE', 'TERMINATE'])
    .optional()
    .meta({
      description: 'What becomes of it when its computer is maintained',
      ...dockerMachineAliases('maintenance-policy'),
    }),
  minCpuPlatform: nonEmptyString()
    .optional()
    .meta({
      description: 'Least CPU platform, such as Intel Ice Lake',
      value: 'platform',
      ...dockerMachineAliases('min-cpu-platform'),
    }),
  address: resourceNameOrPath('none, static, or the name or IP of a static address of yours')
    .optional()
    .meta({
      description: 'Address: none, static (one that stays, made with the machine), or one that you have',
      env: 'GOOGLE_ADDRESS',
      value: 'address',
      ...dockerMachineAliases('address'),
    }),
  useInternalIp: z
    .boolean()
    .default(false)
    .meta({
      description: 'Reach it by its internal address',
      env: 'GOOGLE_USE_INTERNAL_IP',
      ...dockerMachineAliases('use-internal-ip'),
    }),
  useInternalIpOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Give it no external address',
      env: 'GOOGLE_USE_INTERNAL_IP_ONLY',
      ...dockerMachineAliases('use-internal-ip-only'),
    }),
  metadata: z
    .array(z.string().regex(/^[\w-]+=/, 'an item like key=value'))
    .default([])
    .meta({ description: 'Further metadata', value: 'key=value', ...dockerMachineAliases('metadata') }),
  startupScript: nonEmptyString().optional().meta({
    description: 'Startup script of yours, run at each boot after ours',
    value: 'file',
  }),
  openPort: z
    .array(z.string().regex(/^\d{1,5}(\/(tcp|udp))?$/, 'a port like 8080 or 53/udp'))
    .default([])
    .meta({
      description: 'Further port, open to the whole internet',
      value: 'port',
      ...dockerMachineAliases('open-port'),
    }),
  allowCidr: z.array(z.string().regex(CIDR_PATTERN, 'a block of addresses like 198.51.100.0/24')).default([]).meta({
    description: 'Who may connect to SSH and the engine, instead of your present address alone',
    value: 'cidr',
  }),
  sshUser: nonEmptyString()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'a user name')
    .default('slipway')
    .meta({
      description: 'User to log in as',
      env: 'GOOGLE_USERNAME',
      value: 'user',
      ...dockerMachineAliases('username'),
    }),
  sshKey: nonEmptyString()
    .optional()
    .meta({ description: 'Private key that may log in, with --gce-os-login', value: 'file' }),
  osLogin: z.boolean().default(false).meta({
    description: 'Log in by OS Login, as the user and with the key of your own profile',
  }),
  useExisting: z
    .boolean()
    .default(false)
    .meta({
      description: "Use the instance that has the machine's name; it is never removed",
      env: 'GOOGLE_USE_EXISTING',
      ...dockerMachineAliases('use-existing'),
    }),
  hostKey: z
    .string()
    .regex(
      /^(SHA256:[A-Za-z0-9+/]{43}=?|(ssh-|ecdsa-)[\w-]+ [A-Za-z0-9+/]+=*( .*)?)$/,
      'a fingerprint like SHA256:… or a public key',
    )
    .optional()
    .meta({ description: 'Host key of an existing instance, if it publishes none', value: 'key' }),
  secureBoot: z.boolean().default(false).meta({ description: 'Secure boot' }),
  endpoint: z
    .string()
    .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/, 'a URL like https://compute.googleapis.com/compute/v1/')
    .optional()
    .meta({
      description: 'Endpoint of the Compute API',
      env: 'CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE',
      value: 'url',
    }),
  instanceLink: nonEmptyString().optional().meta({
    description: 'The very instance that exists; kept from the first call on',
    value: 'url',
  }),
  imageLink: nonEmptyString()
    .optional()
    .meta({ description: 'The very image; kept from the first call on', value: 'url' }),
});

export type GceOptions = z.output<typeof optionsSchema>;

/** These direct this program alone, or are carried over by `change`. */
const LIVE_OPTIONS: ReadonlySet<string> = new Set([
  'labels',
  'tags',
  'allowCidr',
  'useInternalIp',
  'endpoint',
  'hostKey',
]);

export function changeKindOf(option: string, from: unknown, to: unknown): OptionChange {
  if (option === 'machineType') return 'restart';
  // A disk of Compute Engine grows and never shrinks.
  if (option === 'diskSize') return Number(to) > Number(from) ? 'restart' : 'replace';
  return LIVE_OPTIONS.has(option) ? 'live' : 'replace';
}
