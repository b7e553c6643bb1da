import { getResourceTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { type GceConnection, resourceNameOf, withGce } from './client.ts';
import type { GceInstance } from './existing-instance.ts';
import { toGceName } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

type LabeledDisk = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly labelFingerprint?: string;
};

/**
 * Marks an instance that another tool made for this machine, and its boot disk: from then on both are found as if we had made them.
 * `resource` is `zone/name`.
 */
export async function adoptInstance(
  target: Target<GceOptions>,
  resource: string,
  call: DriverCall,
): Promise<GceOptions> {
  const [zone = '', instance = ''] = resource.split('/');
  return await withGce(target.options, call, async (gce) => {
    const one = await gce.find<GceInstance>('looking for its instance', 'InstancesClient', 'get', { zone, instance });
    const { project } = gce;
    const options = {
      ...target.options,
      project,
      instanceLink: `projects/${project}/zones/${zone}/instances/${instance}`,
    };
    const { name, ...marks } = { name: target.name, ...(await getResourceTags(target, call.computer)) };
    const labels = { ...marks, 'slipway-name': toGceName(name).slice(0, 63) };
    // The disk first: what the instance carries says that all is marked.
    const disk = one?.disks?.find(({ boot }) => boot === true)?.source ?? `disks/${instance}-disk`;
    if (one) requireNoOtherOwner(one, target.id);
    await labelDisk(gce, zone, resourceNameOf(disk), labels);
    if (one && one.labels?.['slipway-id'] !== target.id)
      await runOperation(gce, 'marking the instance', 'InstancesClient', 'setLabels', {
        zone,
        instance,
        instancesSetLabelsRequestResource: {
          labelFingerprint: one.labelFingerprint,
          labels: { ...one.labels, ...labels },
        },
      });
    return options;
  });
}

async function labelDisk(
  gce: GceConnection,
  zone: string,
  resource: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const disk = await gce.find<LabeledDisk>('looking for its disk', 'DisksClient', 'get', { zone, disk: resource });
  if (!disk || disk.labels?.['slipway-id'] === labels['slipway-id']) return;
  requireNoOtherOwner(disk, labels['slipway-id'] ?? '');
  await runOperation(gce, 'marking its disk', 'DisksClient', 'setLabels', {
    zone,
    resource,
    zoneSetLabelsRequestResource: { labelFingerprint: disk.labelFingerprint, labels: { ...disk.labels, ...labels } },
  });
}

function requireNoOtherOwner({ name, labels }: LabeledDisk, id: string): void {
  const owner = labels?.['slipway-id'] ?? id;
  if (owner === id) return;
  throw new SlipwayError(
    'PROVIDER_REFUSED',
    `${name} is the machine "${labels?.['slipway-name']}" of Slipway already (store ${labels?.['slipway-home']})`,
    { hint: 'Use it there, or take its labels slipway-id, slipway-name and slipway-home away first' },
  );
}
