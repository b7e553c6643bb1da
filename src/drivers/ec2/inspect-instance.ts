import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { fixHint } from '../cloud/errors.ts';
import { SlipwayError, type ErrorCode } from '../../errors.ts';
import type { InstanceStatus, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { TERMINATED_STATES, findInstances, isLive, LIVE_STATES } from './instances.ts';
import type { Ec2Options } from './options.ts';

/** An instance without an address this long after its start will never get one. */
const ADDRESS_TIMEOUT_MS = 60_000;

/**
 * Returns the status of the machine's instance. Rejects with EC2's own reason if EC2 itself has terminated the
 * instance.
 */
export async function inspectInstance(aws: Ec2Connection, target: Target<Ec2Options>): Promise<InstanceStatus> {
  const { options, name } = target;
  const all = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
  const instance = all.find(isLive);
  if (!instance) {
    const last = all.at(-1);
    if (last) requireNotTerminatedByEc2(last, name);
    else await requireMachineAccount(aws, options);
    return { state: 'missing' };
  }
  const state = instance.State?.Name;
  if (state === 'stopped' || state === 'stopping') return { state: 'stopped' };
  if (state === 'pending') return { state: 'pending' };
  const address = addressOf(instance, options);
  if (!address) return statusWithoutAddress(instance);
  const ssh = {
    address,
    port: options.sshPort,
    user: options.sshUser ?? 'admin',
    ...(options.sshKey === undefined ? {} : { keyFile: options.sshKey }),
  };
  return { state: 'running', host: { address, ssh } };
}

function addressOf(
  { PrivateIpAddress, PublicIpAddress, Ipv6Address }: AwsInstance,
  { privateAddressOnly, usePrivateAddress }: Ec2Options,
): string | undefined {
  return privateAddressOnly || usePrivateAddress ? PrivateIpAddress : PublicIpAddress || Ipv6Address;
}

function statusWithoutAddress({ InstanceId, LaunchTime }: AwsInstance): InstanceStatus {
  if (Date.now() - (LaunchTime?.getTime() ?? Date.now()) < ADDRESS_TIMEOUT_MS) return { state: 'pending' };
  return {
    state: 'paused',
    reason: `its subnet gave ${InstanceId} no public address (--ec2-subnet, --ec2-use-private-address)`,
  };
}

/**
 * Throws EC2's reason if EC2 itself has terminated the instance. EC2 may accept a request and terminate its instance a
 * moment later, because of a disk quota, a KMS key that it may not use, or a spot price.
 */
function requireNotTerminatedByEc2({ InstanceId, StateReason }: AwsInstance, name: string): void {
  const { Code = '', Message = '' } = StateReason ?? {};
  if (Code === '' || /^Client\.(User|Instance)InitiatedShutdown$/.test(Code)) return;
  const words = Message.startsWith(Code) ? Message : `${Code}, ${Message}`;
  throw new SlipwayError(errorCodeFor(Code), `EC2 has terminated ${InstanceId}, the instance of "${name}": ${words}`, {
    hint: `${fixHint('AWS')}: slipway create ${name}. To undo: slipway rm ${name}`,
  });
}

function errorCodeFor(reason: string): ErrorCode {
  if (/LimitExceeded|QuotaExceeded/.test(reason)) return 'QUOTA';
  return /Insufficient\w*Capacity|Spot/.test(reason) ? 'CAPACITY' : 'PROVIDER_REFUSED';
}
