import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import { type GceConnection, resourceNameOf, regionOfZone, toRelativeLink } from './client.ts';
import { QUOTA_HINT } from './errors.ts';
import type { GceOptions } from './options.ts';
import { requireExistingInstance, readPublishedHostKey } from './existing-instance.ts';
import { parseSubnetwork, findSubnetwork } from './subnetwork.ts';

/** Returns whether an earlier create has resolved every option; the record then holds the answers. */
export function hasResolvedOptions({ project, imageLink, useExisting, instanceLink }: GceOptions): boolean {
  return project !== undefined && (useExisting ? instanceLink : imageLink) !== undefined;
}

type Quota = { readonly metric?: string; readonly limit?: number; readonly usage?: number };

/** Asks Google for every option that the user left open; creates nothing. */
export async function resolveOptions(gce: GceConnection, target: Target<GceOptions>): Promise<GceOptions> {
  const { options } = target;
  const { zone } = options;
  if (options.useExisting) return await resolveExistingInstance(gce, target);
  const [zoneInfo, type, imageLink] = await Promise.all([
    gce.find(`looking for the zone ${zone}`, 'ZonesClient', 'get', { zone }),
    findMachineType(gce, options),
    resolveImage(gce, options),
  ]);
  if (!zoneInfo)
    throw notFoundError(`The zone ${zone} does not exist in Compute Engine`, 'For example: --gce-zone europe-west3-a');
  if (!type) throw noMachineTypeError(options);
  await requireQuota(gce, target, type.guestCpus ?? 0);
  const network = await resolveNetwork(gce, options);
  return { ...options, ...connectionOptionsOf(gce), imageLink, ...(network === undefined ? {} : { network }) };
}

async function resolveExistingInstance(gce: GceConnection, target: Target<GceOptions>): Promise<GceOptions> {
  const { options } = target;
  const instance = await requireExistingInstance(gce, target);
  const hostKey = options.hostKey ?? (await readPublishedHostKey(gce, target));
  if (hostKey === undefined)
    throw new SlipwayError('HOST_KEY', `${instance.name} publishes no SSH host key (guest attributes are off)`, {
      hint: 'Read its fingerprint in the serial console, then add --gce-host-key SHA256:…',
    });
  const [networkInterface] = instance.networkInterfaces ?? [];
  const network = toRelativeLink(networkInterface?.network);
  const subnetwork = toRelativeLink(networkInterface?.subnetwork);
  return {
    ...options,
    ...connectionOptionsOf(gce),
    hostKey,
    instanceLink: `projects/${gce.project}/zones/${options.zone}/instances/${instance.name}`,
    ...(network === undefined ? {} : { network }),
    ...(subnetwork === undefined ? {} : { subnetwork }),
  };
}

export type MachineType = { readonly guestCpus?: number; readonly architecture?: string };

export async function findMachineType(
  gce: GceConnection,
  { zone, machineType }: Pick<GceOptions, 'zone' | 'machineType'>,
): Promise<MachineType | undefined> {
  const doing = `looking for the machine type ${machineType}`;
  return await gce.find<MachineType>(doing, 'MachineTypesClient', 'get', { zone, machineType });
}

export function noMachineTypeError({ zone, machineType }: GceOptions): SlipwayError {
  return notFoundError(
    `The machine type ${machineType} does not exist in ${zone}`,
    'For example: --gce-machine-type e2-medium',
  );
}

/** Returns the project and endpoint for the record, since a later command may run in another environment. */
function connectionOptionsOf({ project, endpoint }: GceConnection): Pick<GceOptions, 'project' | 'endpoint'> {
  return { project, ...(endpoint === undefined ? {} : { endpoint: endpoint.href }) };
}

function notFoundError(message: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', message, { hint });
}

/** Machine families with a CPU quota of their own; the others share `CPUS`. */
const FAMILIES_WITH_OWN_QUOTA = ['A2', 'C2', 'C2D', 'C3', 'M1', 'M2', 'M3', 'N2', 'N2D', 'T2A', 'T2D'];

