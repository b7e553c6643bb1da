import { instanceGoneError } from '../cloud/errors.ts';
import { sleepUnlessCanceled } from '../cloud/retry.ts';
import type { DriverCall, Target } from '../contract.ts';
import { resizeInstance } from './change-instance.ts';
import { type GceConnection, withGce } from './client.ts';
import { findInstance, type GceInstance, isStopped, isStopping } from './instances.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

/** Google stops an instance by force about this long after a request to stop it; no request can change that. */
const SHUTDOWN_SECONDS = 90;

export async function startInstance(target: Target<GceOptions>, call: DriverCall): Promise<void> {
  const { zone, useExisting } = target.options;
  await withGce(target.options, call, async (gce) => {
    const instance = await requireStableInstance(gce, target);
    const isSuspended = instance.status === 'SUSPENDED';
    if (!isStopped(instance) && !isSuspended) return;
    if (!isSuspended && !useExisting) await resizeInstance(gce, instance, target.options);
    await runOperation(gce, 'starting the instance', 'InstancesClient', isSuspended ? 'resume' : 'start', {
      zone,
      instance: instance.name,
    });
  });
}

/** Lets the instance shut itself down; Google stops it by force after SHUTDOWN_SECONDS. */
export async function stopInstance(
  target: Target<GceOptions>,
  { seconds }: { readonly seconds: number },
  call: DriverCall,
): Promise<void> {
  if (seconds > SHUTDOWN_SECONDS) call.log(`Compute Engine lets an instance shut down for about ${SHUTDOWN_SECONDS} s`);
  await withGce(target.options, call, async (gce) => {
    const instance = await requireStableInstance(gce, target);
    if (isStopped(instance)) return;
    await runOperation(gce, 'stopping the instance', 'InstancesClient', 'stop', {
      zone: target.options.zone,
      instance: instance.name,
    });
  });
}

/** Returns the instance, after a stop in progress has ended: until then it can be neither started nor stopped. */
async function requireStableInstance(gce: GceConnection, target: Target<GceOptions>): Promise<GceInstance> {
  for (;;) {
    const instance = await findInstance(gce, target);
    if (!instance) throw instanceGoneError(target.name, 'Compute Engine');
    if (!isStopping(instance)) return instance;
    await sleepUnlessCanceled(1000, gce.call.signal);
  }
}
