import { type GceConnection, resourceNameOf, regionOfZone, toRelativeLink } from './client.ts';
import type { GceOptions } from './options.ts';

type Subnetwork = { readonly network?: string | undefined; readonly ipCidrRange?: string };
type NetworkOptions = Pick<GceOptions, 'subnetwork' | 'network' | 'zone'>;

/** Parses a subnetwork's name, which is in the zone's region, or its path, which names the region. */
export function parseSubnetwork(subnetwork: string, zone: string): { readonly region: string; readonly name: string } {
  const [, region = regionOfZone(zone), name = subnetwork] =
    /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(subnetwork) ?? [];
  return { region, name };
}

export async function findSubnetwork(
  gce: GceConnection,
  subnetwork: string,
  zone: string,
): Promise<Subnetwork | undefined> {
  const { region, name } = parseSubnetwork(subnetwork, zone);
  const [, project = gce.project] = /projects\/([^/]+)\//.exec(subnetwork) ?? [];
  const doing = `looking for the subnetwork ${name}`;
  const found = await gce.find<Subnetwork>(doing, 'SubnetworksClient', 'get', { project, region, subnetwork: name });
  return found && { ...found, network: toRelativeLink(found.network) };
}

/** Returns the CIDR block of the machine's subnetwork, in which its internal address is. */
export async function getSubnetworkCidr(
  gce: GceConnection,
  { subnetwork, network, zone }: NetworkOptions,
): Promise<string | undefined> {
  // An auto mode network has one subnetwork in each region, with the network's name.
  const [projectPath = ''] = /projects\/[^/]+\//.exec(network) ?? [];
  const link = subnetwork ?? `${projectPath}regions/${regionOfZone(zone)}/subnetworks/${resourceNameOf(network)}`;
  return (await findSubnetwork(gce, link, zone))?.ipCidrRange;
}
