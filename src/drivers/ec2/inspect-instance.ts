import type { Instance as AwsInstance } from '@aws-sdk/client-ec2';
import { hasRouteTo } from '../cloud/caller-ip.ts';
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
 * instance of an incomplete machine.
 */
export async function inspectInstance(aws: Ec2Connection, target: Target<Ec2Options>): Promise<InstanceStatus> {
  const { options, name } = target;
  const all = await findInstances(aws, target, [...LIVE_STATES, ...TERMINATED_STATES]);
  const instance = all.find(isLive);
  if (!instance) {
    const last = all.at(-1);
    if (!last) await requireMachineAccount(aws, options);
    const reason = endReasonOf(last, options);
    if (reason === undefined) return { state: 'missing' };
    if (target.host !== undefined) return { state: 'missing', reason };
    if (last) throw terminatedError(last, name);
    return { state: 'missing' };
  }
  const state = instance.State?.Name;
  if (state === 'stopped' || state === 'stopping') return { state: 'stopped' };
  if (state === 'pending') return { state: 'pending' };
  const address = await findAddress(instance, options);
  if (!address) return statusWithoutAddress(instance);
  const ssh = {
    address,
    port: options.sshPort,
    user: options.sshUser ?? 'admin',
    ...(options.sshKey === undefined ? {} : { keyFile: options.sshKey }),
  };
  const { InstanceId } = instance;
  return { state: 'running', host: { address, ssh, ...(InstanceId === undefined ? {} : { instance: InstanceId }) } };
}

/** Returns the address to connect to: the IPv6 address if the instance has no other, or this computer no IPv4. */
async function findAddress(
  { PrivateIpAddress, PublicIpAddress, Ipv6Address }: AwsInstance,
  { privateAddressOnly, usePrivateAddress }: Ec2Options,
): Promise<string | undefined> {
  if (privateAddressOnly || usePrivateAddress) return PrivateIpAddress;
  if (!PublicIpAddress || !Ipv6Address) return PublicIpAddress || Ipv6Address;
  return (await hasRouteTo(PublicIpAddress)) ? PublicIpAddress : Ipv6Address;
}

function statusWithoutAddress({ InstanceId, LaunchTime }: AwsInstance): InstanceStatus {
  if (Date.now() - (LaunchTime?.getTime() ?? Date.now()) < ADDRESS_TIMEOUT_MS) return { state: 'pending' };
  return {
    state: 'paused',
    reason: `its subnet gave ${InstanceId} no public address (--ec2-subnet, --ec2-use-private-address)`,
  };
}

/**
 * Returns why EC2 itself has ended an instance; undefined if its user did, or nobody. EC2 shows an ended instance for
 * about an hour.
 */
function endReasonOf(instance: AwsInstance | undefined, { spot }: Ec2Options): string | undefined {
  if (!instance)
    return spot
      ? 'its spot instance no longer exists: AWS ends spot instances when it needs their capacity'
      : undefined;
  const code = instance.StateReason?.Code ?? '';
  if (code === '' || /^Client\.(User|Instance)InitiatedShutdown$/.test(code)) return undefined;
  const { InstanceId } = instance;
  if (code.startsWith('Server.SpotInstance')) return `AWS has reclaimed its spot instance ${InstanceId} (${code})`;
  return `EC2 has terminated ${InstanceId}: ${reasonWordsOf(instance)}`;
}

function reasonWordsOf({ StateReason }: AwsInstance): string {
  const { Code = '', Message = '' } = StateReason ?? {};
  return Message.startsWith(Code) ? Message : `${Code}, ${Message}`;
}

/**
 * Returns the error for an instance that EC2 has terminated. EC2 may accept a request and terminate its instance a
 * moment later, because of a disk quota, a KMS key that it may not use, or a spot price.
 */
function terminatedError(instance: AwsInstance, name: string): SlipwayError {
  const { InstanceId, StateReason } = instance;
  return new SlipwayError(
    errorCodeFor(StateReason?.Code ?? ''),
    `EC2 has terminated ${InstanceId}, the instance of "${name}": ${reasonWordsOf(instance)}`,
    { hint: `${fixHint('AWS')}: slipway create ${name}. To undo: slipway rm ${name}` },
  );
}

function errorCodeFor(reason: string): ErrorCode {
  if (/LimitExceeded|QuotaExceeded/.test(reason)) return 'QUOTA';
  return /Insufficient\w*Capacity|Spot/.test(reason) ? 'CAPACITY' : 'PROVIDER_REFUSED';
}
