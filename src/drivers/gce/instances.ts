import { ownerIdOf } from '../cloud/batch.ts';
import { instanceName } from '../cloud/resource-names.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import { type GceConnection, resourceNameOf } from './client.ts';
import type { GceOptions } from './options.ts';

export type KeyValueItem = { readonly key?: string; readonly value?: string };

/** The fields of an instance that this driver reads. */
export type GceInstance = {
  readonly name?: string;
  readonly status?: string;
  readonly zone?: string;
  readonly machineType?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
  readonly scheduling?: { readonly provisioningModel?: string; readonly preemptible?: boolean };
  readonly disks?: readonly {
    readonly diskSizeGb?: string | number;
    readonly type?: string;
    readonly source?: string;
    readonly boot?: boolean;
  }[];
  readonly tags?: { readonly items?: readonly string[]; readonly fingerprint?: string };
  readonly metadata?: { readonly items?: readonly KeyValueItem[]; readonly fingerprint?: string };
  readonly labelFingerprint?: string;
  readonly networkInterfaces?: readonly {
    readonly network?: string;
    readonly subnetwork?: string;
    readonly networkIP?: string;
    readonly accessConfigs?: readonly { readonly natIP?: string }[];
  }[];
};

/** Compute Engine calls a stopped instance TERMINATED. */
export const isStopped = ({ status = '' }: GceInstance): boolean => ['TERMINATED', 'STOPPED'].includes(status);
export const isStopping = ({ status = '' }: GceInstance): boolean =>
  ['STOPPING', 'SUSPENDING', 'PENDING_STOP'].includes(status);

/** A request that was on its way when its create was interrupted shows its result within this time. */
export const CONSISTENCY_WINDOW = { provider: 'Compute Engine', seconds: 20 };

/** Returns the machine's instance: its own, or the one with its index in its batch. */
export async function findInstance(gce: GceConnection, target: Target<GceOptions>): Promise<GceInstance | undefined> {
  const { id, name, options } = target;
  if (options.useExisting) return await findInstanceByName(gce, name, options.zone);
  // An adopted instance has the name that the other tool gave it.
  if (options.instanceLink !== undefined) {
    const found = await findInstanceByName(gce, resourceNameOf(options.instanceLink), options.zone);
    return target.adoptedResource !== undefined || found?.labels?.['slipway-id'] === id ? found : undefined;
  }
  for (const identity of [target, ...(target.batch ? [{ id, name }] : [])]) {
    const found = await findInstanceByName(gce, instanceName(identity), options.zone);
    if (found?.labels?.['slipway-id'] === ownerIdOf(identity)) return found;
  }
  return undefined;
}

export function findInstanceByName(
  gce: GceConnection,
  instance: string,
  zone: string,
): Promise<GceInstance | undefined> {
  return gce.find<GceInstance>('looking for its instance', 'InstancesClient', 'get', { zone, instance });
}

/**
 * Returns whether the instance exists and is the machine's. Throws if another tool has created an instance with that
 * name.
 */
export function isOwnInstance(instance: GceInstance | undefined, ownerId: string): boolean {
  if (!instance || instance.labels?.['slipway-id'] === ownerId) return instance !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `The instance ${instance.name} exists, and Slipway did not create it`, {
    hint: 'Choose another name for the machine, or use that instance: --gce-use-existing',
  });
}

/** Returns whether other instances of the machine's batch exist, besides the one with this name. */
export async function hasBatchSiblings(
  gce: GceConnection,
  target: Target<GceOptions>,
  ownName?: string,
): Promise<boolean> {
  const ownerId = ownerIdOf(target);
  const live = await gce.list<GceInstance>('looking for the rest of its batch', 'InstancesClient', 'list', {
    zone: target.options.zone,
    filter: `labels.slipway-id=${ownerId}`,
  });
  return live.some(({ name, labels }) => labels?.['slipway-id'] === ownerId && name !== ownName);
}
