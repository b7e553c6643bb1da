import { join } from 'node:path';
import type { ClientPaths } from '../../src/profiles/profile.ts';

/** Where clients of a user with this home keep their settings, the docker CLI's in a folder that is given. */
export function clientPlacesIn(home: string, dockerConfig = join(home, '.docker')): ClientPaths {
  return { dockerConfig, ssh: join(home, '.ssh'), dockerMachine: join(home, '.docker', 'machine') };
}
