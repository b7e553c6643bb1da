import { ownerIdOf } from '../cloud/batch.ts';
import { waitUntilVisible } from '../cloud/eventual-consistency.ts';
import type { DriverCall, Target } from '../contract.ts';
import { deleteReservedAddress, findAddress } from './addresses.ts';
import { type GceConnection, regionOfZone } from './client.ts';
import { revokeAccess } from './existing-instance.ts';
import { deleteFirewallRules, findRequestedRule } from './firewall-rules.ts';
import { CONSISTENCY_WINDOW, findInstance, type GceInstance, hasBatchSiblings } from './instances.ts';
import { addressName } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

/** Deletes every resource that carries the machine's id. Succeeds if there is none. */
export async function removeMachine(gce: GceConnection, target: Target<GceOptions>, call: DriverCall): Promise<void> {
  const { options } = target;
  if (options.useExisting) await revokeAccess(gce, target);
  else await deleteInstances(gce, target, call);
  const isShared = target.batch ? await hasBatchSiblings(gce, target) : false;
  for (const ownerId of new Set([target.id, ...(isShared ? [] : [ownerIdOf(target)])])) {
    await deleteDisks(gce, ownerId, options.zone);
    await deleteReservedAddress(gce, ownerId, options);
    await deleteFirewallRules(gce, ownerId, options);
  }
}

/**
 * Deletes the machine's own instance and the one with its index in the batch: an interrupted create may have left both.
 */
async function deleteInstances(gce: GceConnection, target: Target<GceOptions>, call: DriverCall): Promise<void> {
  const find = (): Promise<GceInstance | undefined> => findInstance(gce, target);
  const isComplete = (): Promise<boolean> => isLastRequestVisible(gce, target);
  let instance = await waitUntilVisible(target.lastRequest, find, { ...CONSISTENCY_WINDOW, isComplete }, call);
  for (; instance; instance = await find()) await deleteInstance(gce, instance.name ?? '', target.options.zone);
}

/** Returns whether the last request created an address or a rule that shows: no instance was requested after it. */
async function isLastRequestVisible(
  gce: GceConnection,
  { lastRequest, ...target }: Target<GceOptions>,
): Promise<boolean> {
  const ownerId = ownerIdOf(target);
  if (lastRequest?.what === 'address')
    return (await findAddress(gce, addressName(ownerId), regionOfZone(target.options.zone))) !== undefined;
  return (await findRequestedRule(gce, lastRequest?.what ?? '', ownerId, target.options)) !== undefined;
}

export async function deleteInstance(gce: GceConnection, instance: string, zone: string): Promise<void> {
  await runOperation(gce, 'deleting the instance', 'InstancesClient', 'delete', { zone, instance });
}

/** Deletes the disks that Compute Engine did not delete with their instance. */
async function deleteDisks(gce: GceConnection, ownerId: string, zone: string): Promise<void> {
  const disks = await gce.list<Pick<GceInstance, 'name' | 'labels'> & { readonly users?: readonly string[] }>(
    'looking for its disks',
    'DisksClient',
    'list',
    { zone, filter: `labels.slipway-id=${ownerId}` },
  );
  // An emulator ignores filters, and lists other disks too.
  const owned = disks.filter(({ labels, users = [] }) => labels?.['slipway-id'] === ownerId && users.length === 0);
  for (const { name = '' } of owned) await deleteDisk(gce, name, zone);
}

export async function deleteDisk(gce: GceConnection, disk: string, zone: string): Promise<void> {
  await runOperation(gce, 'deleting its disk', 'DisksClient', 'delete', { zone, disk });
}
