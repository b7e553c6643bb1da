import type { InstanceStatus, Target } from '../contract.ts';
import type { GceConnection } from './client.ts';
import { isReachedByInternalIp } from './instance-request.ts';
import { findInstance, type GceInstance, isStopped, isStopping } from './instances.ts';
import type { GceOptions } from './options.ts';

/** Returns the status of the machine's instance. */
export async function inspectInstance(gce: GceConnection, target: Target<GceOptions>): Promise<InstanceStatus> {
  const { options } = target;
  const instance = await findInstance(gce, target);
  const status = instance?.status ?? '';
  if (!instance || status === '') return { state: 'missing' };
  if (status === 'SUSPENDING' || status === 'SUSPENDED')
    return { state: 'paused', reason: 'it is suspended in Compute Engine' };
  if (isStopped(instance) || isStopping(instance)) return { state: 'stopped' };
  const address = addressOf(instance, options);
  if (status !== 'RUNNING' || !address) return { state: 'pending' };
  const ssh = {
    address,
    port: 22,
    user: options.sshUser,
    ...(options.sshKey === undefined ? {} : { keyFile: options.sshKey }),
    ...(options.useExisting && options.hostKey !== undefined ? { expectedKey: options.hostKey } : {}),
  };
  return { state: 'running', host: { address, ssh } };
}

function addressOf({ networkInterfaces = [] }: GceInstance, options: GceOptions): string | undefined {
  const [networkInterface] = networkInterfaces;
  return isReachedByInternalIp(options) ? networkInterface?.networkIP : networkInterface?.accessConfigs?.[0]?.natIP;
}
