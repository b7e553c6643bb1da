import { readFile } from 'node:fs/promises';
import { SlipwayError } from '../../errors.ts';
import { parseTags } from './instances.ts';
import type { Ec2Options } from './options.ts';
import { requireReadableFile, readUserData, buildUserData } from './user-data.ts';

/** As long as ours ever are. */
const SAMPLE_KEYS = {
  hostKey: { private: `${'x'.repeat(70)}\n`.repeat(8), public: 'x'.repeat(80) },
  authorizedKey: 'x'.repeat(160),
};

/** All that this computer can tell is wrong, before AWS is asked for anything. */
export async function requireValidOptions(options: Ec2Options): Promise<void> {
  const { keypairName, sshKey, tags } = options;
  await requirePrivateKey(sshKey);
  if ((keypairName === undefined) !== (sshKey === undefined)) {
    throw new SlipwayError('USAGE', 'A key pair of EC2 is its name and its private key: one of them is missing', {
      hint: 'Give both --ec2-keypair-name and --ec2-ssh-key, or neither: the machine then gets a key of its own',
    });
  }
  parseTags(tags);
  requireValidVolumeOptions(options);
  buildUserData(SAMPLE_KEYS, await readUserData(options));
}

/** The public half is often given by mistake, and SSH would say so only when there is an instance to pay for. */
async function requirePrivateKey(file: string | undefined): Promise<void> {
  if (file === undefined) return;
  await requireReadableFile(file, '--ec2-ssh-key');
  if (/PRIVATE KEY-----|^PuTTY-User-Key-File/m.test(await readFile(file, 'utf8'))) return;
  throw new SlipwayError('USAGE', `${file} is not a private key`, {
    hint: 'Give the file that AWS let you download with the key pair: --ec2-ssh-key web.pem',
  });
}

/** What RunInstances would refuse when a security group exists already. */
function requireValidVolumeOptions({ volumeType, volumeIops, volumeThroughput }: Ec2Options): void {
  if (volumeType.startsWith('io') && volumeIops === undefined) {
    throw new SlipwayError('USAGE', `A root disk of the kind ${volumeType} is bought by its IOPS`, {
      hint: 'Say how many: --ec2-volume-iops 3000, or choose --ec2-volume-type gp3',
    });
  }
  if (volumeIops !== undefined && !/^(io|gp3)/.test(volumeType)) {
    throw new SlipwayError('USAGE', `The IOPS of a root disk of the kind ${volumeType} can't be chosen`, {
      hint: 'Leave --ec2-volume-iops out, or choose --ec2-volume-type gp3',
    });
  }
  if (volumeThroughput !== undefined && volumeType !== 'gp3') {
    throw new SlipwayError('USAGE', `The throughput of a root disk of the kind ${volumeType} can't be chosen`, {
      hint: 'Leave --ec2-volume-throughput out, or choose --ec2-volume-type gp3',
    });
  }
}
