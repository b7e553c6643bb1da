import { readSources, refuseWrong } from './files.ts';
import { type Around, type Fleet, fleetOf } from './fleet.ts';

/** The machines that a file describes; what is wrong with it is refused at once, each mistake by its place. */
export async function readFleet(path: string, around: Around): Promise<Fleet> {
  const { sources, place } = await readSources(path);
  const { fleet, mistakes } = fleetOf(sources, place, around);
  refuseWrong(sources, mistakes);
  return fleet;
}
