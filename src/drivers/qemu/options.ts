import { z } from 'zod';
import { archs } from '../../images/image.ts';
import { hasLogin } from '../../url-login.ts';

export const qemuOptions = z.object({
  cpus: z.int().min(1).max(255).default(2).meta({ description: 'Number of CPUs', ask: 'How many CPUs?', value: 'n' }),
  memory: z
    .int()
    .min(512)
    .default(2048)
    .meta({ description: 'Memory, in MB', ask: 'How much memory, in MB?', value: 'mb' }),
  disk: z
    .int()
    .min(2)
    .default(20)
    .meta({ description: 'Disk size, in GB; this computer stores only the used part', value: 'gb' }),
  image: z
    .string()
    .min(1)
    .refine((image) => !hasLogin(image), 'a URL without a login: download that image first, and use the file')
    .default('debian-13')
    .meta({
      description: 'Image: debian-13, debian-12, or a path or URL of a cloud image',
      flag: 'image',
      value: 'image',
    }),
  imageDigest: z
    .string()
    .regex(/^(sha(256|512):)?[0-9a-fA-F]{64}([0-9a-fA-F]{64})?$/, 'a digest like sha512:…')
    .optional()
    .meta({ description: 'Digest of an image from a path or URL', flag: 'image-digest', value: 'digest' }),
  arch: z.enum(archs).optional().meta({
    description: "Processor architecture; default: this computer's. Another one is emulated in software, which is slow",
  }),
  accelerator: z
    .enum(['auto', 'kvm', 'hvf', 'whpx', 'tcg'])
    .default('auto')
    .meta({ description: 'Accelerator; auto tries hardware acceleration, tcg is software emulation' }),
  sshUser: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'a user name like dev')
    .default('slipway')
    .meta({ description: 'User to log in as', value: 'user' }),
  sshPort: portOption('Port of this computer for SSH to the machine; default: a free port'),
  enginePort: portOption('Port of this computer for the engine; default: a free port'),
  warm: z.boolean().default(true).meta({
    description: 'Start from a spare if one is ready, and leave a new one behind',
  }),
});
export type QemuOptions = z.output<typeof qemuOptions>;

/**
 * The options that apply at each start. All others are fixed when a VM is created, except its disk, which can grow at a
 * start.
 */
export const OPTIONS_APPLIED_AT_START: ReadonlySet<string> = new Set([
  'cpus',
  'memory',
  'accelerator',
  'sshPort',
  'enginePort',
]);

function portOption(description: string): z.ZodOptional<z.ZodInt> {
  return z.int().min(1).max(65535).optional().meta({ description, value: 'port' });
}
