import type { Call, Target } from '../driver.ts';
import { nameIn, withGce, type Gce } from './client.ts';
import type { Instance } from './existing.ts';
import { setBlocks } from './firewall.ts';
import { theirTags } from './instance.ts';
import { findInstance, theirLabels } from './make.ts';
import { change } from './operation.ts';
import type { Options } from './options.ts';

/** Labels and network tags of the user's, and who may connect: at once. */
export async function carryOver(target: Target<Options>, before: Options, call: Call): Promise<void> {
  const { options } = target;
  await withGce(options, call, async (gce) => {
    const one = await findInstance(gce, target);
    if (one && before.labels.join() !== options.labels.join()) await relabel(gce, one, before, options);
    if (one && before.tags.join() !== options.tags.join()) await retag(gce, one, before, options);
    if (before.allowCidr.join() !== options.allowCidr.join()) await setBlocks(gce, target);
  });
}

async function relabel(gce: Gce, one: Instance, before: Options, { labels, zone }: Options): Promise<void> {
  const gone = Object.keys(theirLabels(before.labels));
  const kept = Object.entries(one.labels ?? {}).filter(([key]) => !gone.includes(key));
  await change(gce, 'setting its labels', 'InstancesClient', 'setLabels', {
    zone,
    instance: one.name,
    instancesSetLabelsRequestResource: {
      labelFingerprint: one.labelFingerprint,
      labels: { ...theirLabels(labels), ...Object.fromEntries(kept) },
    },
  });
}

async function retag(gce: Gce, one: Instance, before: Options, { tags, zone }: Options): Promise<void> {
  const gone = theirTags(before.tags);
  const kept = (one.tags?.items ?? []).filter((tag) => !gone.includes(tag));
  await change(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
    zone,
    instance: one.name,
    tagsResource: { fingerprint: one.tags?.fingerprint, items: [...new Set([...kept, ...theirTags(tags)])] },
  });
}

/** Another type, and a larger disk, for an instance that is stopped: it takes them as it starts. */
export async function resize(gce: Gce, one: Instance, options: Options): Promise<void> {
  const { zone, machineType, diskSize } = options;
  if (one.machineType !== undefined && nameIn(one.machineType) !== machineType)
    await change(gce, 'changing its type', 'InstancesClient', 'setMachineType', {
      zone,
      instance: one.name,
      instancesSetMachineTypeRequestResource: { machineType: `zones/${zone}/machineTypes/${machineType}` },
    });
  const root = one.disks?.find(({ boot }) => boot === true) ?? one.disks?.[0];
  if (root?.source === undefined || Number(root.diskSizeGb ?? diskSize) >= diskSize) return;
  await change(gce, 'making its disk larger', 'DisksClient', 'resize', {
    zone,
    disk: nameIn(root.source),
    disksResizeRequestResource: { sizeGb: String(diskSize) },
  });
}
