import { ownerIdOf, ownerIdsOf } from '../cloud/batch.ts';
import { instanceName } from '../cloud/resource-names.ts';
import type { Leftovers, Target } from '../contract.ts';
import { regionOfZone, resourceNameOf } from './client.ts';
import type { GceOptions } from './options.ts';
import { addressName, allowRuleName } from './resource-names.ts';

/** Returns what a machine in Compute Engine may have left, from its record alone. */
export function describeLeftovers(target: Target<GceOptions>): Leftovers {
  const { options, name, host } = target;
  // A machine without a project has nothing in Compute Engine, and `remove` asks nobody.
  const { project = '', zone } = options;
  const ownerId = ownerIdOf(target);
  const address = host === undefined ? '' : ` (${host.address})`;
  const instance = options.instanceLink === undefined ? instanceName(target) : resourceNameOf(options.instanceLink);
  const parts = [
    options.useExisting
      ? `the key and the network tag of this machine on the instance ${name}${address} in ${zone}`
      : `the instance ${instance}${address} in ${zone} with its disk`,
    ...(options.address === 'static' ? [`the address ${addressName(ownerId)} in ${regionOfZone(zone)}`] : []),
    `the firewall rules that begin with ${ownerIdsOf(target).map(allowRuleName).join(' or ')}`,
  ];
  return {
    resources: `${parts.join(', ')}, in the project ${project}`,
    search: `To look for them, open https://console.cloud.google.com/compute/instances?project=${project} or run: gcloud compute instances list --project ${project} --filter labels.slipway-id=${ownerId}`,
    command: `slipway gc --gce-project ${project}`,
  };
}
