import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import { type Gce, nameIn, regionOf, relative } from './client.ts';
import { MORE } from './errors.ts';
import type { Options } from './options.ts';
import { existing, guestKey } from './existing.ts';
import { placeOf, subnetworkAt } from './subnetwork.ts';

/** Whether Google was asked before: all else may have been given. */
export function isSettled({ project, imageLink, useExisting, instanceLink }: Options): boolean {
  return project !== undefined && (useExisting ? instanceLink : imageLink) !== undefined;
}

type Quota = { readonly metric?: string; readonly limit?: number; readonly usage?: number };

/** Everything that was left open, asked of Google; nothing is made. */
export async function settled(gce: Gce, target: Target<Options>): Promise<Options> {
  const { options } = target;
  const { zone } = options;
  if (options.useExisting) return await settledExisting(gce, target);
  const [place, type, imageLink] = await Promise.all([
    gce.find(`looking for the zone ${zone}`, 'ZonesClient', 'get', { zone }),
    machineTypeOf(gce, options),
    imageOf(gce, options),
  ]);
  if (!place) throw missing(`There is no zone ${zone} in Compute Engine`, 'For example: --gce-zone europe-west3-a');
  if (!type) throw noType(options);
  await roomFor(gce, target, type.guestCpus ?? 0);
  const network = await networkOf(gce, options);
  return { ...options, ...wayOf(gce), imageLink, ...(network === undefined ? {} : { network }) };
}

async function settledExisting(gce: Gce, target: Target<Options>): Promise<Options> {
  const { options } = target;
  const instance = await existing(gce, target);
  const hostKey = options.hostKey ?? (await guestKey(gce, target));
  if (hostKey === undefined)
    throw new SlipwayError('HOST_KEY', `${instance.name} publishes no SSH host key (guest attributes are off)`, {
      hint: 'Look at it in the serial console and insist on it: --gce-host-key SHA256:…',
    });
  const [card] = instance.networkInterfaces ?? [];
  const [network, subnetwork] = [relative(card?.network), relative(card?.subnetwork)];
  return {
    ...options,
    ...wayOf(gce),
    hostKey,
    instanceLink: `projects/${gce.project}/zones/${options.zone}/instances/${instance.name}`,
    ...(network === undefined ? {} : { network }),
    ...(subnetwork === undefined ? {} : { subnetwork }),
  };
}

export type MachineType = { readonly guestCpus?: number; readonly architecture?: string };

export async function machineTypeOf(
  gce: Gce,
  { zone, machineType }: Pick<Options, 'zone' | 'machineType'>,
): Promise<MachineType | undefined> {
  const doing = `looking for the machine type ${machineType}`;
  return await gce.find<MachineType>(doing, 'MachineTypesClient', 'get', { zone, machineType });
}

export function noType({ zone, machineType }: Options): SlipwayError {
  return missing(`There is no machine type ${machineType} in ${zone}`, 'For example: --gce-machine-type e2-medium');
}

/** Whose account, and where it is asked for: what the environment says today, later commands must not look for again. */
function wayOf({ project, endpoint }: Gce): Pick<Options, 'project' | 'endpoint'> {
  return { project, ...(endpoint === undefined ? {} : { endpoint: endpoint.href }) };
}

function missing(sentence: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', sentence, { hint });
}

/** Machine families that are counted apart; the others are `CPUS`. */
const FAMILIES = ['A2', 'C2', 'C2D', 'C3', 'M1', 'M2', 'M3', 'N2', 'N2D', 'T2A', 'T2D'];

/** What one machine takes of the region's quotas. */
function needs({ machineType, spot, preemptible, address, useInternalIpOnly }: Options, cpus: number): readonly Need[] {
  const family = (machineType.split('-')[0] ?? '').toUpperCase();
  const inside = address === 'none' || useInternalIpOnly;
  return [
    // What may be ended at any time has a quota of its own, or counts with the others.
    ...(spot || preemptible
      ? []
      : [{ metric: FAMILIES.includes(family) ? `${family}_CPUS` : 'CPUS', each: cpus, what: 'CPUs' }]),
    { metric: 'INSTANCES', each: 1, what: 'instances' },
    ...(inside ? [] : [{ metric: 'IN_USE_ADDRESSES', each: 1, what: 'addresses in use' }]),
    ...(address === 'static' ? [{ metric: 'STATIC_ADDRESSES', each: 1, what: 'static addresses' }] : []),
  ];
}

type Need = { readonly metric: string; readonly each: number; readonly what: string };

/** Told now, when nothing costs anything yet. */
async function roomFor(gce: Gce, { options, batch }: Target<Options>, cpus: number): Promise<void> {
  const region = regionOf(options.zone);
  const doing = `looking at your quota in ${region}`;
  const found = await gce.find<{ quotas?: readonly Quota[] }>(doing, 'RegionsClient', 'get', { region });
  const count = batch?.size ?? 1;
  for (const { metric, each, what } of needs(options, cpus)) {
    const quota = found?.quotas?.find((one) => String(one.metric) === metric);
    if (quota?.limit === undefined) continue;
    const left = quota.limit - (quota.usage ?? 0);
    if (left >= each * count) continue;
    throw new SlipwayError(
      'QUOTA',
      `Your project has ${left} of ${quota.limit} ${what} left in ${region} (${metric}), and ${count === 1 ? 'this machine needs' : `${count} machines need`} ${each * count}`,
      { hint: MORE },
    );
  }
}

async function imageOf(gce: Gce, options: Options): Promise<string> {
  const { project, family, image } = wantedImage(options);
  const what = `image ${family ?? image} of ${project}`;
  const found = await gce.find<{ selfLink?: string; name?: string }>(
    `looking for the ${what}`,
    'ImagesClient',
    family === undefined ? 'get' : 'getFromFamily',
    family === undefined ? { project, image } : { project, family },
  );
  const name = found?.name ?? nameIn(found?.selfLink);
  if (name !== '') return `projects/${project}/global/images/${name}`;
  throw missing(`There is no ${what} in Compute Engine`, 'For example: --gce-image-family debian-13');
}

/** The old tool's paths and URLs too: `PROJECT/global/images/NAME`, `…/images/family/NAME`. */
export function wantedImage({ machineImage, imageFamily, imageProject }: Options): {
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

/** A firewall rule is of a network, and a subnetwork knows its own. */
async function networkOf(gce: Gce, { subnetwork, zone }: Options): Promise<string | undefined> {
  if (subnetwork === undefined) return undefined;
  const found = await subnetworkAt(gce, subnetwork, zone);
  if (found) return found.network;
  const { region, name } = placeOf(subnetwork, zone);
  throw missing(`There is no subnetwork ${name} in ${region}`, 'Check --gce-subnetwork');
}
