import { join } from 'node:path';
import type { Computer } from '../../computer/computer.ts';
import { fileReasonOf, localFileError, readUserFile } from '../../computer/files.ts';
import { SlipwayError, systemCode } from '../../errors.ts';
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
  const problem = await findSettingsProblem(computer);
  if (problem !== undefined) return { usable: false, reason: problem.message, fix: problem.hint ?? '' };
  const settings = await Promise.all(awsSettingsFiles(computer).map(readSettings));
  if (settings.some((text) => text !== undefined)) return { usable: true };
  return {
    usable: false,
    reason: 'there are no AWS credentials in the environment or in ~/.aws',
    fix: 'aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  };
}

/**
 * Returns the error for AWS settings that can't be read, which the SDK takes for missing ones; undefined if they are
 * readable, or there are none.
 */
export async function findSettingsProblem(computer: Computer): Promise<SlipwayError | undefined> {
  for (const file of awsSettingsFiles(computer)) {
    try {
      if (UTF16_MARK.test((await readSettings(file)) ?? '')) return encodingError(file);
    } catch (error) {
      const known = error instanceof SlipwayError ? error : localFileError(file, error, 'read');
      return known instanceof SlipwayError ? known : unreadableSettingsError(file, error);
    }
  }
  return undefined;
}

/** Returns the bytes of a file of settings as Latin-1; undefined if it is missing. */
async function readSettings(file: string): Promise<string | undefined> {
  try {
    return (await readUserFile(file, 'latin1')).text;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** How a file in UTF-16 begins, as PowerShell writes it. */
const UTF16_MARK = /^(\u00FF\u00FE|\u00FE\u00FF)/;

function encodingError(file: string): SlipwayError {
  return new SlipwayError('LOCAL_FILES', `${file} is in UTF-16, which AWS's SDK can't read`, {
    hint: 'Save it in an editor as UTF-8, then try again',
  });
}

function unreadableSettingsError(file: string, cause: unknown): SlipwayError {
  return new SlipwayError('LOCAL_FILES', `${file} could not be read: ${fileReasonOf(cause)}`, {
    hint: 'Fix the cause, then try again',
    cause,
  });
}
