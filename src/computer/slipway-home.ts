import { join } from 'node:path';

/** The folder of all that Slipway keeps. */
export function resolveSlipwayHome(env: Readonly<Record<string, string | undefined>>, userHome: string): string {
  return env.SLIPWAY_HOME || join(userHome, '.slipway');
}
