import { join } from 'node:path';
import type { ClientPaths } from '../../src/profiles/profile.ts';

/**
 * Returns where clients of a user with this home folder keep their settings; those of the docker CLI are in
 * `dockerConfig`.
 */
export function clientPlacesIn(home: string, dockerConfig = join(home, '.docker')): ClientPaths {
  return { dockerConfig, ssh: join(home, '.ssh'), dockerMachine: join(home, '.docker', 'machine') };
}
