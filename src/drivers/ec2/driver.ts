import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import {
  defineDriver,
  type Boot,
  type Call,
  type Health,
  type Instance,
  type MakingCall,
  type Target,
} from '../contract.ts';
import { driverNames } from '../names.ts';
import { changeOf, credentials, options, type Options } from './options.ts';
import { diskMonthly, instanceMonthly } from './prices.ts';
import { theirs, userData } from './user-data.ts';

/** Each file that loads the SDK is read when a machine of this driver is meant, and not before. */
const way = async (): Promise<typeof import('./client.ts')> => import('./client.ts');

export const ec2 = defineDriver({
  name: 'ec2',
  also: driverNames.ec2,
  summary: 'an instance of Amazon EC2',
  bootIsReadable: true,
  options,
  credentials,
  credentialsBy: 'profile',
  choices: {
    profile: async (...asked) => (await import('./choices.ts')).profiles(...asked),
    region: async (...asked) => (await import('./choices.ts')).regions(...asked),
    instanceType: async (...asked) => (await import('./choices.ts')).instanceTypes(...asked),
  },
  makes: ({ instanceType, rootSize, allowCidr, securityGroupReadonly, spot }) =>
    `one ${spot ? 'spot ' : ''}instance (${instanceType}) with a disk of ${rootSize} GiB${securityGroupReadonly ? '' : `, and a security group that admits ${allowCidr.join(', ') || 'your address alone'}`}`,
  async monthly({ instanceType, volumeType, rootSize, spot }) {
    const [machine, disk] = [instanceMonthly(instanceType, 'running', spot), diskMonthly(volumeType, rootSize)];
    return machine === undefined || disk === undefined ? undefined : machine + disk;
  },
  ends({ life, options: { spot, volumeType, rootSize } }) {
    // What was lent by the hour can't be stopped: its shutdown is its end.
    const removed = spot || (life?.ttl !== undefined && life.idleStop === undefined);
    const monthly = diskMonthly(volumeType, rootSize);
    const costs = `its disk goes on costing${monthly === undefined ? '' : ` about $${monthly.toFixed(2)} a month`}`;
    return { byItself: removed ? 'removed' : 'stopped', costs };
  },
  reach: ['profile', 'endpoint', 'insecureTransport'],
  health,
  async check({ options: given }, call) {
    const { checkOptions } = await import('./check.ts');
    await checkOptions(given);
    if (given.blockDurationMinutes !== undefined)
      call.note('--ec2-block-duration-minutes has no effect: AWS no longer sells spot blocks');
  },
  async adopt(target, resource, call) {
    const { adoptInstance } = await import('./adopt.ts');
    return await adoptInstance(target, resource, call);
  },
  changeOf,
  async checkChange(target, before, call) {
    const { refuseChange } = await import('./change.ts');
    await refuseChange(target, before, call);
  },
  async change(target, before, call) {
    const { carryOver } = await import('./change.ts');
    await carryOver(target, before, call);
  },
  async settle({ options: given }, call) {
    const { isSettled, settled } = await import('./settle.ts');
    if (isSettled(given)) return given;
    const { withAws } = await way();
    return await withAws(given, call, (aws) => settled(aws, given));
  },
  async create(target, boot, call) {
    await make([target], target, boot, call);
    return { laid: false };
  },
  async createMany(targets, boot, call) {
    const [first] = targets;
    if (first) await make(targets, first, boot, call);
  },
  async admit(target, call) {
    const { withAws } = await way();
    const { admitCaller } = await import('./firewall.ts');
    await withAws(target.options, call, (aws) => admitCaller(aws, target));
  },
  inspect,
  async start(target, call) {
    const { startInstance } = await import('./power.ts');
    await startInstance(target, call);
  },
  async stop(target, { seconds }, call) {
    const { stopInstance } = await import('./power.ts');
    await stopInstance(target, seconds, call);
  },
  async kill(target, call) {
    const { stopInstance } = await import('./power.ts');
    await stopInstance(target, 0, call);
  },
  async remove(target, call) {
    // Its create never came to ask AWS for anything.
    if (target.options.region === undefined) return;
    const [{ withAws }, { removeAll }] = await Promise.all([way(), import('./remove.ts')]);
    await withAws(target.options, call, (aws) => removeAll(aws, target, call));
  },
  async owned({ options: given, home }, call) {
    const { ownedIn } = await import('./owned.ts');
    return await ownedIn(given, home, call);
  },
  async discard(things, given, call) {
    const { discardThese } = await import('./owned.ts');
    await discardThese(things, given, call);
  },
});

/** One machine, or all of a batch by one call. What exists already is kept. */
async function make(
  targets: readonly Target<Options>[],
  first: Target<Options>,
  boot: Boot,
  call: MakingCall,
): Promise<void> {
  const [{ withAws }, instances, firewall, { rightAccount }] = await Promise.all([
    way(),
    import('./instances.ts'),
    import('./firewall.ts'),
    import('./account.ts'),
  ]);
  const many = targets.length > 1;
  // What is made for one machine alone carries the machine's own id, also when it once was of a batch.
  const own: Target<Options> = many ? first : { id: first.id, name: first.name, options: first.options };
  await withAws(first.options, call, async (aws) => {
    const name = async (answered: readonly AwsInstance[]): Promise<void> => {
      if (many) await (await import('./naming.ts')).nameEach(aws, targets, answered);
    };
    const found = async (): Promise<boolean> => {
      const all = await Promise.all(targets.map(async (target) => instances.findInstances(aws, target)));
      return all.every((one) => one.length > 0);
    };
    if (await found()) return await name([]);
    // A record that was settled by an earlier run may be of another account than the credentials of today.
    await rightAccount(aws, first.options);
    if (!many && (await instances.shownOfBatch(aws, first, call))) return;
    const data = userData(boot, await theirs(first.options));
    const tags = await instances.marksOf(own, call, many ? `${first.name} and ${targets.length - 1} more` : first.name);
    const theirOwn = await firewall.theirGroups(aws, first.options);
    const group = await firewall.ourGroup(aws, own, tags, boot.enginePort, call);
    const groups = [...(group === undefined ? [] : [group]), ...theirOwn];
    const removed = first.ending === 'removed' && first.life?.ttl !== undefined;
    const input = instances.runInput({ options: first.options, userData: data, groups, tags, removed }, targets.length);
    await name(await instances.launch(aws, { token: firewall.groupId(own), input, call, found }));
  });
}

async function inspect(target: Target<Options>, call: Call): Promise<Instance> {
  const { options: given } = target;
  if (given.region === undefined) return { state: 'missing' };
  const [{ withAws }, { look }] = await Promise.all([way(), import('./look.ts')]);
  return await withAws(given, call, (aws) => look(aws, target));
}

/** Where the SDK's own chain would find credentials, as far as that can be told without asking anybody. */
async function health({ env, platform }: Call['computer']): Promise<Health> {
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
