import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { resourceNameOf, withGce, type GceConnection } from './client.ts';
import type { GceInstance } from './existing-instance.ts';
import { replaceAllowedCidrs } from './firewall-rules.ts';
import { parseNetworkTags } from './instance-request.ts';
import { findInstance, parseLabels } from './create-instances.ts';
import { ownerIdOf } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';
import { hasBatchSiblings } from './remove-machine.ts';
import { findMachineType, noMachineTypeError } from './resolve-options.ts';

/** Labels and network tags of the user's, and who may connect: at once. */
export async function applyChange(target: Target<GceOptions>, before: GceOptions, call: DriverCall): Promise<void> {
  const { options } = target;
  await withGce(options, call, async (gce) => {
    const one = await findInstance(gce, target);
    if (one && hasChanged(before.labels, options.labels)) await updateLabels(gce, one, before, options);
    if (one && hasChanged(before.tags, options.tags)) await updateNetworkTags(gce, one, before, options);
    if (hasChanged(before.allowCidr, options.allowCidr))
      await replaceAllowedCidrs(gce, options, ruleOwnerIdOf(one, target));
  });
}

/** Asks, and changes nothing: a type that there is not, and callers of machines that nobody spoke of. */
export async function requireAllowedChange(
  target: Target<GceOptions>,
  before: GceOptions,
  call: DriverCall,
): Promise<void> {
  const { options } = target;
  const [retyped, opened] = [
    before.machineType !== options.machineType,
    hasChanged(before.allowCidr, options.allowCidr),
  ];
  if (!opened && (!retyped || options.useExisting)) return;
  await withGce(options, call, async (gce) => {
    if (opened) await requireOwnFirewallRule(gce, target);
    if (retyped && !options.useExisting) await requireCompatibleType(gce, options, before);
  });
}

async function requireOwnFirewallRule(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const { name, id } = target;
  const one = await findInstance(gce, target);
  if (ruleOwnerIdOf(one, target) === id || !(await hasBatchSiblings(gce, target, one?.name))) return;
  throw new SlipwayError('USAGE', `"${name}" shares its firewall rule with the machines that were made with it`, {
    hint: `Make it anew, alone: slipway rm ${name}, then create it with --gce-allow-cidr`,
  });
}

/** By which mark the firewall rule is found that the instance has: its batch's, or its own when it was made alone. */
function ruleOwnerIdOf(one: GceInstance | undefined, target: Target<GceOptions>): string {
  // The marks of an instance that exists are somebody else's.
  return (target.options.useExisting ? undefined : one?.labels?.['slipway-id']) ?? ownerIdOf(target);
}

async function requireCompatibleType(gce: GceConnection, options: GceOptions, before: GceOptions): Promise<void> {
  const [type, last] = await Promise.all([findMachineType(gce, options), findMachineType(gce, before)]);
  if (!type) throw noMachineTypeError(options);
  const [to = '', from = to] = [type.architecture, last?.architecture];
  if (to === '' || from === to) return;
  throw new SlipwayError('USAGE', `${options.machineType} is ${to}, and the disk of the machine is made for ${from}`, {
    hint: 'Choose a type of the same architecture: --gce-machine-type; or make another machine',
  });
}

const hasChanged = (from: readonly string[], to: readonly string[]): boolean => from.join() !== to.join();

async function updateLabels(
  gce: GceConnection,
  one: GceInstance,
  before: GceOptions,
  { labels, zone }: GceOptions,
): Promise<void> {
  const gone = Object.keys(parseLabels(before.labels));
  const kept = Object.entries(one.labels ?? {}).filter(([key]) => !gone.includes(key));
  await runOperation(gce, 'setting its labels', 'InstancesClient', 'setLabels', {
    zone,
    instance: one.name,
    instancesSetLabelsRequestResource: {
      labelFingerprint: one.labelFingerprint,
      labels: { ...parseLabels(labels), ...Object.fromEntries(kept) },
    },
  });
}

async function updateNetworkTags(
  gce: GceConnection,
  one: GceInstance,
  before: GceOptions,
  { tags, zone }: GceOptions,
): Promise<void> {
  const gone = parseNetworkTags(before.tags);
  const kept = (one.tags?.items ?? []).filter((tag) => !gone.includes(tag));
  await runOperation(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
    zone,
    instance: one.name,
    tagsResource: { fingerprint: one.tags?.fingerprint, items: [...new Set([...kept, ...parseNetworkTags(tags)])] },
  });
}

/** Another type, and a larger disk, for an instance that is stopped: it takes them as it starts. */
export async function resizeInstance(gce: GceConnection, one: GceInstance, options: GceOptions): Promise<void> {
  const { zone, machineType, diskSize } = options;
  if (one.machineType !== undefined && resourceNameOf(one.machineType) !== machineType)
    await runOperation(gce, 'changing its type', 'InstancesClient', 'setMachineType', {
      zone,
      instance: one.name,
      instancesSetMachineTypeRequestResource: { machineType: `zones/${zone}/machineTypes/${machineType}` },
    });
  const root = one.disks?.find(({ boot }) => boot === true) ?? one.disks?.[0];
  if (root?.source === undefined || Number(root.diskSizeGb ?? diskSize) >= diskSize) return;
  await runOperation(gce, 'making its disk larger', 'DisksClient', 'resize', {
    zone,
    disk: resourceNameOf(root.source),
    disksResizeRequestResource: { sizeGb: String(diskSize) },
  });
}
