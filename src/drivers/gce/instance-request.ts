import type { GceOptions } from './options.ts';
import { regionOfZone } from './client.ts';
import { networkTag } from './resource-names.ts';

export type GceInstanceSpec = {
  readonly options: GceOptions;
  readonly ownerId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly description: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** The address to have, when it is a fixed one. */
  readonly natIP: string | undefined;
};

type ReferenceStyle = 'link' | 'name';

/** Pure: what Compute Engine is asked for. In bulk, types are named; alone, they are linked. */
export function instanceRequestBody(
  { options, ownerId, labels, description, metadata, natIP }: GceInstanceSpec,
  style: ReferenceStyle,
): object {
  const { zone, minCpuPlatform } = options;
  const inZone = (kind: string, name: string): string => (style === 'link' ? `zones/${zone}/${kind}/${name}` : name);
  const accelerator = acceleratorOf(options);
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
    scheduling: scheduling(options, accelerator !== undefined),
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

/** One by one, or with commas between them as the old tool has them. */
export function parseNetworkTags(tags: readonly string[]): readonly string[] {
  return tags.flatMap((tag) => tag.split(','));
}

/** One scope that stands for all; what the account may do is decided by its roles. */
function scopesOf({ scopes }: GceOptions): readonly string[] {
  return scopes.length > 0 ? scopes : ['https://www.googleapis.com/auth/cloud-platform'];
}

export function networkLink({ network }: Pick<GceOptions, 'network'>): string {
  return network.includes('/') ? network : `global/networks/${network}`;
}

function networkInterface(options: GceOptions, natIP: string | undefined): object {
  const { subnetwork, zone } = options;
  const place =
    subnetwork === undefined
      ? { network: networkLink(options) }
      : {
          subnetwork: subnetwork.includes('/') ? subnetwork : `regions/${regionOfZone(zone)}/subnetworks/${subnetwork}`,
        };
  if (isInternalOnly(options)) return place;
  return {
    ...place,
    accessConfigs: [{ type: 'ONE_TO_ONE_NAT', name: 'External NAT', ...(natIP === undefined ? {} : { natIP }) }],
  };
}

/** By an address that its network alone knows. */
export function isReachedByInternalIp(options: GceOptions): boolean {
  return options.useInternalIp || isInternalOnly(options);
}

export function isInternalOnly({ address, useInternalIpOnly }: GceOptions): boolean {
  return address === 'none' || useInternalIpOnly;
}

function scheduling({ spot, preemptible, maintenancePolicy }: GceOptions, accelerated: boolean): object {
  if (spot || preemptible) {
    return {
      ...(spot ? { provisioningModel: 'SPOT', instanceTerminationAction: 'STOP' } : { preemptible: true }),
      automaticRestart: false,
      onHostMaintenance: 'TERMINATE',
    };
  }
  // A machine with an accelerator can't be moved.
  return { automaticRestart: true, onHostMaintenance: maintenancePolicy ?? (accelerated ? 'TERMINATE' : 'MIGRATE') };
}

function acceleratorOf({ accelerator }: GceOptions): { readonly type: string; readonly count: number } | undefined {
  if (accelerator === undefined) return undefined;
  const parts = Object.fromEntries(accelerator.split(',').map((part) => part.split('=') as [string, string]));
  return { type: parts.type ?? '', count: Number(parts.count ?? 1) };
}
