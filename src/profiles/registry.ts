import { dockerContextProfile } from './docker-context.ts';
import { dockerMachineProfile } from './docker-machine.ts';
import type { Profile } from './profile.ts';
import { sshConfigProfile } from './ssh-config.ts';

/** One line per profile. The shell environment is not a profile: `slipway env` prints it instead of writing a file. */
export const profiles: readonly Profile[] = [dockerContextProfile, dockerMachineProfile, sshConfigProfile];

/** The profiles if the user specified none. The other profiles change files that belong to the user. */
export const defaultProfiles: readonly string[] = ['docker-context'];

/** Returns the profiles with these names. Ignores unknown names, which a newer version may have written. */
export function profilesNamed(names: readonly string[]): readonly Profile[] {
  return profiles.filter((profile) => names.includes(profile.name));
}
