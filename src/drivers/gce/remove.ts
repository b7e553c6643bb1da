import type { Call, Target } from '../contract.ts';
import { type Gce, regionOf } from './client.ts';
import { type Instance, release } from './existing.ts';
import { removeRules, ruleAsked } from './firewall.ts';
import { untilShown } from './late.ts';
import { findInstance } from './make.ts';
import { addressName, markOf } from './names.ts';
import { change } from './operation.ts';
import type { Options } from './options.ts';

/** Whatever carries the machine's id goes; nothing is said where there is nothing. */
export async function removeAll(gce: Gce, target: Target<Options>, call: Call): Promise<void> {
  const { options } = target;
  if (options.useExisting) await release(gce, target);
  else await removeInstances(gce, target, call);
  const shared = target.batch ? await othersOf(gce, target) : false;
  const marks = [...new Set([target.id, ...(shared ? [] : [markOf(target)])])];
  for (const mark of marks) {
    await removeDisks(gce, mark, options.zone);
    await removeAddress(gce, addressName(mark), regionOf(options.zone));
    await removeRules(gce, mark, options);
  }
}

/** Its own, and the one of its place in a batch: a create that was killed may have left both. */
async function removeInstances(gce: Gce, target: Target<Options>, call: Call): Promise<void> {
  const find = (): Promise<Instance | undefined> => findInstance(gce, target);
  const look = async (): Promise<Instance | 'none' | undefined> =>
    (await find()) ?? ((await isThere(gce, target)) ? 'none' : undefined);
  const first = await untilShown(target.asked, look, call);
  for (let one = first === 'none' ? undefined : first; one; one = await find())
    await removeInstance(gce, one.name ?? '', target.options.zone);
}

/** What was asked for last is there and is no instance: nothing came after it. */
async function isThere(gce: Gce, { asked, ...target }: Target<Options>): Promise<boolean> {
  const mark = markOf(target);
  if (asked?.what !== 'address') return (await ruleAsked(gce, asked?.what ?? '', mark)) !== undefined;
  const wish = { region: regionOf(target.options.zone), address: addressName(mark) };
  return (await gce.find('looking for its address', 'AddressesClient', 'get', wish)) !== undefined;
}

export async function removeInstance(gce: Gce, instance: string, zone: string): Promise<void> {
  await change(gce, 'removing the instance', 'InstancesClient', 'delete', { zone, instance });
}

/** Whether machines of the same batch go on, besides the instance of this name. */
export async function othersOf(gce: Gce, target: Target<Options>, own?: string): Promise<boolean> {
  const live = await gce.list<Instance>('looking for the rest of its batch', 'InstancesClient', 'list', {
    zone: target.options.zone,
    filter: `labels.slipway-id=${markOf(target)}`,
  });
  return live.some(({ name, labels }) => labels?.['slipway-id'] === markOf(target) && name !== own);
}

/** Those that no instance took along. */
async function removeDisks(gce: Gce, mark: string, zone: string): Promise<void> {
  const disks = await gce.list<Pick<Instance, 'name' | 'labels'> & { readonly users?: readonly string[] }>(
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
  for (const { name = '' } of ours) await removeDisk(gce, name, zone);
}

export async function removeDisk(gce: Gce, disk: string, zone: string): Promise<void> {
  await change(gce, 'removing its disk', 'DisksClient', 'delete', { zone, disk });
}

export async function removeAddress(gce: Gce, address: string, region: string): Promise<void> {
  await change(gce, 'removing its address', 'AddressesClient', 'delete', { region, address });
}
