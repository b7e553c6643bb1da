import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import type {
  CloudDriverCode,
  CreateCall,
  DriverCall,
  DriverHealth,
  FirstBootConfig,
  InstanceStatus,
  Target,
} from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import { adoptInstance } from './adopt.ts';
import { applyChange, requireAllowedChange } from './change-instance.ts';
import { listInstanceTypes, listProfiles, listRegions } from './choices.ts';
import { withEc2 } from './client.ts';
import { inspectInstance } from './inspect-instance.ts';
import { setInstanceNames } from './instance-names.ts';
import { buildTags, findInstances, launchInstances, runInstancesInput, waitForBatchInstance } from './instances.ts';
import { deleteResources, listResources } from './list-resources.ts';
import type { Ec2Options } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { removeMachine } from './remove-machine.ts';
import { hasResolvedOptions, resolveOptions } from './resolve-options.ts';
import { allowCallerIp, ensureSecurityGroup, ownerIdOf, resolveSecurityGroupIds } from './security-group.ts';
import { startInstance, stopInstance } from './start-stop.ts';
import { readUserData, buildUserData } from './user-data.ts';
import { requireValidOptions } from './validate-options.ts';

export const driver: CloudDriverCode<Ec2Options> = {
  health: checkCredentials,
  machines: {
    async validate({ options }, call) {
      await requireValidOptions(options);
      if (options.blockDurationMinutes !== undefined)
        call.note('--ec2-block-duration-minutes has no effect: AWS no longer sells spot blocks');
    },
    async create(target, boot, call) {
      await createInstances([target], target, boot, call);
      return { bootApplied: false };
    },
    inspect,
    async remove(target, call) {
      // A create that resolved no region has asked AWS for nothing.
      if (target.options.region === undefined) return;
      await withEc2(target.options, call, (aws) => removeMachine(aws, target, call));
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
    async resolveOptions({ options }, call) {
      if (hasResolvedOptions(options)) return options;
      return await withEc2(options, call, (aws) => resolveOptions(aws, options));
    },
    async createMany(targets, boot, call) {
      const [first] = targets;
      if (first) await createInstances(targets, first, boot, call);
    },
    async allowCallerIp(target, call) {
      await withEc2(target.options, call, (aws) => allowCallerIp(aws, target));
    },
    async listResources({ options, home }, call) {
      return await listResources(options, home, call);
    },
    deleteResources,
    adopt: adoptInstance,
  },
  changes: { validate: requireAllowedChange, apply: applyChange },
  cost: {
    describeResources: ({ instanceType, rootSize, allowCidr, securityGroupReadonly, spot }) =>
      `one ${spot ? 'spot ' : ''}instance (${instanceType}) with a disk of ${rootSize} GiB${securityGroupReadonly ? '' : `, and a security group that admits ${allowCidr.join(', ') || 'your address alone'}`}`,
    async monthly({ instanceType, volumeType, rootSize, spot }) {
      const [machine, disk] = [
        instanceMonthlyCost(instanceType, 'running', spot),
        diskMonthlyCost(volumeType, rootSize),
      ];
      return machine === undefined || disk === undefined ? undefined : machine + disk;
    },
  },
  prompts: { profile: listProfiles, region: listRegions, instanceType: listInstanceTypes },
};

/** One machine, or all of a batch by one call. What exists already is kept. */
async function createInstances(
  targets: readonly Target<Ec2Options>[],
  first: Target<Ec2Options>,
  boot: FirstBootConfig,
  call: CreateCall,
): Promise<void> {
  const many = targets.length > 1;
  // What is made for one machine alone carries the machine's own id, also when it once was of a batch.
  const own: Target<Ec2Options> = many ? first : { id: first.id, name: first.name, options: first.options };
  await withEc2(first.options, call, async (aws) => {
    const name = async (answered: readonly AwsInstance[]): Promise<void> => {
      if (many) await setInstanceNames(aws, targets, answered);
    };
    const found = async (): Promise<boolean> => {
      const all = await Promise.all(targets.map(async (target) => findInstances(aws, target)));
      return all.every((one) => one.length > 0);
    };
    if (await found()) return await name([]);
    // A record that was settled by an earlier run may be of another account than the credentials of today.
    await requireMachineAccount(aws, first.options);
    if (!many && (await waitForBatchInstance(aws, first, call))) return;
    const data = buildUserData(boot, await readUserData(first.options));
    const tags = await buildTags(own, call, many ? `${first.name} and ${targets.length - 1} more` : first.name);
    const theirOwn = await resolveSecurityGroupIds(aws, first.options);
    const group = await ensureSecurityGroup(aws, own, tags, boot.enginePort, call);
    const securityGroupIds = [...(group === undefined ? [] : [group]), ...theirOwn];
    const terminateOnShutdown = first.onShutdown === 'removed' && first.lifetime?.ttl !== undefined;
    const input = runInstancesInput(
      { options: first.options, userData: data, securityGroupIds, tags, terminateOnShutdown },
      targets.length,
    );
    await name(await launchInstances(aws, { token: ownerIdOf(own), input, call, found }));
  });
}

async function inspect(target: Target<Ec2Options>, call: DriverCall): Promise<InstanceStatus> {
  if (target.options.region === undefined) return { state: 'missing' };
  return await withEc2(target.options, call, (aws) => inspectInstance(aws, target));
}

/** Where the SDK's own chain would find credentials, as far as that can be told without asking anybody. */
async function checkCredentials({ env, platform }: DriverCall['computer']): Promise<DriverHealth> {
  const named = [
    'AWS_ACCESS_KEY_ID',
    'AWS_PROFILE',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  ];
  if (named.some((name) => env[name]) || env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI) return { usable: true };
  const home = (platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '';
  const files = [
    env.AWS_SHARED_CREDENTIALS_FILE || join(home, '.aws', 'credentials'),
    env.AWS_CONFIG_FILE || join(home, '.aws', 'config'),
  ];
  const there = await Promise.all(
    files.map(async (file) =>
      stat(file).then(
        () => true,
        () => false,
      ),
    ),
  );
  if (there.includes(true)) return { usable: true };
  return {
    usable: false,
    reason: 'there are no AWS credentials in the environment nor in ~/.aws',
    fix: 'aws configure, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  };
}
