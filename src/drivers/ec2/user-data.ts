import { buildCloudInitUserData, type PublicFirstBoot, readUserScript } from '../cloud/user-data.ts';
import type { Ec2Options } from './options.ts';

/** EC2 counts the bytes before base64. */
const USER_DATA_LIMIT = { provider: 'EC2', maxBytes: 16 * 1024, flag: '--ec2-user-data' };

export function buildUserData(boot: PublicFirstBoot, userPart: string | undefined): string {
  return buildCloudInitUserData(boot, userPart, USER_DATA_LIMIT);
}

/** Reads the user's own part; undefined if there is none. */
export async function readUserData({ userData: file }: Ec2Options): Promise<string | undefined> {
  if (file === undefined) return undefined;
  return await readUserScript(file, USER_DATA_LIMIT.flag);
}
