import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { instanceGoneError } from '../cloud/errors.ts';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { resizeInstance } from './change-instance.ts';
import { causeAwsCode } from './errors.ts';
import { findInstances, waitForInstanceState } from './instances.ts';
import type { Ec2Options } from './options.ts';

const STATE_CHANGE_TIMEOUT_SECONDS = 300;

export async function startInstance(target: Target<Ec2Options>, call: DriverCall): Promise<void> {
  const start = async (aws: Ec2Connection): Promise<void> => {
    const instance = await requireInstance(aws, target);
    const state = instance.State?.Name;
    if (state === 'running' || state === 'pending') return;
    await resizeInstance(aws, instance, target.options);
    const doing = 'starting the instance';
    const command = new aws.sdk.StartInstancesCommand({ InstanceIds: [instance.InstanceId] });
    await retry(doing, () => aws.send(doing, command), {
      transientReason: (error) =>
        causeAwsCode(error) === 'IncorrectInstanceState' ? 'it is still stopping' : undefined,
      seconds: STATE_CHANGE_TIMEOUT_SECONDS,
      call,
    });
  };
  await withEc2(target.options, call, start, { machine: target.name });
}

/** Lets the instance shut itself down within `seconds`, then stops it by force. */
export async function stopInstance(
  target: Target<Ec2Options>,
  { seconds }: { readonly seconds: number },
  call: DriverCall,
): Promise<void> {
  await withEc2(target.options, call, async (aws) => {
    const { InstanceId: id, State, InstanceLifecycle } = await requireInstance(aws, target);
    if (State?.Name === 'stopped') return;
    if (InstanceLifecycle === 'spot') {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `"${target.name}" is a spot instance, which EC2 can't stop`, {
        hint: `Remove it: slipway rm ${target.name}`,
      });
    }
    const stop = async (Force: boolean): Promise<void> => {
      const command = new aws.sdk.StopInstancesCommand({ InstanceIds: [id], ...(Force ? { Force } : {}) });
      await aws.send('stopping the instance', command);
    };
    if (seconds > 0) {
      await stop(false);
      if (await waitForInstanceState(aws, [id], ['stopped'], seconds)) return;
      call.note(`"${target.name}" has not shut down within ${seconds} s: stopping it by force`);
    }
    await stop(true);
    if (await waitForInstanceState(aws, [id], ['stopped'], STATE_CHANGE_TIMEOUT_SECONDS)) return;
    throw new SlipwayError('PROVIDER_REFUSED', `EC2 has not stopped ${id} within five minutes`, {
      hint: `Check its state: slipway status ${target.name}`,
    });
  });
}

async function requireInstance(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
): Promise<AwsInstance & { readonly InstanceId: string }> {
  const [instance] = await findInstances(aws, target);
  if (instance?.InstanceId !== undefined) return { ...instance, InstanceId: instance.InstanceId };
  await requireMachineAccount(aws, target.options);
  throw instanceGoneError(target.name, 'EC2');
}
