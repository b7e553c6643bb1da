import { type Gce, nameIn, regionOf, relative } from './client.ts';
import type { Options } from './options.ts';

type Subnetwork = { readonly network?: string | undefined; readonly ipCidrRange?: string };
type Place = Pick<Options, 'subnetwork' | 'network' | 'zone'>;

/** By name in the zone's region, or by a path that says more. */
export function placeOf(subnetwork: string, zone: string): { readonly region: string; readonly name: string } {
  const [, region = regionOf(zone), name = subnetwork] =
    /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(subnetwork) ?? [];
  return { region, name };
}

export async function subnetworkAt(gce: Gce, subnetwork: string, zone: string): Promise<Subnetwork | undefined> {
  const { region, name } = placeOf(subnetwork, zone);
  const [, project = gce.project] = /projects\/([^/]+)\//.exec(subnetwork) ?? [];
  const doing = `looking for the subnetwork ${name}`;
  const found = await gce.find<Subnetwork>(doing, 'SubnetworksClient', 'get', { project, region, subnetwork: name });
  return found && { ...found, network: relative(found.network) };
}

/** The block of addresses that the machine has one of, as its neighbours see it. */
export async function innerBlock(gce: Gce, { subnetwork, network, zone }: Place): Promise<string | undefined> {
  // A network that is not divided by hand has one subnetwork a region, which goes by the network's name.
  const [of = ''] = /projects\/[^/]+\//.exec(network) ?? [];
  const link = subnetwork ?? `${of}regions/${regionOf(zone)}/subnetworks/${nameIn(network)}`;
  return (await subnetworkAt(gce, link, zone))?.ipCidrRange;
}
