import { readSources, requireNoProblems } from './read-sources.ts';
import { type FleetEnvironment, type Fleet, buildFleet } from './build-fleet.ts';

/** The machines that a file describes; what is wrong with it is refused at once, each mistake by its place. */
export async function readFleet(path: string, around: FleetEnvironment): Promise<Fleet> {
  const { sources, place } = await readSources(path);
  const { fleet, problems } = buildFleet(sources, place, around);
  requireNoProblems(sources, problems);
  return fleet;
}
