import { getOwnerTags, requireNoOtherOwner } from '../cloud/tags.ts';
import type { DriverCall, Target } from '../contract.ts';
import { type GceConnection, resourceNameOf, withGce } from './client.ts';
import { findInstanceByName } from './instances.ts';
import { nameLabel } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

type LabeledDisk = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly labelFingerprint?: string;
};

/**
 * Labels an instance that another tool created for this machine, and its boot disk, so that Slipway finds both as its
 * own. `resource` is `zone/name`.
 */
export async function adoptInstance(
  target: Target<GceOptions>,
  resource: string,
  call: DriverCall,
): Promise<GceOptions> {
  const [zone = '', name = ''] = resource.split('/');
  return await withGce(target.options, call, async (gce) => {
    const instance = await findInstanceByName(gce, name, zone);
    const { project } = gce;
    const labels = { ...(await getOwnerTags(target, call.computer)), 'slipway-name': nameLabel(target.name) };
    if (instance) requireNoOtherOwner(name, instance.labels ?? {}, target.id, 'labels');
    // The disk first, so that the instance's label proves that both are labeled.
    const disk = instance?.disks?.find(({ boot }) => boot === true)?.source ?? `disks/${name}-disk`;
    await labelDisk(gce, zone, resourceNameOf(disk), labels);
    if (instance && instance.labels?.['slipway-id'] !== target.id)
      await runOperation(gce, 'labeling the instance', 'InstancesClient', 'setLabels', {
        zone,
        instance: name,
        instancesSetLabelsRequestResource: {
          labelFingerprint: instance.labelFingerprint,
          labels: { ...instance.labels, ...labels },
        },
      });
    return { ...target.options, project, instanceLink: `projects/${project}/zones/${zone}/instances/${name}` };
  });
}

async function labelDisk(
  gce: GceConnection,
  zone: string,
  name: string,
  labels: Readonly<Record<string, string>> & { readonly 'slipway-id': string },
): Promise<void> {
  const disk = await gce.find<LabeledDisk>('looking for its disk', 'DisksClient', 'get', { zone, disk: name });
  if (!disk || disk.labels?.['slipway-id'] === labels['slipway-id']) return;
  requireNoOtherOwner(name, disk.labels ?? {}, labels['slipway-id'], 'labels');
  await runOperation(gce, 'labeling its disk', 'DisksClient', 'setLabels', {
    zone,
    resource: name,
    zoneSetLabelsRequestResource: { labelFingerprint: disk.labelFingerprint, labels: { ...disk.labels, ...labels } },
  });
}
