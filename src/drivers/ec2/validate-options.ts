import { randomBytes } from 'node:crypto';
import { readTextFile } from '../../computer/files.ts';
import { requireReadableFile } from '../cloud/user-data.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import type { Ec2Options } from './options.ts';
import { parseTags } from './tags.ts';
import { readUserData, buildUserData } from './user-data.ts';

/** Placeholders for keys that do not exist yet, as long as keys can be. */
const SAMPLE_KEYS = {
  hostKey: { private: `${'x'.repeat(70)}\n`.repeat(8), public: 'x'.repeat(80) },
  authorizedKey: 'x'.repeat(160),
};

/** At least as many bytes as compressed timers have. Random, so that they can't be compressed. */
const SAMPLE_TIMERS = [{ path: '/sample', mode: '644', content: randomBytes(2600).toString('latin1') }];

/** Refuses every mistake that can be found without a request to AWS. */
export async function requireValidOptions({ options, lifetime }: Target<Ec2Options>): Promise<void> {
  const { keypairName, sshKey, tags } = options;
  await requirePrivateKey(sshKey);
  if ((keypairName === undefined) !== (sshKey === undefined)) {
    throw new SlipwayError('USAGE', '--ec2-keypair-name and --ec2-ssh-key are required together', {
      hint: 'Give both --ec2-keypair-name and --ec2-ssh-key, or neither: Slipway then creates a key for the machine',
    });
  }
  parseTags(tags);
  requireValidVolumeOptions(options);
  buildUserData({ ...SAMPLE_KEYS, files: lifetime === undefined ? [] : SAMPLE_TIMERS }, await readUserData(options));
}

/**
 * Requires a private key. Users often give the public half by mistake, which SSH would report only when an instance
 * already costs money.
 */
async function requirePrivateKey(file: string | undefined): Promise<void> {
  if (file === undefined) return;
  await requireReadableFile(file, '--ec2-ssh-key');
  if (/PRIVATE KEY-----|^PuTTY-User-Key-File/m.test(await readTextFile(file))) return;
  throw new SlipwayError('USAGE', `${file} is not a private key`, {
    hint: 'Use the file that you downloaded when AWS created the key pair: --ec2-ssh-key web.pem',
  });
}

/** Refuses options of the root disk that RunInstances would refuse only after a security group exists. */
function requireValidVolumeOptions({ volumeType, volumeIops, volumeThroughput }: Ec2Options): void {
  if (volumeType.startsWith('io') && volumeIops === undefined) {
    throw new SlipwayError('USAGE', `A root disk of type ${volumeType} needs a number of IOPS`, {
      hint: 'Add --ec2-volume-iops 3000, or choose --ec2-volume-type gp3',
    });
  }
  if (volumeIops !== undefined && !/^(io|gp3)/.test(volumeType)) {
    throw new SlipwayError('USAGE', `--ec2-volume-iops is not supported with a root disk of type ${volumeType}`, {
      hint: 'Omit --ec2-volume-iops, or choose --ec2-volume-type gp3',
    });
  }
  if (volumeThroughput !== undefined && volumeType !== 'gp3') {
    throw new SlipwayError('USAGE', `--ec2-volume-throughput is not supported with a root disk of type ${volumeType}`, {
      hint: 'Omit --ec2-volume-throughput, or choose --ec2-volume-type gp3',
    });
  }
}
