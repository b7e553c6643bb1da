import { type GceConnection, resourceNameOf, regionOfZone, toRelativeLink } from './client.ts';
import { findResource, usageError } from './errors.ts';
import type { GceOptions } from './options.ts';

type Subnetwork = {
  readonly name?: string;
  readonly selfLink?: string;
  readonly network?: string | undefined;
  readonly ipCidrRange?: string;
  readonly purpose?: string;
  readonly state?: string;
  readonly stackType?: string;
};
type Network = {
  readonly autoCreateSubnetworks?: boolean;
  readonly IPv4Range?: string;
  readonly subnetworks?: readonly string[];
};
type NetworkOptions = Pick<GceOptions, 'subnetwork' | 'network' | 'zone'>;

/** Parses a subnetwork's name, which is in the zone's region, or its path, which names the region. */
export function parseSubnetwork(subnetwork: string, zone: string): { readonly region: string; readonly name: string } {
  const [, region = regionOfZone(zone), name = subnetwork] =
    /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(subnetwork) ?? [];
  return { region, name };
}

/** Returns the project that a link to a network or subnetwork names: that of the host of a shared VPC, for example. */
export function projectOfLink(link: string): string | undefined {
  return /projects\/([^/]+)\//.exec(link)?.[1];
}

export async function findSubnetwork(
  gce: GceConnection,
  subnetwork: string,
  zone: string,
): Promise<Subnetwork | undefined> {
  const { region, name } = parseSubnetwork(subnetwork, zone);
  const project = projectOfLink(subnetwork) ?? gce.project;
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

/**
 * Returns the network and subnetwork of a new machine, which can hold it: the subnetwork that the user named, or the
 * only one that a network in custom mode has in the region. A network in auto mode chooses its own.
 */
export async function resolveNetwork(
  gce: GceConnection,
  options: NetworkOptions,
): Promise<Partial<Pick<GceOptions, 'network' | 'subnetwork'>>> {
  const { subnetwork, zone } = options;
  if (subnetwork === undefined) return await resolveSubnetworkOf(gce, options);
  const { region, name } = parseSubnetwork(subnetwork, zone);
  if (region !== regionOfZone(zone))
    throw usageError(
      `The subnetwork ${name} is in ${region}, and the zone ${zone} is in ${regionOfZone(zone)}`,
      `Choose a zone of ${region}: --gce-zone, or a subnetwork of ${regionOfZone(zone)}: --gce-subnetwork`,
    );
  const found = await findSubnetwork(gce, subnetwork, zone);
  if (!found) throw usageError(`The subnetwork ${name} does not exist in ${region}`, 'Check --gce-subnetwork');
  const problem = problemOf(found);
  if (problem !== undefined)
    throw usageError(`The subnetwork ${name} can't hold an instance: ${problem}`, 'Choose another --gce-subnetwork');
  return found.network === undefined ? {} : { network: found.network };
}

/** Returns why no instance can be created in the subnetwork; undefined if nothing speaks against it. */
function problemOf({ purpose = '', state = '', stackType = '' }: Subnetwork): string | undefined {
  if (!['', 'PRIVATE', 'PRIVATE_RFC_1918'].includes(purpose)) return `its purpose is ${purpose}`;
  if (state === 'DRAINING') return 'it is being drained';
  return stackType === 'IPV6_ONLY' ? 'it has no IPv4 addresses' : undefined;
}

async function resolveSubnetworkOf(
  gce: GceConnection,
  { network, zone }: NetworkOptions,
): Promise<Partial<Pick<GceOptions, 'subnetwork'>>> {
  const name = resourceNameOf(network);
  const project = projectOfLink(network) ?? gce.project;
  const found = await findResource(
    gce.send<Network>(`looking for the network ${name}`, 'NetworksClient', 'get', { network: name, project }),
  );
  // A legacy network has no subnetworks, and an endpoint without this method decides by itself.
  if (found === 'unknown' || found?.autoCreateSubnetworks === true || found?.IPv4Range) return {};
  const region = regionOfZone(zone);
  if (!found)
    throw usageError(`The network ${name} does not exist in the project ${project}`, 'Choose a network: --gce-network');
  const here = (found.subnetworks ?? []).filter((link) => parseSubnetwork(link, '').region === region);
  const usable = await Promise.all(
    here.map(async (link) => {
      const subnetwork = await findSubnetwork(gce, link, zone);
      return subnetwork && problemOf(subnetwork) === undefined ? toRelativeLink(link) : undefined;
    }),
  );
  const [only, ...others] = usable.flatMap((link) => link ?? []);
  if (only !== undefined && others.length === 0) return { subnetwork: only };
  throw only === undefined
    ? usageError(
        `The network ${name} has no subnetwork in ${region} that can hold an instance`,
        `Choose a zone of another region: --gce-zone. Or create one: gcloud compute networks subnets create ${name}-${region} --network ${name} --region ${region} --range 10.0.0.0/20 --project ${project}`,
      )
    : usageError(
        `The network ${name} has several subnetworks in ${region}: ${[only, ...others].map(resourceNameOf).join(', ')}`,
        `Choose one: --gce-subnetwork ${projectOfLink(only) === gce.project ? resourceNameOf(only) : only}`,
      );
}
