import { pauseFor } from '../../cloud/insist.ts';
import type { Call, Target } from '../driver.ts';
import { type Gce, regionOf } from './client.ts';
import { type Instance, release } from './existing.ts';
import { removeRules, ruleAsked } from './firewall.ts';
import { findInstance } from './make.ts';
import { addressName, markOf } from './names.ts';
import { change } from './operation.ts';
import type { Options } from './options.ts';

/** A request that was on its way when its create was killed is known to Google by then. */
const LATE_SECONDS = 20;

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
  const until = target.asked === undefined ? 0 : Date.parse(target.asked.at) + LATE_SECONDS * 1000;
  for (let told = false, removed = 0; ;) {
    const instance = await findInstance(gce, target);
    if (instance) {
      await removeInstance(gce, instance.name ?? '', target.options.zone);
      removed += 1;
      continue;
    }
    if (removed > 0 || Date.now() >= until || (await isThere(gce, target))) return;
    if (!told)
      call.note(
        `Compute Engine was asked for its ${target.asked?.what} a moment ago; looking for it for up to ${LATE_SECONDS} s`,
      );
    told = true;
    await pauseFor(1000, call.signal);
  }
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

/** Whether machines of the same batch go on. */
async function othersOf(gce: Gce, target: Target<Options>): Promise<boolean> {
  const live = await gce.list<Instance>('looking for the rest of its batch', 'InstancesClient', 'list', {
    zone: target.options.zone,
    filter: `labels.slipway-id=${markOf(target)}`,
  });
  return live.some(({ labels }) => labels?.['slipway-id'] === markOf(target));
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
