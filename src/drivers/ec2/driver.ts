import { addCosts } from '../cloud/prices.ts';
import type { CloudDriverCode, CreateCall, DriverCall, FirstBootConfig, InstanceStatus, Target } from '../contract.ts';
import { adoptInstance } from './adopt.ts';
import { applyChange, requireAllowedChange, setShutdownBehavior } from './change-instance.ts';
import { listInstanceTypes, listProfiles, listRegions } from './choices.ts';
import { withEc2 } from './client.ts';
import { createInstances } from './create-instances.ts';
import { inspectInstance } from './inspect-instance.ts';
import { describeLeftovers } from './leftovers.ts';
import { deleteResources, listResources } from './list-resources.ts';
import type { Ec2Options } from './options.ts';
import { diskMonthlyCost, hasUnlimitedCredits, instanceMonthlyCost, PUBLIC_ADDRESS_MONTHLY_COST } from './prices.ts';
import { removeMachine } from './remove-machine.ts';
import { hasResolvedOptions, resolveOptions } from './resolve-options.ts';
import { allowCallerIp } from './security-group.ts';
import { startInstance, stopInstance } from './start-stop.ts';
import { requireValidOptions } from './validate-options.ts';

export const driver: CloudDriverCode<Ec2Options> = {
  machines: {
    async validate(target, call) {
      await requireValidOptions(target);
      const { options } = target;
      if (options.blockDurationMinutes !== undefined)
        call.note('--ec2-block-duration-minutes has no effect: AWS no longer offers spot blocks');
    },
    async create(target, boot, call) {
      await createAll([target], boot, call);
      return { bootApplied: false };
    },
    inspect,
    async remove(target, call) {
      // A create that resolved no region has sent no request to AWS.
      if (target.options.region === undefined) return;
      await withEc2(target.options, call, (aws) => removeMachine(aws, target, call));
    },
  },
  power: {
    start: startInstance,
    stop: stopInstance,
    kill: (target, call) => stopInstance(target, { seconds: 0 }, call),
  },
  cloud: {
    async resolveOptions({ options }, call) {
      if (hasResolvedOptions(options)) return options;
      return await withEc2(options, call, (aws) => resolveOptions(aws, options), { isCreate: true });
    },
    createMany: createAll,
    async allowCallerIp(target, call) {
      await withEc2(target.options, call, (aws) => allowCallerIp(aws, target));
    },
    listResources,
    deleteResources,
    describeLeftovers,
    adopt: adoptInstance,
  },
  changes: { validate: requireAllowedChange, apply: applyChange, setShutdownBehavior },
  cost: {
    describeResources,
    async monthly({ instanceType, volumeType, rootSize, spot, privateAddressOnly }) {
      return addCosts(
        instanceMonthlyCost(instanceType, { spot }),
        diskMonthlyCost(volumeType, rootSize),
        privateAddressOnly ? 0 : PUBLIC_ADDRESS_MONTHLY_COST,
      );
    },
    describeSurcharge: ({ instanceType, cpuCredits }) =>
      hasUnlimitedCredits(instanceType, cpuCredits)
        ? `CPU time above the baseline of ${instanceType} (--ec2-cpu-credits standard avoids it)`
        : undefined,
  },
  prompts: { profile: listProfiles, region: listRegions, instanceType: listInstanceTypes },
};

function describeResources(options: Ec2Options): string {
  const { instanceType, rootSize, allowCidr, securityGroupReadonly, spot, privateAddressOnly } = options;
  const address = privateAddressOnly ? '' : ' and a public IPv4 address';
  const group = `, and a security group that allows ${allowCidr.join(', ') || 'only your address'}`;
  const instance = `one ${spot ? 'spot ' : ''}instance (${instanceType}) with a disk of ${rootSize} GiB${address}`;
  return `${instance}${securityGroupReadonly ? '' : group}`;
}

/** Creates the machines of one account by one request. */
async function createAll(
  [first, ...others]: readonly Target<Ec2Options>[],
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  if (!first) return;
  await withEc2(first.options, call, (aws) => createInstances(aws, [first, ...others], boot, call), { isCreate: true });
}

async function inspect(target: Target<Ec2Options>, call: DriverCall): Promise<InstanceStatus> {
  if (target.options.region === undefined) return { state: 'missing' };
  return await withEc2(target.options, call, (aws) => inspectInstance(aws, target));
}
