import type { OwnerTags } from '../cloud/tags.ts';
import { regionOfZone } from './client.ts';
import { isMovable } from './machine-families.ts';
import type { GceOptions } from './options.ts';
import { nameLabel, networkTag } from './resource-names.ts';

export type GceInstanceSpec = {
  readonly options: GceOptions;
  readonly ownerId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** The static address of the instance; undefined if it gets any address, or none. */
  readonly natIP: string | undefined;
};

type ReferenceStyle = 'link' | 'name';

/**
 * Pure. Returns the request for instances. A request for one instance refers to types by link
 * (`zones/…/machineTypes/…`), a request for several by name.
 */
export function instanceRequestBody(
  { options, ownerId, labels, description, metadata, natIP }: GceInstanceSpec,
  style: ReferenceStyle,
): object {
  const { zone, minCpuPlatform } = options;
  const inZone = (kind: string, name: string): string => (style === 'link' ? `zones/${zone}/${kind}/${name}` : name);
  const accelerator = parseAccelerator(options);
  return {
    description,
    machineType: inZone('machineTypes', options.machineType),
    labels,
    tags: { items: [networkTag(ownerId), ...parseNetworkTags(options.tags)] },
    metadata: { items: Object.entries(metadata).map(([key, value]) => ({ key, value })) },
    disks: [
      {
        boot: true,
        autoDelete: true,
        initializeParams: {
          sourceImage: options.imageLink,
          diskSizeGb: String(options.diskSize),
          diskType: inZone('diskTypes', options.diskType),
          labels,
        },
      },
    ],
    networkInterfaces: [networkInterface(options, natIP)],
    scheduling: scheduling(options, accelerator === undefined && isMovable(options.machineType)),
    ...(options.serviceAccount === undefined
      ? {}
      : { serviceAccounts: [{ email: options.serviceAccount, scopes: scopesOf(options) }] }),
    ...(accelerator === undefined
      ? {}
      : {
          guestAccelerators: [
            { acceleratorType: inZone('acceleratorTypes', accelerator.type), acceleratorCount: accelerator.count },
          ],
        }),
    ...(minCpuPlatform === undefined ? {} : { minCpuPlatform }),
    ...(options.secureBoot ? { shieldedInstanceConfig: { enableSecureBoot: true } } : {}),
  };
}

export function parseLabels(labels: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(labels.map((label) => label.split('=') as [string, string]));
}

/** Returns the user's own labels and Slipway's, which win if both have the same key. */
export function buildLabels({ labels }: GceOptions, ownerTags: OwnerTags): Readonly<Record<string, string>> {
  return { ...parseLabels(labels), ...ownerTags, 'slipway-name': nameLabel(ownerTags['slipway-name']) };
}

/** Parses network tags that are given one by one, or separated by commas as for docker-machine. */
export const parseNetworkTags = splitAtCommas;

function splitAtCommas(items: readonly string[]): readonly string[] {
  return items.flatMap((item) => item.split(',').map((part) => part.trim())).filter(Boolean);
}

const SCOPE_PREFIX = 'https://www.googleapis.com/auth/';

/**
 * Returns the scopes of the service account, which are given one by one, or separated by commas as for docker-machine;
 * by default the scope of all APIs, since roles decide what the account may do. `logging.write` is short for the URL.
 */
function scopesOf({ scopes }: GceOptions): readonly string[] {
  const given = splitAtCommas(scopes).map((scope) => (scope.includes('/') ? scope : `${SCOPE_PREFIX}${scope}`));
  return given.length > 0 ? [...new Set(given)] : [`${SCOPE_PREFIX}cloud-platform`];
}

export function networkLink({ network }: Pick<GceOptions, 'network'>): string {
  return network.includes('/') ? network : `global/networks/${network}`;
}

function networkInterface(options: GceOptions, natIP: string | undefined): object {
  const { subnetwork, zone } = options;
  const network =
    subnetwork === undefined
      ? { network: networkLink(options) }
      : {
          subnetwork: subnetwork.includes('/') ? subnetwork : `regions/${regionOfZone(zone)}/subnetworks/${subnetwork}`,
        };
  if (isInternalOnly(options)) return network;
  return {
    ...network,
    accessConfigs: [{ type: 'ONE_TO_ONE_NAT', name: 'External NAT', ...(natIP === undefined ? {} : { natIP }) }],
  };
}

/** Returns whether Slipway connects to the address that only the machine's own network can reach. */
export function isReachedByInternalIp(options: GceOptions): boolean {
  return options.useInternalIp || isInternalOnly(options);
}

export function isInternalOnly({ address, useInternalIpOnly }: GceOptions): boolean {
  return address === 'none' || useInternalIpOnly;
}

function scheduling({ spot, preemptible, maintenancePolicy }: GceOptions, movable: boolean): object {
  if (spot || preemptible) {
    return {
      ...(spot ? { provisioningModel: 'SPOT', instanceTerminationAction: 'STOP' } : { preemptible: true }),
      automaticRestart: false,
      onHostMaintenance: 'TERMINATE',
    };
  }
  // Compute Engine can't move an instance with an accelerator to another host.
  return { automaticRestart: true, onHostMaintenance: maintenancePolicy ?? (movable ? 'MIGRATE' : 'TERMINATE') };
}

/** Parses `type=nvidia-tesla-t4,count=1`. */
export function parseAccelerator({
  accelerator,
}: Pick<GceOptions, 'accelerator'>): { readonly type: string; readonly count: number } | undefined {
  if (accelerator === undefined) return undefined;
  const parts = Object.fromEntries(accelerator.split(',').map((part) => part.split('=') as [string, string]));
  return { type: parts.type ?? '', count: Number(parts.count ?? 1) };
}
