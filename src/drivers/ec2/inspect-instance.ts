import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { SlipwayError, type ErrorCode } from '../../errors.ts';
import type { InstanceStatus, Target } from '../contract.ts';
import { requireMachineAccount } from './account.ts';
import type { Ec2Connection } from './client.ts';
import { TERMINATED_STATES, findInstances, LIVE_STATES } from './instances.ts';
import type { Ec2Options } from './options.ts';

/** So long after its start an instance has the address that it will ever have. */
const ADDRESS_TIMEOUT_MS = 60_000;

/** How the machine's instance is. Rejects for one that EC2 has ended by itself, with EC2's own reason. */
export async function inspectInstance(aws: Ec2Connection, target: Target<Ec2Options>): Promise<InstanceStatus> {
  const all = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
  const one = all.find(({ State }) => LIVE_STATES.includes(State?.Name ?? ''));
  if (!one) {
    const last = all.at(-1);
    if (last) requireNotTerminatedByEc2(last, target.name);
    else await requireMachineAccount(aws, target.options);
    return { state: 'missing' };
  }
  const state = one.State?.Name;
  if (state === 'stopped' || state === 'stopping') return { state: 'stopped' };
  const { options } = target;
  const address = addressOf(one, options);
  if (state === 'pending') return { state: 'pending' };
  if (!address) return statusWithoutAddress(one);
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
    reason: `EC2 gave ${InstanceId} no public address, as its subnet has it (--ec2-subnet, --ec2-use-private-address)`,
  };
}

/** EC2 says yes to an instance, and ends it a moment later: a disk over the quota, a key that it may not use, a spot price. */
function requireNotTerminatedByEc2({ InstanceId, StateReason }: AwsInstance, name: string): void {
  const { Code = '', Message = '' } = StateReason ?? {};
  if (Code === '' || /^Client\.(User|Instance)InitiatedShutdown$/.test(Code)) return;
  const words = Message.startsWith(Code) ? Message : `${Code}, ${Message}`;
  throw new SlipwayError(errorCodeFor(Code), `EC2 has ended ${InstanceId}, the instance of "${name}": ${words}`, {
    hint: `Mend what AWS names, then try again: slipway create ${name}; or forget the machine: slipway rm ${name}`,
  });
}

function errorCodeFor(reason: string): ErrorCode {
  if (/LimitExceeded|QuotaExceeded/.test(reason)) return 'QUOTA';
  return /Insufficient\w*Capacity|Spot/.test(reason) ? 'CAPACITY' : 'PROVIDER_REFUSED';
}
