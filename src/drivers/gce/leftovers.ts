import { ownerIdOf } from '../cloud/batch.ts';
import { instanceName } from '../cloud/resource-names.ts';
import type { Leftovers, Target } from '../contract.ts';
import type { GceOptions } from './options.ts';
import { addressName, allowRuleName } from './resource-names.ts';

/** Returns what a machine in Compute Engine may have left, from its record alone. */
export function describeLeftovers(target: Target<GceOptions>): Leftovers {
  const { options, host } = target;
  const { project = '', zone } = options;
  const ownerId = ownerIdOf(target);
  const address = host === undefined ? '' : ` (${host.address})`;
  const parts = [
    ...(options.useExisting ? [] : [`the instance ${instanceName(target)}${address} in ${zone} with its disk`]),
    ...(options.address === 'static' ? [`the address ${addressName(ownerId)}`] : []),
    `the firewall rules that begin with ${allowRuleName(ownerId)}`,
  ];
  return {
    resources: `${parts.join(', ')}, in the project ${project}`,
    search: `To look for them, open https://console.cloud.google.com/compute/instances?project=${project} or run: gcloud compute instances list --project ${project} --filter labels.slipway-id=${ownerId}`,
    command: `slipway gc --gce-project ${project}`,
  };
}
