import { type GceConnection, resourceNameOf, regionOfZone, toRelativeLink } from './client.ts';
import type { GceOptions } from './options.ts';

type Subnetwork = { readonly network?: string | undefined; readonly ipCidrRange?: string };
type NetworkOptions = Pick<GceOptions, 'subnetwork' | 'network' | 'zone'>;

/** By name in the zone's region, or by a path that says more. */
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

/** The block of addresses that the machine has one of, as its neighbours see it. */
export async function getSubnetworkCidr(
  gce: GceConnection,
  { subnetwork, network, zone }: NetworkOptions,
): Promise<string | undefined> {
  // A network that is not divided by hand has one subnetwork a region, which goes by the network's name.
  const [of = ''] = /projects\/[^/]+\//.exec(network) ?? [];
  const link = subnetwork ?? `${of}regions/${regionOfZone(zone)}/subnetworks/${resourceNameOf(network)}`;
  return (await findSubnetwork(gce, link, zone))?.ipCidrRange;
}
