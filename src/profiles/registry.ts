import { dockerContextProfile } from './docker-context.ts';
import { dockerMachineProfile } from './docker-machine.ts';
import type { Profile } from './profile.ts';
import { sshConfigProfile } from './ssh-config.ts';

/** One line per profile. The shell environment is not one of them: it is no file, `slipway env` prints it. */
export const profiles: readonly Profile[] = [dockerContextProfile, dockerMachineProfile, sshConfigProfile];

/** The profiles of a machine for which none are named: the others write into files that belong to the user. */
export const defaultProfiles: readonly string[] = ['docker-context'];

/**
 * Returns the profiles with these names. A name that this version does not know is ignored: a newer version wrote it.
 */
export function profilesNamed(names: readonly string[]): readonly Profile[] {
  return profiles.filter((profile) => names.includes(profile.name));
}
