import * as all from './all.ts';
import type { Profile } from './profile.ts';

export const profiles: readonly Profile[] = Object.values(all);

/** What a machine gets where nothing is said: others write into what is the user's own. */
export const defaultProfiles: readonly string[] = ['docker-context'];

/** Those of a spec; a name that this version does not know is one that it need not write. */
export function profilesNamed(names: readonly string[]): readonly Profile[] {
  return profiles.filter((profile) => names.includes(profile.name));
}
