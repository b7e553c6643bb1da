import { join } from 'node:path';
import type { ClientPaths } from '../../src/profiles/profile.ts';

/**
 * Returns where the clients of a user with this home folder keep their settings, the docker CLI's in the given folder.
 */
export function clientPlacesIn(home: string, dockerConfig = join(home, '.docker')): ClientPaths {
  return { dockerConfig, ssh: join(home, '.ssh'), dockerMachine: join(home, '.docker', 'machine') };
}
