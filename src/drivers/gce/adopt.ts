import { tagsOf } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { Call, Target } from '../contract.ts';
import { type Gce, nameIn, withGce } from './client.ts';
import type { Instance } from './existing.ts';
import { lowered } from './names.ts';
import { change } from './operation.ts';
import type { Options } from './options.ts';

type Labelled = {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly labelFingerprint?: string;
};

/**
 * Marks an instance that another tool made for this machine, and its boot disk: from then on both are found as if we had made them.
 * `resource` is `zone/name`.
 */
export async function adoptInstance(target: Target<Options>, resource: string, call: Call): Promise<Options> {
  const [zone = '', instance = ''] = resource.split('/');
  return await withGce(target.options, call, async (gce) => {
    const one = await gce.find<Instance>('looking for its instance', 'InstancesClient', 'get', { zone, instance });
    const { project } = gce;
    const options = {
      ...target.options,
      project,
      instanceLink: `projects/${project}/zones/${zone}/instances/${instance}`,
    };
    const { name, ...marks } = { name: target.name, ...(await tagsOf(target, call.computer)) };
    const labels = { ...marks, 'slipway-name': lowered(name).slice(0, 63) };
    // The disk first: what the instance carries says that all is marked.
    const disk = one?.disks?.find(({ boot }) => boot === true)?.source ?? `disks/${instance}-disk`;
    if (one) refuseOthers(one, target.id);
    await markDisk(gce, zone, nameIn(disk), labels);
    if (one && one.labels?.['slipway-id'] !== target.id)
      await change(gce, 'marking the instance', 'InstancesClient', 'setLabels', {
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

async function markDisk(
  gce: Gce,
  zone: string,
  resource: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const disk = await gce.find<Labelled>('looking for its disk', 'DisksClient', 'get', { zone, disk: resource });
  if (!disk || disk.labels?.['slipway-id'] === labels['slipway-id']) return;
  refuseOthers(disk, labels['slipway-id'] ?? '');
  await change(gce, 'marking its disk', 'DisksClient', 'setLabels', {
    zone,
    resource,
    zoneSetLabelsRequestResource: { labelFingerprint: disk.labelFingerprint, labels: { ...disk.labels, ...labels } },
  });
}

function refuseOthers({ name, labels }: Labelled, id: string): void {
  const owner = labels?.['slipway-id'] ?? id;
  if (owner === id) return;
  throw new SlipwayError(
    'PROVIDER_REFUSED',
    `${name} is the machine "${labels?.['slipway-name']}" of Slipway already (store ${labels?.['slipway-home']})`,
    { hint: 'Use it there, or take its labels slipway-id, slipway-name and slipway-home away first' },
  );
}
