import { instanceGoneError } from '../cloud/errors.ts';
import { addCosts, formatMonthlyCost } from '../cloud/prices.ts';
import { sleepUnlessCanceled } from '../cloud/retry.ts';
import { requireReadableFile } from '../cloud/user-data.ts';
import { SlipwayError } from '../../errors.ts';
import { defineDriver, type DriverCall, type DriverHealth, type InstanceStatus, type Target } from '../contract.ts';
import { driverAliases } from '../names.ts';
import type { GceConnection } from './client.ts';
import { hasCredentials } from './credentials.ts';
import { changeKindOf, optionsSchema, type GceOptions } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';

/** The SDK is read when a machine of this driver is meant, and not before. */
async function withConnection<T>(
  given: GceOptions,
  call: DriverCall,
  work: (gce: GceConnection) => Promise<T>,
): Promise<T> {
  const { withGce } = await import('./client.ts');
  return await withGce(given, call, work);
}

export const gce = defineDriver({
  name: 'gce',
  aliases: driverAliases.gce,
  summary: 'an instance of Google Compute Engine',
  userDataIsPublic: true,
  options: optionsSchema,
  choices: {
    zone: async (...asked) => (await import('./choices.ts')).listZones(...asked),
    machineType: async (...asked) => (await import('./choices.ts')).listMachineTypes(...asked),
    imageFamily: async () => (await import('./choices.ts')).listImageFamilies(),
  },
  describeResources: ({ machineType, diskSize, allowCidr, address, useExisting, spot, preemptible }) =>
    useExisting
      ? 'a firewall rule, and a key on the instance that exists'
      : `one ${spot || preemptible ? 'spot ' : ''}instance (${machineType}) with a disk of ${diskSize} GB${address === 'static' ? ', an address' : ''}, and a firewall rule that admits ${allowCidr.join(', ') || 'your address alone'}`,
  async monthlyCost({ machineType, diskType, diskSize, spot, preemptible, useExisting }) {
    if (useExisting) return 0;
    return addCosts(
      instanceMonthlyCost(machineType, { spot: spot || preemptible }),
      diskMonthlyCost(diskType, diskSize),
    );
  },
  shutdownBehavior({ options: { diskType, diskSize, address, useExisting } }) {
    // Its provider could delete it after a time, but such a time can't be moved while the instance runs.
    const monthly = useExisting ? undefined : diskMonthlyCost(diskType, diskSize);
    const disk = `its disk goes on costing${monthly === undefined ? '' : ` ${formatMonthlyCost(monthly)}`}`;
    return { byItself: 'stopped', costs: address === 'static' ? `${disk}, and so does its address` : disk };
  },
  accountOptions: ['project', 'endpoint'],
  health: checkCredentials,
  async validate({ options: given }) {
    await requireReadableFile(given.startupScript, '--gce-startup-script');
    await requireReadableFile(given.sshKey, '--gce-ssh-key');
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
  changeKindOf,
  async validateChange(target, before, call) {
    const { requireAllowedChange } = await import('./change-instance.ts');
    await requireAllowedChange(target, before, call);
  },
  async applyChange(target, before, call) {
    const { applyChange } = await import('./change-instance.ts');
    await applyChange(target, before, call);
  },
  async resolveOptions(target, call) {
    const { hasResolvedOptions, resolveOptions } = await import('./resolve-options.ts');
    if (hasResolvedOptions(target.options)) return target.options;
    return await withConnection(target.options, call, (way) => resolveOptions(way, target));
  },
  async create(target, boot, call) {
    const { createInstances } = await import('./create-instances.ts');
    await withConnection(target.options, call, (way) => createInstances(way, [target], boot, call));
    return { bootApplied: false };
  },
  async createMany(targets, boot, call) {
    const [first, ...others] = targets;
    const { createInstances } = await import('./create-instances.ts');
    if (first) await withConnection(first.options, call, (way) => createInstances(way, [first, ...others], boot, call));
  },
  async allowCallerIp(target, call) {
    const { allowCallerIp } = await import('./firewall-rules.ts');
    await withConnection(target.options, call, (way) => allowCallerIp(way, target));
  },
  inspect,
  async start(target, call) {
    await changePowerState(target, 'start', call);
  },
  async stop(target, { seconds }, call) {
    await changePowerState(target, 'stop', call, seconds);
  },
  async kill(target, call) {
    await changePowerState(target, 'stop', call, 0);
  },
  async remove(target, call) {
    // Its create never came to ask Google for anything.
    if (target.options.project === undefined) return;
    const { removeMachine } = await import('./remove-machine.ts');
    await withConnection(target.options, call, (way) => removeMachine(way, target, call));
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

async function inspect(target: Target<GceOptions>, call: DriverCall): Promise<InstanceStatus> {
  const { options: given } = target;
  if (given.project === undefined) return { state: 'missing' };
  const [{ findInstance }, { isReachedByInternalIp }] = await Promise.all([
    import('./instances.ts'),
    import('./instance-request.ts'),
  ]);
  return await withConnection(given, call, async (way): Promise<InstanceStatus> => {
    const found = await findInstance(way, target);
    const status = found?.status ?? '';
    if (!found || status === '') return { state: 'missing' };
    if (['PENDING_STOP', 'STOPPING', ...STOPPED_STATUSES].includes(status)) return { state: 'stopped' };
    if (['SUSPENDING', 'SUSPENDED'].includes(status))
      return { state: 'paused', reason: 'it is suspended in Compute Engine' };
    const [card] = found.networkInterfaces ?? [];
    const address = isReachedByInternalIp(given) ? card?.networkIP : card?.accessConfigs?.[0]?.natIP;
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
async function changePowerState(
  target: Target<GceOptions>,
  method: 'start' | 'stop',
  call: DriverCall,
  seconds = 0,
): Promise<void> {
  const [{ runOperation }, { findInstance }] = await Promise.all([import('./operation.ts'), import('./instances.ts')]);
  if (seconds > 90) call.log('Compute Engine gives a machine about 90 s to shut down');
  await withConnection(target.options, call, async (way) => {
    const one = await waitForStableInstance(target, call, () => findInstance(way, target));
    const { name, status = '' } = one;
    const asleep = status === 'SUSPENDED';
    if (STOPPED_STATUSES.includes(status) !== (method === 'start') && !asleep) return;
    if (method === 'start' && !asleep && !target.options.useExisting) {
      const { resizeInstance } = await import('./change-instance.ts');
      await resizeInstance(way, one, target.options);
    }
    await runOperation(
      way,
      `${method === 'start' ? 'starting' : 'stopping'} the instance`,
      'InstancesClient',
      asleep && method === 'start' ? 'resume' : method,
      { zone: target.options.zone, instance: name },
    );
  });
}

const STOPPED_STATUSES = ['TERMINATED', 'STOPPED'];
const STOPPING_STATUSES = ['STOPPING', 'SUSPENDING', 'PENDING_STOP'];

/** What is on its way down is neither to be started nor to be stopped before it is there. */
async function waitForStableInstance<T extends { readonly status?: string }>(
  { name }: Target<GceOptions>,
  call: DriverCall,
  find: () => Promise<T | undefined>,
): Promise<T> {
  for (;;) {
    const found = await find();
    if (!found) throw instanceGoneError(name, 'Compute Engine');
    if (!STOPPING_STATUSES.includes(found.status ?? '')) return found;
    await sleepUnlessCanceled(1000, call.signal);
  }
}

/** Where Google's own chain would find credentials, as far as that can be told without asking anybody. */
async function checkCredentials(computer: DriverCall['computer']): Promise<DriverHealth> {
  if (await hasCredentials(computer)) return { usable: true };
  return {
    usable: false,
    reason: "there are no Google credentials in the environment nor in gcloud's folder",
    fix: 'gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS',
  };
}
