import { addCosts } from '../cloud/prices.ts';
import type { CloudDriverCode, CreateCall, DriverCall, FirstBootConfig, InstanceStatus, Target } from '../contract.ts';
import { adoptInstance } from './adopt.ts';
import { applyChange, requireAllowedChange } from './change-instance.ts';
import { listImageFamilies, listMachineTypes, listZones } from './choices.ts';
import { withGce } from './client.ts';
import { createInstances } from './create-instances.ts';
import { allowCallerIp } from './firewall-rules.ts';
import { inspectInstance } from './inspect-instance.ts';
import { describeLeftovers } from './leftovers.ts';
import { deleteResources, listResources } from './list-resources.ts';
import type { GceOptions, UnresolvedGceOptions } from './options.ts';
import { isInternalOnly } from './instance-request.ts';
import { defaultDiskType } from './machine-families.ts';
import { addressMonthlyCost, diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
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
      await createAll([target], boot, call);
      return { bootApplied: false };
    },
    inspect,
    async remove(target, call) {
      if (!isRequestable(target.options)) return;
      await withGce(target.options, call, (gce) => removeMachine(gce, target, call));
    },
  },
  power: {
    start: startInstance,
    stop: stopInstance,
    kill: (target, call) => stopInstance(target, { seconds: 0 }, call),
  },
  cloud: {
    async resolveOptions(target, call) {
      if (hasResolvedOptions(target.options)) return target.options;
      return await withGce(target.options, call, (gce) => resolveOptions(gce, target));
    },
    createMany: createAll,
    async allowCallerIp(target, call) {
      await withGce(target.options, call, (gce) => allowCallerIp(gce, target));
    },
    listResources,
    deleteResources,
    describeLeftovers,
    adopt: adoptInstance,
  },
  changes: { validate: requireAllowedChange, apply: applyChange },
  cost: {
    describeResources: ({ machineType, diskSize, allowCidr, address, useExisting, spot, preemptible }) =>
      useExisting
        ? 'a firewall rule, and a key on the existing instance'
        : `one ${spot || preemptible ? 'spot ' : ''}instance (${machineType}) with a disk of ${diskSize} GB${address === 'static' ? ', an address' : ''}, and a firewall rule that allows ${allowCidr.join(', ') || 'only your address'}`,
    async monthly(options) {
      const { machineType, diskType = defaultDiskType(machineType), diskSize, useExisting } = options;
      if (useExisting) return 0;
      const spot = options.spot || options.preemptible;
      return addCosts(
        instanceMonthlyCost(machineType, { spot }),
        isInternalOnly(options) ? 0 : addressMonthlyCost({ spot }),
        diskMonthlyCost(diskType, diskSize),
      );
    },
  },
  prompts: { zone: listZones, machineType: listMachineTypes, imageFamily: listImageFamilies },
};

/** Returns whether a create may have sent a request: it first decides in which project and zone. */
function isRequestable({ project, zone }: UnresolvedGceOptions): boolean {
  return project !== undefined && zone !== undefined;
}

/** Creates the machines of one account by one request. */
async function createAll(
  [first, ...others]: readonly Target<GceOptions>[],
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  if (first) await withGce(first.options, call, (gce) => createInstances(gce, [first, ...others], boot, call));
}

async function inspect(target: Target<GceOptions>, call: DriverCall): Promise<InstanceStatus> {
  if (!isRequestable(target.options)) return { state: 'missing' };
  return await withGce(target.options, call, (gce) => inspectInstance(gce, target));
}
