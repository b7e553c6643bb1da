import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import { type GceConnection, regionOfZone, toRelativeLink } from './client.ts';
import { requireCompatible, requireDiskType } from './compatibility.ts';
import { quotaHint } from './errors.ts';
import type { GceOptions, UnresolvedGceOptions } from './options.ts';
import { requireExistingInstance, readPublishedHostKey } from './existing-instance.ts';
import { imageAt, resolveImage } from './images.ts';
import { defaultDiskType, familyOf } from './machine-families.ts';
import { requireMachineType } from './machine-type.ts';
import { resolveNetwork } from './subnetwork.ts';
import { requireIpv4 } from './validate-options.ts';
import { requireZone, resolveDefaultZone } from './zones.ts';

/** Returns whether an earlier create has resolved every option; the record then holds the answers. */
export function hasResolvedOptions(options: UnresolvedGceOptions): boolean {
  const { project, zone, diskType, imageLink, useExisting, instanceLink } = options;
  if (project === undefined || zone === undefined || diskType === undefined) return false;
  return (useExisting ? instanceLink : imageLink) !== undefined;
}

type Quota = { readonly metric?: string; readonly limit?: number; readonly usage?: number };

/** Asks Google for every option that the user left open; creates nothing. */
export async function resolveOptions(gce: GceConnection, target: Target<UnresolvedGceOptions>): Promise<GceOptions> {
  const { zone = await resolveDefaultZone(gce, gce.call), diskType = defaultDiskType(target.options.machineType) } =
    target.options;
  const options: GceOptions = { ...target.options, zone, diskType };
  await requireIpv4(options);
  if (options.useExisting) return await resolveExistingInstance(gce, { ...target, options });
  const [, type, network] = await Promise.all([
    requireZone(gce, zone),
    requireMachineType(gce, options),
    resolveNetwork(gce, options),
    requireDiskType(gce, options),
  ]);
  const image =
    options.imageLink === undefined ? await resolveImage(gce, options, type.architecture) : imageAt(options.imageLink);
  requireCompatible(options, type, image);
  await requireQuota(gce, { ...target, options }, type.cpus ?? 0);
  return { ...options, ...connectionOptionsOf(gce), ...network, imageLink: image.link };
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

/** Returns the project and endpoint for the record, since a later command may run in another environment. */
function connectionOptionsOf({ project, endpoint }: GceConnection): Pick<GceOptions, 'project' | 'endpoint'> {
  return { project, ...(endpoint === undefined ? {} : { endpoint: endpoint.href }) };
}

/** Machine families with a CPU quota of their own in each region. */
const FAMILIES_WITH_OWN_QUOTA = ['A2', 'C2', 'C2D', 'C3', 'M1', 'M2', 'M3', 'N2', 'N2D', 'T2A', 'T2D'];
/** Machine families that share the quota `CPUS`. The API does not report the quotas of the other families. */
const FAMILIES_WITH_SHARED_QUOTA = ['E2', 'F1', 'G1', 'N1'];

/** Returns how much of the region's quotas one machine takes. */
function quotaNeedsOf(
  { machineType, spot, preemptible, address, useInternalIpOnly }: GceOptions,
  cpus: number,
): readonly QuotaNeed[] {
  const family = familyOf(machineType).toUpperCase();
  const cpuMetric = FAMILIES_WITH_OWN_QUOTA.includes(family)
    ? `${family}_CPUS`
    : FAMILIES_WITH_SHARED_QUOTA.includes(family)
      ? 'CPUS'
      : undefined;
  const isInternal = address === 'none' || useInternalIpOnly;
  return [
    // Spot instances have a quota of their own in some projects, and share this one in others.
    ...(spot || preemptible || cpuMetric === undefined ? [] : [{ metric: cpuMetric, perMachine: cpus, what: 'CPUs' }]),
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
      { hint: quotaHint({ project: gce.project, creates: true }, true) },
    );
  }
}
