import { ownerIdOf, sharedFirewallError } from '../cloud/batch.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { resourceNameOf, withGce, type GceConnection } from './client.ts';
import { requireDiskTypeFor } from './compatibility.ts';
import { replaceAllowedCidrs } from './firewall-rules.ts';
import { parseLabels, parseNetworkTags } from './instance-request.ts';
import { findInstance, type GceInstance, hasBatchSiblings } from './instances.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';
import { findMachineType, requireMachineType } from './machine-type.ts';

/** Applies changed labels and network tags, and changed CIDR blocks that may connect, to the existing resources. */
export async function applyChange(target: Target<GceOptions>, before: GceOptions, call: DriverCall): Promise<void> {
  const { options } = target;
  await withGce(options, call, async (gce) => {
    const instance = await findInstance(gce, target);
    if (instance && hasChanged(before.labels, options.labels)) await updateLabels(gce, instance, before, options);
    if (instance && hasChanged(before.tags, options.tags)) await updateNetworkTags(gce, instance, before, options);
    if (hasChanged(before.allowCidr, options.allowCidr))
      await replaceAllowedCidrs(gce, options, ruleOwnerIdOf(instance, target));
  });
}

/** Refuses a type that does not exist, and callers that would be able to connect to other machines. Changes nothing. */
export async function requireAllowedChange(
  target: Target<GceOptions>,
  before: GceOptions,
  call: DriverCall,
): Promise<void> {
  const { options } = target;
  const hasNewType = before.machineType !== options.machineType && !options.useExisting;
  const hasNewCidrs = hasChanged(before.allowCidr, options.allowCidr);
  if (!hasNewType && !hasNewCidrs) return;
  await withGce(options, call, async (gce) => {
    if (hasNewCidrs) await requireOwnFirewallRule(gce, target);
    if (hasNewType) await requireCompatibleType(gce, options, before);
  });
}

async function requireOwnFirewallRule(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const { name, id } = target;
  const instance = await findInstance(gce, target);
  if (ruleOwnerIdOf(instance, target) === id || !(await hasBatchSiblings(gce, target, instance?.name))) return;
  throw sharedFirewallError(
    name,
    'firewall rule',
    `Create it again alone: slipway rm ${name}, then slipway create ${name} with --gce-allow-cidr`,
  );
}

/** Returns the id in the name of the instance's firewall rule: its batch's, or its own if it was created alone. */
function ruleOwnerIdOf(instance: GceInstance | undefined, target: Target<GceOptions>): string {
  // The labels of an existing instance belong to its owner.
  return (target.options.useExisting ? undefined : instance?.labels?.['slipway-id']) ?? ownerIdOf(target);
}

async function requireCompatibleType(gce: GceConnection, options: GceOptions, before: GceOptions): Promise<void> {
  const [type, currentType] = await Promise.all([requireMachineType(gce, options), findMachineType(gce, before)]);
  const current = currentType?.architecture ?? type.architecture;
  if (type.architecture !== current)
    throw new SlipwayError(
      'USAGE',
      `${options.machineType} is ${type.architecture}, and the disk of the machine is for ${current}`,
      { hint: 'Choose another --gce-machine-type, or create another machine' },
    );
  // The disk keeps its type.
  requireDiskTypeFor(options.machineType, before.diskType);
}

const hasChanged = (from: readonly string[], to: readonly string[]): boolean => from.join() !== to.join();

async function updateLabels(
  gce: GceConnection,
  instance: GceInstance,
  before: GceOptions,
  { labels, zone }: GceOptions,
): Promise<void> {
  const replaced = Object.keys(parseLabels(before.labels));
  const others = Object.entries(instance.labels ?? {}).filter(([key]) => !replaced.includes(key));
  await runOperation(gce, 'setting its labels', 'InstancesClient', 'setLabels', {
    zone,
    instance: instance.name,
    instancesSetLabelsRequestResource: {
      labelFingerprint: instance.labelFingerprint,
      labels: { ...parseLabels(labels), ...Object.fromEntries(others) },
    },
  });
}

async function updateNetworkTags(
  gce: GceConnection,
  instance: GceInstance,
  before: GceOptions,
  { tags, zone }: GceOptions,
): Promise<void> {
  const replaced = parseNetworkTags(before.tags);
  const others = (instance.tags?.items ?? []).filter((tag) => !replaced.includes(tag));
  await runOperation(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
    zone,
    instance: instance.name,
    tagsResource: {
      fingerprint: instance.tags?.fingerprint,
      items: [...new Set([...others, ...parseNetworkTags(tags)])],
    },
  });
}

/** Changes the type of a stopped instance and grows its disk; both take effect at its next start. */
export async function resizeInstance(gce: GceConnection, instance: GceInstance, options: GceOptions): Promise<void> {
  const { zone, machineType, diskSize } = options;
  if (instance.machineType !== undefined && resourceNameOf(instance.machineType) !== machineType)
    await runOperation(gce, `changing its type to ${machineType}`, 'InstancesClient', 'setMachineType', {
      zone,
      instance: instance.name,
      instancesSetMachineTypeRequestResource: { machineType: `zones/${zone}/machineTypes/${machineType}` },
    });
  const root = instance.disks?.find(({ boot }) => boot === true) ?? instance.disks?.[0];
  if (root?.source === undefined || Number(root.diskSizeGb ?? diskSize) >= diskSize) return;
  await runOperation(gce, 'growing its disk', 'DisksClient', 'resize', {
    zone,
    disk: resourceNameOf(root.source),
    disksResizeRequestResource: { sizeGb: String(diskSize) },
  });
}
