import { z } from 'zod';
import type { Change } from '../contract.ts';

const CIDR = /^([0-9.]+|[0-9a-fA-F:.]+)\/\d{1,3}$/;
const text = (): z.ZodString => z.string().min(1);
const word = (what: string): z.ZodString => z.string().regex(/^[a-z0-9][\w.:/-]*$/, what);

/** `old` is the flag's name in the old tool, whose variables are read too. */
const also = (...old: readonly string[]): { also: readonly string[] } => ({
  also: old.map((name) => `google-${name}`),
});

export const options = z.object({
  project: word('a project id like my-project-42')
    .optional()
    .meta({
      description: 'Project; without it that of your gcloud settings or credentials',
      env: 'GOOGLE_PROJECT',
      value: 'project',
      ...also('project'),
    }),
  zone: word('a zone like europe-west3-a')
    .default('us-central1-a')
    .meta({ description: 'Zone', ask: 'Which zone?', env: 'GOOGLE_ZONE', value: 'zone', ...also('zone') }),
  machineType: word('a type like e2-medium')
    .default('e2-medium')
    .meta({
      description: 'Machine type',
      ask: 'Which machine type?',
      env: 'GOOGLE_MACHINE_TYPE',
      value: 'type',
      ...also('machine-type'),
    }),
  imageFamily: word('an image family like debian-13').default('debian-13').meta({
    description: 'Image, the newest of a family',
    ask: 'Which image?',
    value: 'family',
  }),
  imageProject: word('a project like debian-cloud').default('debian-cloud').meta({
    description: 'Project that has the family',
    value: 'project',
  }),
  machineImage: word('an image like debian-cloud/global/images/debian-13-… or …/images/family/debian-13')
    .optional()
    .meta({
      description: 'Image by its path or URL, instead of a family',
      env: 'GOOGLE_MACHINE_IMAGE',
      value: 'image',
      ...also('machine-image'),
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
      ...also('disk-size'),
    }),
  diskType: word('a kind of disk like pd-balanced')
    .default('pd-balanced')
    .meta({ description: 'Kind of boot disk', env: 'GOOGLE_DISK_TYPE', value: 'type', ...also('disk-type') }),
  network: word('a network')
    .default('default')
    .meta({
      description: 'Network',
      env: 'GOOGLE_NETWORK',
      value: 'network',
      ...also('network'),
    }),
  subnetwork: word('a subnetwork')
    .optional()
    .meta({
      description: 'Subnetwork, by name or path',
      env: 'GOOGLE_SUBNETWORK',
      value: 'subnetwork',
      ...also('subnetwork'),
    }),
  tags: z
    .array(z.string().regex(/^[a-z]([a-z0-9-]*[a-z0-9])?(,[a-z]([a-z0-9-]*[a-z0-9])?)*$/, 'a network tag like web'))
    .default([])
    .meta({ description: 'Network tag', env: 'GOOGLE_TAGS', value: 'tag', ...also('tags') }),
  labels: z
    .array(z.string().regex(/^[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}$/, 'a label like team=web, in lower case'))
    .default([])
    .meta({ description: 'Further label', value: 'key=value' }),
  serviceAccount: text()
    .optional()
    .meta({
      description: 'Service account of the machine; without it none, and its processes can’t act in your project',
      env: 'GOOGLE_SERVICE_ACCOUNT',
      value: 'email',
      ...also('service-account'),
    }),
  scopes: z
    .array(text())
    .default([])
    .meta({
      description: 'Scope of that account, instead of cloud-platform',
      env: 'GOOGLE_SCOPES',
      value: 'url',
      ...also('scopes'),
    }),
  preemptible: z
    .boolean()
    .default(false)
    .meta({
      description: 'A preemptible machine, of the old kind: ends within a day',
      env: 'GOOGLE_PREEMPTIBLE',
      ...also('preemptible'),
    }),
  spot: z.boolean().default(false).meta({ description: 'A spot machine: cheaper, stopped when Google wants it' }),
  accelerator: z
    .string()
    .regex(/^type=[\w-]+(,count=\d+)?$|^count=\d+,type=[\w-]+$/, 'an accelerator like type=nvidia-tesla-t4,count=1')
    .optional()
    .meta({ description: 'Accelerator', value: 'type', ...also('accelerator') }),
  maintenancePolicy: z
    .enum(['MIGRATE', 'TERMINATE'])
    .optional()
    .meta({ description: 'What becomes of it when its computer is maintained', ...also('maintenance-policy') }),
  minCpuPlatform: text()
    .optional()
    .meta({
      description: 'Least CPU platform, such as Intel Ice Lake',
      value: 'platform',
      ...also('min-cpu-platform'),
    }),
  address: word('none, static, or the name or IP of a static address of yours')
    .optional()
    .meta({
      description: 'Address: none, static (one that stays, made with the machine), or one that you have',
      env: 'GOOGLE_ADDRESS',
      value: 'address',
      ...also('address'),
    }),
  useInternalIp: z
    .boolean()
    .default(false)
    .meta({
      description: 'Reach it by its internal address',
      env: 'GOOGLE_USE_INTERNAL_IP',
      ...also('use-internal-ip'),
    }),
  useInternalIpOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Give it no external address',
      env: 'GOOGLE_USE_INTERNAL_IP_ONLY',
      ...also('use-internal-ip-only'),
    }),
  metadata: z
    .array(z.string().regex(/^[\w-]+=/, 'an item like key=value'))
    .default([])
    .meta({ description: 'Further metadata', value: 'key=value', ...also('metadata') }),
  startupScript: text().optional().meta({
    description: 'Startup script of yours, run at each boot after ours',
    value: 'file',
  }),
  openPort: z
    .array(z.string().regex(/^\d{1,5}(\/(tcp|udp))?$/, 'a port like 8080 or 53/udp'))
    .default([])
    .meta({ description: 'Further port, open to the whole internet', value: 'port', ...also('open-port') }),
  allowCidr: z.array(z.string().regex(CIDR, 'a block of addresses like 198.51.100.0/24')).default([]).meta({
    description: 'Who may connect to SSH and the engine, instead of your present address alone',
    value: 'cidr',
  }),
  sshUser: text()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'a user name')
    .default('slipway')
    .meta({ description: 'User to log in as', env: 'GOOGLE_USERNAME', value: 'user', ...also('username') }),
  sshKey: text().optional().meta({ description: 'Private key that may log in, with --gce-os-login', value: 'file' }),
  osLogin: z.boolean().default(false).meta({
    description: 'Log in by OS Login, as the user and with the key of your own profile',
  }),
  useExisting: z
    .boolean()
    .default(false)
    .meta({
      description: 'Use the instance that has the machine’s name; it is never removed',
      env: 'GOOGLE_USE_EXISTING',
      ...also('use-existing'),
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
  instanceLink: text().optional().meta({
    description: 'The very instance that exists; kept from the first call on',
    value: 'url',
  }),
  imageLink: text().optional().meta({ description: 'The very image; kept from the first call on', value: 'url' }),
});

export type Options = z.output<typeof options>;

/** These direct this program alone, or are carried over by `change`. */
const LIVE: ReadonlySet<string> = new Set(['labels', 'tags', 'allowCidr', 'useInternalIp', 'endpoint', 'hostKey']);

export function changeOf(option: string, from: unknown, to: unknown): Change {
  if (option === 'machineType') return 'restart';
  // A disk of Compute Engine grows and never shrinks.
  if (option === 'diskSize') return Number(to) > Number(from) ? 'restart' : 'replace';
  return LIVE.has(option) ? 'live' : 'replace';
}
