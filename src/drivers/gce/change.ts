import { SlipwayError } from '../../errors.ts';
import type { Call, Target } from '../contract.ts';
import { nameIn, withGce, type Gce } from './client.ts';
import type { Instance } from './existing.ts';
import { setBlocks } from './firewall.ts';
import { theirTags } from './instance.ts';
import { findInstance, theirLabels } from './make.ts';
import { markOf } from './names.ts';
import { change } from './operation.ts';
import type { Options } from './options.ts';
import { othersOf } from './remove.ts';
import { machineTypeOf, noType } from './settle.ts';

/** Labels and network tags of the user's, and who may connect: at once. */
export async function carryOver(target: Target<Options>, before: Options, call: Call): Promise<void> {
  const { options } = target;
  await withGce(options, call, async (gce) => {
    const one = await findInstance(gce, target);
    if (one && isOther(before.labels, options.labels)) await relabel(gce, one, before, options);
    if (one && isOther(before.tags, options.tags)) await retag(gce, one, before, options);
    if (isOther(before.allowCidr, options.allowCidr)) await setBlocks(gce, options, ruleMark(one, target));
  });
}

/** Asks, and changes nothing: a type that there is not, and callers of machines that nobody spoke of. */
export async function checkChange(target: Target<Options>, before: Options, call: Call): Promise<void> {
  const { options } = target;
  const [retyped, opened] = [before.machineType !== options.machineType, isOther(before.allowCidr, options.allowCidr)];
  if (!opened && (!retyped || options.useExisting)) return;
  await withGce(options, call, async (gce) => {
    if (opened) await ownRule(gce, target);
    if (retyped && !options.useExisting) await fittingType(gce, options, before);
  });
}

async function ownRule(gce: Gce, target: Target<Options>): Promise<void> {
  const { name, id } = target;
  const one = await findInstance(gce, target);
  if (ruleMark(one, target) === id || !(await othersOf(gce, target, one?.name))) return;
  throw new SlipwayError('USAGE', `"${name}" shares its firewall rule with the machines that were made with it`, {
    hint: `Make it anew, alone: slipway rm ${name}, then create it with --gce-allow-cidr`,
  });
}

/** By which mark the firewall rule is found that the instance has: its batch's, or its own when it was made alone. */
function ruleMark(one: Instance | undefined, target: Target<Options>): string {
  // The marks of an instance that exists are somebody else's.
  return (target.options.useExisting ? undefined : one?.labels?.['slipway-id']) ?? markOf(target);
}

async function fittingType(gce: Gce, options: Options, before: Options): Promise<void> {
  const [type, last] = await Promise.all([machineTypeOf(gce, options), machineTypeOf(gce, before)]);
  if (!type) throw noType(options);
  const [to = '', from = to] = [type.architecture, last?.architecture];
  if (to === '' || from === to) return;
  throw new SlipwayError('USAGE', `${options.machineType} is ${to}, and the disk of the machine is made for ${from}`, {
    hint: 'Choose a type of the same architecture: --gce-machine-type; or make another machine',
  });
}

const isOther = (from: readonly string[], to: readonly string[]): boolean => from.join() !== to.join();

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
