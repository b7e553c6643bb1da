import { access, constants, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SlipwayError } from '../../errors.ts';
import {
  defineDriver,
  type Boot,
  type Call,
  type Health,
  type Instance,
  type MakingCall,
  type Target,
} from '../driver.ts';
import { credentials, options, type Options } from './options.ts';
import { userData } from './user-data.ts';

/** Each file that loads the SDK is read when a machine of this driver is meant, and not before. */
const way = async (): Promise<typeof import('./client.ts')> => import('./client.ts');

export const ec2 = defineDriver({
  name: 'ec2',
  also: ['amazonec2'],
  summary: 'an instance of Amazon EC2',
  bootIsReadable: true,
  options,
  credentials,
  reach: ['profile', 'endpoint', 'insecureTransport'],
  health,
  async check({ options: given }, call) {
    await readable(given.sshKey, '--ec2-ssh-key');
    if ((given.keypairName === undefined) !== (given.sshKey === undefined)) {
      throw new SlipwayError('USAGE', 'A key pair of EC2 is its name and its private key: one of them is missing', {
        hint: 'Give both --ec2-keypair-name and --ec2-ssh-key, or neither: the machine then gets a key of its own',
      });
    }
    const { tagPairs } = await import('./instances.ts');
    tagPairs(given.tags);
    // Refused now, and not when a security group exists already.
    userData({ hostKey: { private: '', public: '' }, authorizedKey: '' }, await theirs(given));
    if (given.blockDurationMinutes !== undefined)
      call.note('--ec2-block-duration-minutes has no effect: AWS no longer sells spot blocks');
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
    const { admitCaller, ourGroups, groupId } = await import('./firewall.ts');
    await withAws(target.options, call, async (aws) => {
      // The first request also tells the SDK's endpoint, by which we know our own address.
      if ((await ourGroups(aws, [groupId(target)])).length > 0) await admitCaller(aws, target);
    });
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
  const [{ withAws }, instances, firewall] = await Promise.all([
    way(),
    import('./instances.ts'),
    import('./firewall.ts'),
  ]);
  const many = targets.length > 1;
  // What is made for one machine alone carries the machine's own id, also when it once was of a batch.
  const own: Target<Options> = many ? first : { id: first.id, name: first.name, options: first.options };
  await withAws(first.options, call, async (aws) => {
    const found = async (): Promise<boolean> => {
      const all = await Promise.all(targets.map(async (target) => instances.findInstances(aws, target)));
      return all.every((one) => one.length > 0);
    };
    if (await found()) return;
    const tags = await instances.marksOf(own, call, many ? `${first.name} …` : first.name);
    const group = await firewall.ourGroup(aws, own, tags, boot.enginePort, call);
    const groups = [...(group === undefined ? [] : [group]), ...(await firewall.theirGroups(aws, first.options))];
    const input = instances.runInput(
      { options: first.options, userData: userData(boot, await theirs(first.options)), groups, tags },
      targets.length,
    );
    await instances.launch(aws, { token: firewall.groupId(own), input, call, found });
    if (many) await nameEach(targets, aws, instances.findInstances, call);
  });
}

/** For people who look into the console; nothing depends on it. */
async function nameEach(
  targets: readonly Target<Options>[],
  aws: import('./client.ts').Aws,
  find: typeof import('./instances.ts').findInstances,
  call: Call,
): Promise<void> {
  for (const target of targets) {
    const [one] = await find(aws, target);
    if (one?.InstanceId === undefined) continue;
    await aws
      .send(
        'naming the instance',
        new aws.sdk.CreateTagsCommand({
          Resources: [one.InstanceId],
          Tags: [
            { Key: 'Name', Value: target.name },
            { Key: 'slipway-name', Value: target.name },
          ],
        }),
      )
      .catch((error: unknown) => {
        if (call.signal.aborted || !(error instanceof SlipwayError)) throw error;
        call.note(`${one.InstanceId} is not named "${target.name}" in EC2: ${error.message}`);
      });
  }
}

async function inspect(target: Target<Options>, call: Call): Promise<Instance> {
  const { options: given } = target;
  if (given.region === undefined) return { state: 'missing' };
  const [{ withAws }, { findInstances }] = await Promise.all([way(), import('./instances.ts')]);
  return await withAws(given, call, async (aws): Promise<Instance> => {
    const [one] = await findInstances(aws, target);
    const state = one?.State?.Name;
    if (!one || state === undefined) return { state: 'missing' };
    if (state === 'stopped' || state === 'stopping') return { state: 'stopped' };
    const address =
      given.privateAddressOnly || given.usePrivateAddress
        ? one.PrivateIpAddress
        : one.PublicIpAddress || one.Ipv6Address;
    if (state === 'pending' || !address) return { state: 'pending' };
    const ssh = {
      address,
      port: given.sshPort,
      user: given.sshUser ?? 'admin',
      ...(given.sshKey === undefined ? {} : { keyFile: given.sshKey }),
    };
    return { state: 'running', host: { address, ssh } };
  });
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

async function theirs({ userData: file }: Options): Promise<string | undefined> {
  if (file === undefined) return undefined;
  await readable(file, '--ec2-user-data');
  return await readFile(file, 'utf8');
}

async function readable(file: string | undefined, flag: string): Promise<void> {
  if (file === undefined) return;
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw new SlipwayError('USAGE', `${file} can't be read`, { hint: `Check ${flag}`, cause: error });
  });
}
