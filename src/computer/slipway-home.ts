import { join } from 'node:path';

/** Returns the folder of all files that Slipway stores. */
export function resolveSlipwayHome(env: Readonly<Record<string, string | undefined>>, userHome: string): string {
  return env.SLIPWAY_HOME || join(userHome, '.slipway');
}
