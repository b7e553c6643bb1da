import { requireReadableFile } from '../cloud/user-data.ts';
import { SlipwayError } from '../../errors.ts';
import type { GceOptions } from './options.ts';

/** Refuses every mistake that can be found without a request to Google. */
export async function requireValidOptions(options: GceOptions): Promise<void> {
  const { startupScript, sshKey, osLogin, instanceLink, useExisting } = options;
  await requireReadableFile(startupScript, '--gce-startup-script');
  await requireReadableFile(sshKey, '--gce-ssh-key');
  // An adopted machine has the key of the other tool.
  const isAdopted = instanceLink !== undefined && !useExisting;
  if (isAdopted || osLogin === (sshKey !== undefined)) return;
  throw new SlipwayError('USAGE', '--gce-os-login and --gce-ssh-key are required together', {
    hint: 'Give both, and --gce-ssh-user; or neither: Slipway then creates a key for the machine',
  });
}
