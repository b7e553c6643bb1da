import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import type { DriverHealth } from '../contract.ts';

const CREDENTIALS_VARIABLES = [
  'AWS_ACCESS_KEY_ID',
  'AWS_PROFILE',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
];

/** Returns the files of the AWS settings, the one with credentials first. */
export function awsSettingsFiles({ env, platform }: Computer): readonly string[] {
  const home = (platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '';
  return [
    env.AWS_SHARED_CREDENTIALS_FILE || join(home, '.aws', 'credentials'),
    env.AWS_CONFIG_FILE || join(home, '.aws', 'config'),
  ];
}

/** Returns whether the SDK's own chain would find credentials, as far as that can be known without a request. */
export async function checkCredentials(computer: Computer): Promise<DriverHealth> {
  if (CREDENTIALS_VARIABLES.some((name) => computer.env[name])) return { usable: true };
  const exist = await Promise.all(awsSettingsFiles(computer).map(hasFile));
  if (exist.includes(true)) return { usable: true };
  return {
    usable: false,
    reason: 'there are no AWS credentials in the environment or in ~/.aws',
    fix: 'aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  };
}

async function hasFile(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
