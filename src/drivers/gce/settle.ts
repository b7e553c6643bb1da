import { SlipwayError } from '../../errors.ts';
import type { Target } from '../driver.ts';
import { type Gce, regionOf } from './client.ts';
import type { Options } from './options.ts';
import { existing, guestKey } from './existing.ts';

export function isSettled({ project, imageLink, useExisting, hostKey }: Options): boolean {
  return project !== undefined && (useExisting ? hostKey !== undefined : imageLink !== undefined);
}

type Quota = { readonly metric?: string; readonly limit?: number; readonly usage?: number };

/** Everything that was left open, asked of Google; nothing is made. */
export async function settled(gce: Gce, target: Target<Options>): Promise<Options> {
  const { options } = target;
  const { zone } = options;
  if (options.useExisting) {
    const instance = await existing(gce, target);
    const hostKey = options.hostKey ?? (await guestKey(gce, target));
    if (hostKey !== undefined) return { ...options, project: gce.project, hostKey };
    throw new SlipwayError('HOST_KEY', `${instance.name} publishes no SSH host key (guest attributes are off)`, {
      hint: 'Look at it in the serial console and insist on it: --gce-host-key SHA256:…',
    });
  }
  const [place, type, imageLink] = await Promise.all([
    gce.find(`looking for the zone ${zone}`, 'ZonesClient', 'get', { zone }),
    gce.find<{ guestCpus?: number }>(
      `looking for the machine type ${options.machineType}`,
      'MachineTypesClient',
      'get',
      {
        zone,
        machineType: options.machineType,
      },
    ),
    imageOf(gce, options),
  ]);
  if (!place) throw missing(`There is no zone ${zone} in Compute Engine`, 'For example: --gce-zone europe-west3-a');
  if (!type)
    throw missing(
      `There is no machine type ${options.machineType} in ${zone}`,
      'For example: --gce-machine-type e2-medium',
    );
  await roomFor(gce, zone, type.guestCpus ?? 0);
  const network = await networkOf(gce, options);
  return { ...options, project: gce.project, imageLink, ...(network === undefined ? {} : { network }) };
}

function missing(sentence: string, hint: string): SlipwayError {
  return new SlipwayError('USAGE', sentence, { hint });
}

/** Told now, when nothing costs anything yet. */
async function roomFor(gce: Gce, zone: string, cpus: number): Promise<void> {
  const region = regionOf(zone);
  const found = await gce.find<{ quotas?: readonly Quota[] }>(
    `looking at your quota in ${region}`,
    'RegionsClient',
    'get',
    {
      region,
    },
  );
  const quota = found?.quotas?.find(({ metric }) => String(metric) === 'CPUS');
  if (quota?.limit === undefined || quota.limit - (quota.usage ?? 0) >= cpus) return;
  throw new SlipwayError(
    'QUOTA',
    `Your project has ${quota.limit - (quota.usage ?? 0)} of ${quota.limit} CPUs left in ${region}, and this machine needs ${cpus}`,
    { hint: 'Ask Google for more (IAM & Admin, Quotas), or choose another --gce-zone or --gce-machine-type' },
  );
}

async function imageOf(gce: Gce, options: Options): Promise<string> {
  const { project, family, image } = wantedImage(options);
  const what = `the image ${family ?? image} of ${project}`;
  const found = await gce.find<{ selfLink?: string }>(
    `looking for ${what}`,
    'ImagesClient',
    family === undefined ? 'get' : 'getFromFamily',
    family === undefined ? { project, image } : { project, family },
  );
  if (found?.selfLink !== undefined) return found.selfLink;
  throw missing(
    `There is no ${what.replace(/^the /, '')} in Compute Engine`,
    'For example: --gce-image-family debian-13',
  );
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
  const [, region = regionOf(zone), name = subnetwork] =
    /regions\/([^/]+)\/subnetworks\/([^/]+)$/.exec(subnetwork) ?? [];
  const [, project = gce.project] = /projects\/([^/]+)\//.exec(subnetwork) ?? [];
  const found = await gce.find<{ network?: string }>(`looking for the subnetwork ${name}`, 'SubnetworksClient', 'get', {
    project,
    region,
    subnetwork: name,
  });
  if (found?.network !== undefined) return found.network.replace(/^https:\/\/[^/]+\/compute\/v1\//, '');
  throw missing(`There is no subnetwork ${name} in ${region}`, 'Check --gce-subnetwork');
}