/** Returns how much of the region's quotas one machine takes. */
function quotaNeedsOf(
  { machineType, spot, preemptible, address, useInternalIpOnly }: GceOptions,
  cpus: number,
): readonly QuotaNeed[] {
  const family = (machineType.split('-')[0] ?? '').toUpperCase();
  const isInternal = address === 'none' || useInternalIpOnly;
  return [
    // Spot instances have a quota of their own in some projects, and share this one in others.
    ...(spot || preemptible
      ? []
      : [
          {
            metric: FAMILIES_WITH_OWN_QUOTA.includes(family) ? `${family}_CPUS` : 'CPUS',
            perMachine: cpus,
            what: 'CPUs',
          },
        ]),
    { metric: 'INSTANCES', perMachine: 1, what: 'instances' },
    ...(isInternal ? [] : [{ metric: 'IN_USE_ADDRESSES', perMachine: 1, what: 'addresses in use' }]),
    ...(address === 'static' ? [{ metric: 'STATIC_ADDRESSES', perMachine: 1, what: 'static addresses' }] : []),
  ];
}

type QuotaNeed = { readonly metric: string; readonly perMachine: number; readonly what: string };

/** Refuses a machine or batch that exceeds a quota, before anything exists or costs money. */
async function requireQuota(gce: GceConnection, { options, batch }: Target<GceOptions>, cpus: number): Promise<void> {
  const region = regionOfZone(options.zone);
  const doing = `reading your quota in ${region}`;
  const found = await gce.find<{ quotas?: readonly Quota[] }>(doing, 'RegionsClient', 'get', { region });
  const count = batch?.size ?? 1;
  for (const { metric, perMachine, what } of quotaNeedsOf(options, cpus)) {
    const quota = found?.quotas?.find((candidate) => String(candidate.metric) === metric);
    if (quota?.limit === undefined) continue;
    const left = quota.limit - (quota.usage ?? 0);
    if (left >= perMachine * count) continue;
    throw new SlipwayError(
      'QUOTA',
      `Your project has ${left} of ${quota.limit} ${what} left in ${region} (${metric}), and ${count === 1 ? 'this machine needs' : `${count} machines need`} ${perMachine * count}`,
      { hint: QUOTA_HINT },
    );
  }
}

async function resolveImage(gce: GceConnection, options: GceOptions): Promise<string> {
  const { project, family, image } = parseImageOptions(options);
  const what = `image ${family ?? image} of ${project}`;
  const found = await gce.find<{ selfLink?: string; name?: string }>(
    `looking for the ${what}`,
    'ImagesClient',
    family === undefined ? 'get' : 'getFromFamily',
    family === undefined ? { project, image } : { project, family },
  );
  const name = found?.name ?? resourceNameOf(found?.selfLink);
  if (name !== '') return `projects/${project}/global/images/${name}`;
  throw notFoundError(`The ${what} does not exist in Compute Engine`, 'For example: --gce-image-family debian-13');
}

/** Parses docker-machine's paths and URLs too: `PROJECT/global/images/NAME`, `…/images/family/NAME`. */
export function parseImageOptions({ machineImage, imageFamily, imageProject }: GceOptions): {
  readonly project: string;
  readonly family?: string;
  readonly image?: string;
} {
  if (machineImage === undefined) return { project: imageProject, family: imageFamily };
  const [, project = imageProject, family, name] =
    /(?:([^/]+)\/)?global\/images\/(family\/)?([^/]+)$/.exec(machineImage) ?? [];
  const last = name ?? machineImage;
  return family === undefined ? { project, image: last } : { project, family: last };
}

/** Returns the network of the subnetwork that the options name, since firewall rules belong to a network. */
async function resolveNetwork(gce: GceConnection, { subnetwork, zone }: GceOptions): Promise<string | undefined> {
  if (subnetwork === undefined) return undefined;
  const found = await findSubnetwork(gce, subnetwork, zone);
  if (found) return found.network;
  const { region, name } = parseSubnetwork(subnetwork, zone);
  throw notFoundError(`The subnetwork ${name} does not exist in ${region}`, 'Check --gce-subnetwork');
}
