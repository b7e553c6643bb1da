import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { defineDriver, type DriverCall, type DriverHealth, type InstanceStatus, type Target } from '../contract.ts';
import { addCosts, formatMonthlyCost } from '../cloud/prices.ts';
import { driverAliases } from '../names.ts';
import { changeKindOf, credentialsSchema, optionsSchema, type Ec2Options } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';

/** Each file that loads the SDK is read when a machine of this driver is meant, and not before. */
const loadClient = async (): Promise<typeof import('./client.ts')> => import('./client.ts');

export const ec2 = defineDriver({
  name: 'ec2',
  aliases: driverAliases.ec2,
  summary: 'an instance of Amazon EC2',
  userDataIsPublic: true,
  options: optionsSchema,
  credentials: credentialsSchema,
  credentialsOption: 'profile',
  choices: {
    profile: async (...asked) => (await import('./choices.ts')).listProfiles(...asked),
    region: async (...asked) => (await import('./choices.ts')).listRegions(...asked),
    instanceType: async (...asked) => (await import('./choices.ts')).listInstanceTypes(...asked),
  },
  describeResources: ({ instanceType, rootSize, allowCidr, securityGroupReadonly, spot }) =>
    `one ${spot ? 'spot ' : ''}instance (${instanceType}) with a disk of ${rootSize} GiB${securityGroupReadonly ? '' : `, and a security group that admits ${allowCidr.join(', ') || 'your address alone'}`}`,
  async monthlyCost({ instanceType, volumeType, rootSize, spot }) {
    return addCosts(instanceMonthlyCost(instanceType, { spot }), diskMonthlyCost(volumeType, rootSize));
  },
  shutdownBehavior({ lifetime, options: { spot, volumeType, rootSize } }) {
    // What was lent by the hour can't be stopped: its shutdown is its end.
    const removed = spot || (lifetime?.ttl !== undefined && lifetime.idleStop === undefined);
    const monthly = diskMonthlyCost(volumeType, rootSize);
    const costs = `its disk goes on costing${monthly === undefined ? '' : ` ${formatMonthlyCost(monthly)}`}`;
    return { byItself: removed ? 'removed' : 'stopped', costs };
  },
  accountOptions: ['profile', 'endpoint', 'insecureTransport'],
  health: checkCredentials,
  async validate({ options: given }, call) {
    const { requireValidOptions } = await import('./validate-options.ts');
    await requireValidOptions(given);
    if (given.blockDurationMinutes !== undefined)
      call.note('--ec2-block-duration-minutes has no effect: AWS no longer sells spot blocks');
  },
  async adopt(target, resource, call) {
    const { adoptInstance } = await import('./adopt.ts');
    return await adoptInstance(target, resource, call);
  },
  changeKindOf,
  async validateChange(target, before, call) {
    const { requireAllowedChange } = await import('./change-instance.ts');
    await requireAllowedChange(target, before, call);
  },
  async applyChange(target, before, call) {
    const { applyChange } = await import('./change-instance.ts');
    await applyChange(target, before, call);
  },
  async resolveOptions({ options: given }, call) {
    const { hasResolvedOptions, resolveOptions } = await import('./resolve-options.ts');
    if (hasResolvedOptions(given)) return given;
    const { withEc2 } = await loadClient();
    return await withEc2(given, call, (aws) => resolveOptions(aws, given));
  },
  async create(target, boot, call) {
    const [{ withEc2 }, { createInstances }] = await Promise.all([loadClient(), import('./create-instances.ts')]);
    await withEc2(target.options, call, (aws) => createInstances(aws, [target], boot, call));
    return { bootApplied: false };
  },
  async createMany(targets, boot, call) {
    const [first, ...others] = targets;
    if (!first) return;
    const [{ withEc2 }, { createInstances }] = await Promise.all([loadClient(), import('./create-instances.ts')]);
    await withEc2(first.options, call, (aws) => createInstances(aws, [first, ...others], boot, call));
  },
  async allowCallerIp(target, call) {
    const { withEc2 } = await loadClient();
    const { allowCallerIp } = await import('./security-group.ts');
    await withEc2(target.options, call, (aws) => allowCallerIp(aws, target));
  },
  inspect,
  async start(target, call) {
    const { startInstance } = await import('./start-stop.ts');
    await startInstance(target, call);
  },
  async stop(target, { seconds }, call) {
    const { stopInstance } = await import('./start-stop.ts');
    await stopInstance(target, seconds, call);
  },
  async kill(target, call) {
    const { stopInstance } = await import('./start-stop.ts');
    await stopInstance(target, 0, call);
  },
  async remove(target, call) {
    // Its create never came to ask AWS for anything.
    if (target.options.region === undefined) return;
    const [{ withEc2 }, { removeMachine }] = await Promise.all([loadClient(), import('./remove-machine.ts')]);
    await withEc2(target.options, call, (aws) => removeMachine(aws, target, call));
  },
  async listResources({ options: given, home }, call) {
    const { listResources } = await import('./list-resources.ts');
    return await listResources(given, home, call);
  },
  async deleteResources(things, given, call) {
    const { deleteResources } = await import('./list-resources.ts');
    await deleteResources(things, given, call);
  },
});

async function inspect(target: Target<Ec2Options>, call: DriverCall): Promise<InstanceStatus> {
  const { options: given } = target;
  if (given.region === undefined) return { state: 'missing' };
  const [{ withEc2 }, { inspectInstance }] = await Promise.all([loadClient(), import('./inspect-instance.ts')]);
  return await withEc2(given, call, (aws) => inspectInstance(aws, target));
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
