import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { retry } from '../cloud/retry.ts';
import { SlipwayError } from '../../errors.ts';
import type { DriverCall, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import { type Ec2Connection, withEc2 } from './client.ts';
import { resizeInstance } from './change-instance.ts';
import { causeAwsCode, findInstances, waitForInstanceState } from './instances.ts';
import type { Ec2Options } from './options.ts';

const STATE_CHANGE_TIMEOUT_SECONDS = 300;

export async function startInstance(target: Target<Ec2Options>, call: DriverCall): Promise<void> {
  await withEc2(target.options, call, async (aws) => {
    const { id, state, instance } = await requireInstance(aws, target);
    if (state === 'running' || state === 'pending') return;
    await resizeInstance(aws, instance, target.options);
    // One that still stops can't be started yet.
    await retry(
      'starting the instance',
      () => aws.send('starting the instance', new aws.sdk.StartInstancesCommand({ InstanceIds: [id] })),
      {
        transientReason: (error) =>
          causeAwsCode(error) === 'IncorrectInstanceState' ? 'it is still stopping' : undefined,
        seconds: STATE_CHANGE_TIMEOUT_SECONDS,
        call,
      },
    );
  });
}

/** Its own shutdown within so many seconds, then its end by force. */
export async function stopInstance(target: Target<Ec2Options>, seconds: number, call: DriverCall): Promise<void> {
  await withEc2(target.options, call, async (aws) => {
    const { id, state, spot } = await requireInstance(aws, target);
    if (state === 'stopped') return;
    if (spot) {
      throw new SlipwayError('DRIVER_UNSUPPORTED', `"${target.name}" is a spot instance, which EC2 can only end`, {
        hint: `Remove it: slipway rm ${target.name}`,
      });
    }
    const stop = async (Force: boolean): Promise<void> => {
      await aws.send(
        'stopping the instance',
        new aws.sdk.StopInstancesCommand({ InstanceIds: [id], ...(Force ? { Force } : {}) }),
      );
    };
    if (seconds > 0) {
      await stop(false);
      if (await waitForInstanceState(aws, [id], ['stopped'], seconds)) return;
      call.note(`"${target.name}" has not shut down within ${seconds} s, so it is stopped by force`);
    }
    await stop(true);
    if (await waitForInstanceState(aws, [id], ['stopped'], STATE_CHANGE_TIMEOUT_SECONDS)) return;
    throw new SlipwayError('PROVIDER_REFUSED', `EC2 has not stopped ${id} within five minutes`, {
      hint: `See how it is: slipway status ${target.name}`,
    });
  });
}

async function requireInstance(
  aws: Ec2Connection,
  target: Target<Ec2Options>,
): Promise<{ readonly id: string; readonly state: string; readonly spot: boolean; readonly instance: AwsInstance }> {
  const [one] = await findInstances(aws, target);
  if (one?.InstanceId !== undefined)
    return {
      id: one.InstanceId,
      state: one.State?.Name ?? '',
      spot: one.InstanceLifecycle === 'spot',
      instance: one,
    };
  await requireMachineAccount(aws, target.options);
  throw new SlipwayError('MACHINE_NOT_FOUND', `The instance of "${target.name}" is gone from EC2`, {
    hint: `Forget the machine: slipway rm ${target.name}`,
  });
}
