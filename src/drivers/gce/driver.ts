import { access, constants } from 'node:fs/promises';
import { sleepUnlessCanceled } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { CloudDriverCode, DriverCall, DriverHealth, InstanceStatus, Target } from '../contract.ts';
import { adoptInstance } from './adopt.ts';
import { applyChange, requireAllowedChange, resizeInstance } from './change-instance.ts';
import { listImageFamilies, listMachineTypes, listZones } from './choices.ts';
import { withGce } from './client.ts';
import { createInstances, findInstance } from './create-instances.ts';
import { hasCredentials } from './credentials.ts';
import { allowCallerIp } from './firewall-rules.ts';
import { isReachedByInternalIp } from './instance-request.ts';
import { deleteResources, listResources } from './list-resources.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';
import { diskMonthlyCost, instanceMonthlyCost } from './prices.ts';
import { removeMachine } from './remove-machine.ts';
import { hasResolvedOptions, resolveOptions } from './resolve-options.ts';

export const driver: CloudDriverCode<GceOptions> = {
  health: checkCredentials,
  machines: {
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
    async create(target, boot, call) {
      await withGce(target.options, call, (gce) => createInstances(gce, [target], boot, call));
      return { bootApplied: false };
    },
    inspect,
    async remove(target, call) {
      // A create that resolved no project has asked Google for nothing.
      if (target.options.project === undefined) return;
      await withGce(target.options, call, (gce) => removeMachine(gce, target, call));
    },
  },
  power: {
    async start(target, call) {
      await changePowerState(target, 'start', call);
    },
    async stop(target, { seconds }, call) {
      await changePowerState(target, 'stop', call, seconds);
    },
    async kill(target, call) {
      await changePowerState(target, 'stop', call, 0);
    },
  },
  cloud: {
    async resolveOptions(target, call) {
      if (hasResolvedOptions(target.options)) return target.options;
      return await withGce(target.options, call, (gce) => resolveOptions(gce, target));
    },
    async createMany(targets, boot, call) {
      const [first] = targets;
      if (first) await withGce(first.options, call, (gce) => createInstances(gce, targets, boot, call));
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
        ? 'a firewall rule, and a key on the instance that exists'
        : `one ${spot || preemptible ? 'spot ' : ''}instance (${machineType}) with a disk of ${diskSize} GB${address === 'static' ? ', an address' : ''}, and a firewall rule that admits ${allowCidr.join(', ') || 'your address alone'}`,
    async monthly({ machineType, diskType, diskSize, spot, preemptible, useExisting }) {
      if (useExisting) return 0;
      const [machine, disk] = [
        instanceMonthlyCost(machineType, false, spot || preemptible),
        diskMonthlyCost(diskType, diskSize),
      ];
      return machine === undefined || disk === undefined ? undefined : machine + disk;
    },
  },
  prompts: { zone: listZones, machineType: listMachineTypes, imageFamily: listImageFamilies },
};

async function inspect(target: Target<GceOptions>, call: DriverCall): Promise<InstanceStatus> {
  const { options: given } = target;
  if (given.project === undefined) return { state: 'missing' };
  return await withGce(given, call, async (gce): Promise<InstanceStatus> => {
    const found = await findInstance(gce, target);
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
  if (seconds > 90) call.log('Compute Engine gives a machine about 90 s to shut down');
  await withGce(target.options, call, async (gce) => {
    const one = await waitForStableInstance(target, call, () => findInstance(gce, target));
    const { name, status = '' } = one;
    const asleep = status === 'SUSPENDED';
    if (STOPPED_STATUSES.includes(status) !== (method === 'start') && !asleep) return;
    if (method === 'start' && !asleep && !target.options.useExisting) {
      await resizeInstance(gce, one, target.options);
    }
    await runOperation(
      gce,
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
    if (!found)
      throw new SlipwayError('MACHINE_NOT_FOUND', `The instance of "${name}" is gone from Compute Engine`, {
        hint: `Forget the machine: slipway rm ${name}`,
      });
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

async function requireReadableFile(file: string | undefined, flag: string): Promise<void> {
  if (file === undefined) return;
  await access(file, constants.R_OK).catch((error: unknown) => {
    throw new SlipwayError('USAGE', `${file} can't be read`, { hint: `Check ${flag}`, cause: error });
  });
}
