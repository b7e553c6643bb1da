import { access, constants } from 'node:fs/promises';
import { pauseFor } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import { defineDriver, type Call, type Health, type Instance, type Target } from '../contract.ts';
import { driverNames } from '../names.ts';
import type { Gce } from './client.ts';
import { haveCredentials } from './credentials.ts';
import { changeOf, options, type Options } from './options.ts';
import { diskMonthly, machineMonthly } from './prices.ts';

/** The SDK is read when a machine of this driver is meant, and not before. */
async function over<T>(given: Options, call: Call, work: (gce: Gce) => Promise<T>): Promise<T> {
  const { withGce } = await import('./client.ts');
  return await withGce(given, call, work);
}

export const gce = defineDriver({
  name: 'gce',
  also: driverNames.gce,
  summary: 'an instance of Google Compute Engine',
  bootIsReadable: true,
  options,
  choices: {
    zone: async (...asked) => (await import('./choices.ts')).zones(...asked),
    machineType: async (...asked) => (await import('./choices.ts')).machineTypes(...asked),
    imageFamily: async () => (await import('./choices.ts')).imageFamilies(),
  },
  makes: ({ machineType, diskSize, allowCidr, address, useExisting, spot, preemptible }) =>
    useExisting
      ? 'a firewall rule, and a key on the instance that exists'
      : `one ${spot || preemptible ? 'spot ' : ''}instance (${machineType}) with a disk of ${diskSize} GB${address === 'static' ? ', an address' : ''}, and a firewall rule that admits ${allowCidr.join(', ') || 'your address alone'}`,
  async monthly({ machineType, diskType, diskSize, spot, preemptible, useExisting }) {
    if (useExisting) return 0;
    const [machine, disk] = [machineMonthly(machineType, false, spot || preemptible), diskMonthly(diskType, diskSize)];
    return machine === undefined || disk === undefined ? undefined : machine + disk;
  },
  ends({ options: { diskType, diskSize, address, useExisting } }) {
    // Its provider could delete it after a time, but such a time can't be moved while the instance runs.
    const monthly = useExisting ? undefined : diskMonthly(diskType, diskSize);
    const disk = `its disk goes on costing${monthly === undefined ? '' : ` about $${monthly.toFixed(2)} a month`}`;
    return { byItself: 'stopped', costs: address === 'static' ? `${disk}, and so does its address` : disk };
  },
  reach: ['project', 'endpoint'],
  health,
  async check({ options: given }) {
    await readable(given.startupScript, '--gce-startup-script');
    await readable(given.sshKey, '--gce-ssh-key');
    // What another tool made has its own user with its own key.
    const adopted = given.instanceLink !== undefined && !given.useExisting;
    if (!adopted && given.osLogin !== (given.sshKey !== undefined)) {
      throw new SlipwayError(
        'USAGE',
        'OS Login is a user and a key of your own profile: --gce-os-login goes with --gce-ssh-key',
        {
          hint: 'Give both, and the user as --gce-ssh-user; or neither: the machine then gets a key of its own',
        },
      );
    }
  },
  async adopt(target, resource, call) {
    const { adoptInstance } = await import('./adopt.ts');
    return await adoptInstance(target, resource, call);
  },
  changeOf,
  async checkChange(target, before, call) {
    const { checkChange } = await import('./change.ts');
    await checkChange(target, before, call);
  },
  async change(target, before, call) {
    const { carryOver } = await import('./change.ts');
    await carryOver(target, before, call);
  },
  async settle(target, call) {
    const { isSettled, settled } = await import('./settle.ts');
    if (isSettled(target.options)) return target.options;
    return await over(target.options, call, (way) => settled(way, target));
  },
  async create(target, boot, call) {
    const { make } = await import('./make.ts');
    await over(target.options, call, (way) => make(way, [target], boot, call));
    return { laid: false };
  },
  async createMany(targets, boot, call) {
    const [first] = targets;
    const { make } = await import('./make.ts');
    if (first) await over(first.options, call, (way) => make(way, targets, boot, call));
  },
  async admit(target, call) {
    const { admitCaller } = await import('./firewall.ts');
    await over(target.options, call, (way) => admitCaller(way, target));
  },
  inspect,
  async start(target, call) {
    await power(target, 'start', call);
  },
  async stop(target, { seconds }, call) {
    await power(target, 'stop', call, seconds);
  },
  async kill(target, call) {
    await power(target, 'stop', call, 0);
  },
  async remove(target, call) {
    // Its create never came to ask Google for anything.
    if (target.options.project === undefined) return;
    const { removeAll } = await import('./remove.ts');
    await over(target.options, call, (way) => removeAll(way, target, call));
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

async function inspect(target: Target<Options>, call: Call): Promise<Instance> {
  const { options: given } = target;
  if (given.project === undefined) return { state: 'missing' };
  const [{ findInstance }, { isReachedInside }] = await Promise.all([import('./make.ts'), import('./instance.ts')]);
  return await over(given, call, async (way): Promise<Instance> => {
    const found = await findInstance(way, target);
    const status = found?.status ?? '';
    if (!found || status === '') return { state: 'missing' };
    if (['PENDING_STOP', 'STOPPING', ...DOWN].includes(status)) return { state: 'stopped' };
    if (['SUSPENDING', 'SUSPENDED'].includes(status))
      return { state: 'paused', reason: 'it is suspended in Compute Engine' };
    const [card] = found.networkInterfaces ?? [];
    const address = isReachedInside(given) ? card?.networkIP : card?.accessConfigs?.[0]?.natIP;
    if (status !== 'RUNNING' || !address) return { state: 'pending' };
    const ssh = {
      address,
      port: 22,
      user: given.sshUser,
      ...(given.sshKey === undefined ? {} : { keyFile: given.sshKey }),
      ...(given.useExisting && given.hostKey !== undefined ? { expectedKey: given.hostKey } : {}),
    };
    return { state: 'running', host: { address, ssh } };
  });
}

/** Google ends a machine that has not shut down in about 90 seconds by itself, so seconds are a wish. */
async function power(target: Target<Options>, method: 'start' | 'stop', call: Call, seconds = 0): Promise<void> {
  const [{ change }, { findInstance }] = await Promise.all([import('./operation.ts'), import('./make.ts')]);
  if (seconds > 90) call.log('Compute Engine gives a machine about 90 s to shut down');
  await over(target.options, call, async (way) => {
    const one = await settledOne(target, call, () => findInstance(way, target));
    const { name, status = '' } = one;
    const asleep = status === 'SUSPENDED';
    if (DOWN.includes(status) !== (method === 'start') && !asleep) return;
    if (method === 'start' && !asleep && !target.options.useExisting) {
      const { resize } = await import('./change.ts');
      await resize(way, one, target.options);
    }
    await change(
      way,
      `${method === 'start' ? 'starting' : 'stopping'} the instance`,
      'InstancesClient',
      asleep && method === 'start' ? 'resume' : method,
      { zone: target.options.zone, instance: name },
    );
  });
}

const DOWN = ['TERMINATED', 'STOPPED'];
const GOING_DOWN = ['STOPPING', 'SUSPENDING', 'PENDING_STOP'];

/** What is on its way down is neither to be started nor to be stopped before it is there. */
async function settledOne<T extends { readonly status?: string }>(
  { name }: Target<Options>,
  call: Call,
  find: () => Promise<T | undefined>,
): Promise<T> {
  for (;;) {
    const found = await find();
    if (!found)
      throw new SlipwayError('MACHINE_NOT_FOUND', `The instance of "${name}" is gone from Compute Engine`, {
        hint: `Forget the machine: slipway rm ${name}`,
      });
    if (!GOING_DOWN.includes(found.status ?? '')) return found;
    await pauseFor(1000, call.signal);
  }
}

/** Where Google's own chain would find credentials, as far as that can be told without asking anybody. */
async function health(computer: Call['computer']): Promise<Health> {
  if (await haveCredentials(computer)) return { usable: true };
  return {
    usable: false,
    reason: 'there are no Google credentials in the environment nor in gcloud’s folder',
    fix: 'gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS',
  };
}

async function readable(file: string | undefined, flag: string): Promise<void> {
  if (file === undefined) return;
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw new SlipwayError('USAGE', `${file} can't be read`, { hint: `Check ${flag}`, cause: error });
  });
}
