import { addCosts } from '../cloud/prices.ts';
import type { CloudDriverCode, DriverCall, InstanceStatus, Target } from '../contract.ts';
import { adoptInstance } from './adopt.ts';
import { applyChange, requireAllowedChange } from './change-instance.ts';
import { listImageFamilies, listMachineTypes, listZones } from './choices.ts';
import { withGce } from './client.ts';
import { createInstances } from './create-instances.ts';
import { allowCallerIp } from './firewall-rules.ts';
import { inspectInstance } from './inspect-instance.ts';
import { deleteResources, listResources } from './list-resources.ts';
import type { GceOptions } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { removeMachine } from './remove-machine.ts';
import { hasResolvedOptions, resolveOptions } from './resolve-options.ts';
import { startInstance, stopInstance } from './start-stop.ts';
import { requireValidOptions } from './validate-options.ts';

export const driver: CloudDriverCode<GceOptions> = {
  machines: {
    async validate({ options }) {
      await requireValidOptions(options);
    },
    async create(target, boot, call) {
      await withGce(target.options, call, (gce) => createInstances(gce, [target], boot, call));
      return { bootApplied: false };
    },
    inspect,
    async remove(target, call) {
      // A create that resolved no project has sent no request to Google.
      if (target.options.project === undefined) return;
      await withGce(target.options, call, (gce) => removeMachine(gce, target, call));
    },
  },
  power: {
    start: startInstance,
    async stop(target, { seconds }, call) {
      await stopInstance(target, seconds, call);
    },
    async kill(target, call) {
      await stopInstance(target, 0, call);
    },
  },
  cloud: {
    async resolveOptions(target, call) {
      if (hasResolvedOptions(target.options)) return target.options;
      return await withGce(target.options, call, (gce) => resolveOptions(gce, target));
    },
    async createMany(targets, boot, call) {
      const [first, ...others] = targets;
      if (first) await withGce(first.options, call, (gce) => createInstances(gce, [first, ...others], boot, call));
    },
    async allowCallerIp(target, call) {
      await withGce(target.options, call, (gce) => allowCallerIp(gce, target));
    },
    async listResources({ options, home }, call) {
      return await listResources(options, home, call);
    },
    deleteResources,
    adopt: adoptInstance,
  },
  changes: { validate: requireAllowedChange, apply: applyChange },
  cost: {
    describeResources: ({ machineType, diskSize, allowCidr, address, useExisting, spot, preemptible }) =>
      useExisting
        ? 'a firewall rule, and a key on the existing instance'
        : `one ${spot || preemptible ? 'spot ' : ''}instance (${machineType}) with a disk of ${diskSize} GB${address === 'static' ? ', an address' : ''}, and a firewall rule that allows ${allowCidr.join(', ') || 'only your address'}`,
    async monthly({ machineType, diskType, diskSize, spot, preemptible, useExisting }) {
      if (useExisting) return 0;
      return addCosts(
        instanceMonthlyCost(machineType, { spot: spot || preemptible }),
        diskMonthlyCost(diskType, diskSize),
      );
    },
  },
  prompts: { zone: listZones, machineType: listMachineTypes, imageFamily: listImageFamilies },
};

async function inspect(target: Target<GceOptions>, call: DriverCall): Promise<InstanceStatus> {
  if (target.options.project === undefined) return { state: 'missing' };
  return await withGce(target.options, call, (gce) => inspectInstance(gce, target));
}
