import { SlipwayError } from '../../errors.ts';
import type { DriverCall } from '../contract.ts';
import { type GceConnection, regionOfZone } from './client.ts';
import { readGcloudSetting } from './gcloud-settings.ts';
import { DEFAULT_ZONE } from './options.ts';

type ZoneDocument = { readonly name?: string; readonly status?: string | number };

/** Returns the names of the zones in which instances can be created. */
export async function listUsableZones(gce: GceConnection): Promise<readonly string[]> {
  const found = await gce.list<ZoneDocument>('looking for zones', 'ZonesClient', 'list', {});
  return found
    .filter(({ status }) => status !== 'DOWN')
    .flatMap(({ name }) => name ?? [])
    .toSorted();
}

/**
 * Returns the zone for a machine whose user named none: that of gcloud's settings, the first one of the region of
 * gcloud's settings, or a default.
 */
export async function resolveDefaultZone(
  gce: GceConnection,
  { computer }: Pick<DriverCall, 'computer'>,
): Promise<string> {
  const zone = await readGcloudSetting(computer, 'compute', 'zone');
  if (zone !== undefined) return zone;
  const region = await readGcloudSetting(computer, 'compute', 'region');
  if (region === undefined || region === regionOfZone(DEFAULT_ZONE)) return DEFAULT_ZONE;
  const first = (await listUsableZones(gce)).find((name) => regionOfZone(name) === region);
  if (first !== undefined) return first;
  throw new SlipwayError('USAGE', `The region ${region} of gcloud's settings has no zone in Compute Engine`, {
    hint: 'Name a zone: --gce-zone europe-west3-a',
  });
}

/** Refuses a zone that does not exist, or that takes no instances now. */
export async function requireZone(gce: GceConnection, zone: string): Promise<void> {
  const found = await gce.find<ZoneDocument>(`looking for the zone ${zone}`, 'ZonesClient', 'get', { zone });
  if (found && found.status !== 'DOWN') return;
  const message = found ? `The zone ${zone} is down` : `The zone ${zone} does not exist in Compute Engine`;
  throw new SlipwayError('USAGE', message, { hint: 'For example: --gce-zone europe-west3-a' });
}
