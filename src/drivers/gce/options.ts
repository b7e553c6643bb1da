import { z } from 'zod';
import { hasLogin } from '../../url-login.ts';
import { allowCidrOption, dockerMachineAliasesOf, nonEmptyString, openPortOption } from '../cloud/options.ts';
import { changeKindsOf } from '../cloud/option-changes.ts';

const resourceNameOrPath = (what: string): z.ZodString => z.string().regex(/^[a-z0-9][\w.:/-]*$/, what);

export const DEFAULT_ZONE = 'us-central1-a';
export const DEFAULT_DISK_TYPE = 'pd-balanced';

const dockerMachineAliases = dockerMachineAliasesOf('google');

export const optionsSchema = z.object({
  project: resourceNameOrPath('a project id like my-project-42')
    .optional()
    .meta({
      description: 'Project; default: the one of your gcloud settings or credentials',
      env: 'GOOGLE_PROJECT',
      value: 'project',
      ...dockerMachineAliases('project'),
    }),
  zone: resourceNameOrPath('a zone like europe-west3-a')
    .optional()
    .meta({
      description: 'Zone; if your gcloud settings name one, that one',
      default: DEFAULT_ZONE,
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
    description: 'Image family; its newest image is used',
    ask: 'Which image?',
    value: 'family',
  }),
  imageProject: resourceNameOrPath('a project like debian-cloud').default('debian-cloud').meta({
    description: 'Project that publishes the image',
    value: 'project',
  }),
  machineImage: resourceNameOrPath('an image like debian-cloud/global/images/debian-13-… or …/images/family/debian-13')
    .optional()
    .meta({
      description: 'Image by path or URL, instead of --gce-image-family',
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
      description: 'Size of the boot disk in GB',
      env: 'GOOGLE_DISK_SIZE',
      value: 'gb',
      ...dockerMachineAliases('disk-size'),
    }),
  diskType: resourceNameOrPath('a disk type like pd-balanced')
    .optional()
    .meta({
      description: 'Type of the boot disk; hyperdisk-balanced if the machine type requires it',
      default: DEFAULT_DISK_TYPE,
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
      description: 'Subnetwork (name or path)',
      env: 'GOOGLE_SUBNETWORK',
      value: 'subnetwork',
      ...dockerMachineAliases('subnetwork'),
    }),
  tags: z
    .array(z.string().regex(/^[a-z]([a-z0-9-]*[a-z0-9])?(,[a-z]([a-z0-9-]*[a-z0-9])?)*$/, 'a network tag like web'))
    .default([])
    .meta({ description: 'Additional network tag', env: 'GOOGLE_TAGS', value: 'tag', ...dockerMachineAliases('tags') }),
  labels: z
    .array(z.string().regex(/^[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}$/, 'a label like team=web, in lower case'))
    .default([])
    .meta({ description: 'Additional label', value: 'key=value' }),
  serviceAccount: nonEmptyString()
    .optional()
    .meta({
      description: "Service account of the machine; default: none, so that its processes can't act in your project",
      env: 'GOOGLE_SERVICE_ACCOUNT',
      value: 'email',
      ...dockerMachineAliases('service-account'),
    }),
  scopes: z
    .array(nonEmptyString())
    .default([])
    .meta({
      description: 'Scope of the service account, such as logging.write, instead of cloud-platform',
      env: 'GOOGLE_SCOPES',
      value: 'scope',
      ...dockerMachineAliases('scopes'),
    }),
  preemptible: z
    .boolean()
    .default(false)
    .meta({
      description: 'Preemptible instance, the predecessor of spot: stopped within a day',
      env: 'GOOGLE_PREEMPTIBLE',
      ...dockerMachineAliases('preemptible'),
    }),
  spot: z.boolean().default(false).meta({ description: 'Spot instance: cheaper; Google may stop it at any time' }),
  accelerator: z
    .string()
    .regex(/^type=[\w-]+(,count=\d+)?$|^count=\d+,type=[\w-]+$/, 'an accelerator like type=nvidia-tesla-t4,count=1')
    .optional()
    .meta({ description: 'Accelerator', value: 'type', ...dockerMachineAliases('accelerator') }),
  maintenancePolicy: z
    .enum(['MIGRATE', 'TERMINATE'])
    .optional()
    .meta({
      description: 'What happens to the instance during host maintenance',
      ...dockerMachineAliases('maintenance-policy'),
    }),
  minCpuPlatform: nonEmptyString()
    .optional()
    .meta({
      description: 'Minimum CPU platform, such as Intel Ice Lake',
      value: 'platform',
      ...dockerMachineAliases('min-cpu-platform'),
    }),
  address: resourceNameOrPath('none, static, or the name or IP of one of your static addresses')
    .optional()
    .meta({
      description: 'External address: none, static (reserved with the machine), or the name or IP of one of yours',
      env: 'GOOGLE_ADDRESS',
      value: 'address',
      ...dockerMachineAliases('address'),
    }),
  useInternalIp: z
    .boolean()
    .default(false)
    .meta({
      description: 'Connect to the internal address',
      env: 'GOOGLE_USE_INTERNAL_IP',
      ...dockerMachineAliases('use-internal-ip'),
    }),
  useInternalIpOnly: z
    .boolean()
    .default(false)
    .meta({
      description: 'Create the machine without an external address',
      env: 'GOOGLE_USE_INTERNAL_IP_ONLY',
      ...dockerMachineAliases('use-internal-ip-only'),
    }),
  metadata: z
    .array(z.string().regex(/^[\w-]+=/, 'an item like key=value'))
    .default([])
    .meta({ description: 'Additional metadata', value: 'key=value', ...dockerMachineAliases('metadata') }),
  startupScript: nonEmptyString().optional().meta({
    description: "Your startup script, run at each boot after Slipway's",
    value: 'file',
  }),
  openPort: openPortOption(dockerMachineAliases),
  allowCidr: allowCidrOption(),
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
    description: 'Log in by OS Login, with the user and key of your profile',
  }),
  useExisting: z
    .boolean()
    .default(false)
    .meta({
      description: "Use the existing instance of the machine's name; Slipway never deletes it",
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
    .meta({ description: 'Host key of an existing instance that publishes none', value: 'key' }),
  secureBoot: z.boolean().default(false).meta({ description: 'Secure boot' }),
  endpoint: z
    .string()
    .regex(/^https?:\/\/[^\s/]+(\/\S*)?$/, 'a URL like https://compute.googleapis.com/compute/v1/')
    .refine((url) => !hasLogin(url), 'a URL without a login')
    .optional()
    .meta({
      description: 'Endpoint of the Compute API',
      env: 'CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE',
      value: 'url',
    }),
  instanceLink: nonEmptyString().optional().meta({
    description: 'Link of the instance; recorded at creation',
    value: 'url',
  }),
  imageLink: nonEmptyString().optional().meta({ description: 'Link of the image; recorded at creation', value: 'url' }),
});

/** The options as the user gave them. */
export type UnresolvedGceOptions = z.output<typeof optionsSchema>;

/** The options of a machine that Slipway has requested, or is about to request. */
export type GceOptions = UnresolvedGceOptions & { readonly zone: string; readonly diskType: string };

/** The values that the schema once gave to options left open: machines of that time have them in their records. */
export const FORMER_DEFAULTS = { zone: DEFAULT_ZONE, diskType: DEFAULT_DISK_TYPE };

export const changeKindOf = changeKindsOf({
  typeOption: 'machineType',
  diskSizeOption: 'diskSize',
  liveOptions: ['labels', 'tags', 'allowCidr', 'useInternalIp', 'endpoint', 'hostKey'],
});
