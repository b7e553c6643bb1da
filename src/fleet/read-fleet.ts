import { readSources, requireNoProblems } from './read-sources.ts';
import { type FleetEnvironment, type Fleet, buildFleet } from './build-fleet.ts';

/** Reads the machines that a file describes. Throws one error with all problems, each with its position. */
export async function readFleet(path: string, environment: FleetEnvironment): Promise<Fleet> {
  const { sources, realPath } = await readSources(path);
  const { fleet, problems } = buildFleet(sources, realPath, environment);
  requireNoProblems(sources, problems);
  return fleet;
}
