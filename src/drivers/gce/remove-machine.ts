import type { DriverCall, Target } from '../contract.ts';
import { type GceConnection, regionOfZone } from './client.ts';
import { type GceInstance, revokeAccess } from './existing-instance.ts';
import { deleteFirewallRules, findRequestedRule } from './firewall-rules.ts';
import { waitUntilVisible } from './eventual-consistency.ts';
import { findInstance } from './create-instances.ts';
import { addressName, ownerIdOf } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

/** Whatever carries the machine's id goes; nothing is said where there is nothing. */
export async function removeMachine(gce: GceConnection, target: Target<GceOptions>, call: DriverCall): Promise<void> {
  const { options } = target;
  if (options.useExisting) await revokeAccess(gce, target);
  else await deleteInstances(gce, target, call);
  const shared = target.batch ? await hasBatchSiblings(gce, target) : false;
  const marks = [...new Set([target.id, ...(shared ? [] : [ownerIdOf(target)])])];
  for (const mark of marks) {
    await deleteDisks(gce, mark, options.zone);
    await deleteAddress(gce, addressName(mark), regionOfZone(options.zone));
    await deleteFirewallRules(gce, mark, options);
  }
}

/** Its own, and the one of its place in a batch: a create that was killed may have left both. */
async function deleteInstances(gce: GceConnection, target: Target<GceOptions>, call: DriverCall): Promise<void> {
  const find = (): Promise<GceInstance | undefined> => findInstance(gce, target);
  const look = async (): Promise<GceInstance | 'none' | undefined> =>
    (await find()) ?? ((await isLastRequestVisible(gce, target)) ? 'none' : undefined);
  const first = await waitUntilVisible(target.lastRequest, look, call);
  for (let one = first === 'none' ? undefined : first; one; one = await find())
    await deleteInstance(gce, one.name ?? '', target.options.zone);
}

/** What was asked for last is there and is no instance: nothing came after it. */
async function isLastRequestVisible(
  gce: GceConnection,
  { lastRequest, ...target }: Target<GceOptions>,
): Promise<boolean> {
  const mark = ownerIdOf(target);
  if (lastRequest?.what !== 'address')
    return (await findRequestedRule(gce, lastRequest?.what ?? '', mark)) !== undefined;
  const wish = { region: regionOfZone(target.options.zone), address: addressName(mark) };
  return (await gce.find('looking for its address', 'AddressesClient', 'get', wish)) !== undefined;
}

export async function deleteInstance(gce: GceConnection, instance: string, zone: string): Promise<void> {
  await runOperation(gce, 'removing the instance', 'InstancesClient', 'delete', { zone, instance });
}

/** Whether machines of the same batch go on, besides the instance of this name. */
export async function hasBatchSiblings(gce: GceConnection, target: Target<GceOptions>, own?: string): Promise<boolean> {
  const live = await gce.list<GceInstance>('looking for the rest of its batch', 'InstancesClient', 'list', {
    zone: target.options.zone,
    filter: `labels.slipway-id=${ownerIdOf(target)}`,
  });
  return live.some(({ name, labels }) => labels?.['slipway-id'] === ownerIdOf(target) && name !== own);
}

/** Those that no instance took along. */
async function deleteDisks(gce: GceConnection, mark: string, zone: string): Promise<void> {
  const disks = await gce.list<Pick<GceInstance, 'name' | 'labels'> & { readonly users?: readonly string[] }>(
    'looking for its disks',
    'DisksClient',
    'list',
    {
      zone,
      filter: `labels.slipway-id=${mark}`,
    },
  );
  // What a list shows too many is not ours to remove.
  const ours = disks.filter(({ labels, users = [] }) => labels?.['slipway-id'] === mark && users.length === 0);
  for (const { name = '' } of ours) await deleteDisk(gce, name, zone);
}

export async function deleteDisk(gce: GceConnection, disk: string, zone: string): Promise<void> {
  await runOperation(gce, 'removing its disk', 'DisksClient', 'delete', { zone, disk });
}

export async function deleteAddress(gce: GceConnection, address: string, region: string): Promise<void> {
  await runOperation(gce, 'removing its address', 'AddressesClient', 'delete', { region, address });
}
