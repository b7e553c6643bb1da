import { readUserScript, requireReadableFile } from '../cloud/user-data.ts';
import { SlipwayError } from '../../errors.ts';
import { isIpv6Only } from '../cloud/caller-ip.ts';
import { isReachedByInternalIp } from './instance-request.ts';
import type { GceOptions, UnresolvedGceOptions } from './options.ts';

export const STARTUP_SCRIPT_FLAG = '--gce-startup-script';

/** Refuses every mistake that can be found without a request to Google. */
export async function requireValidOptions(options: UnresolvedGceOptions): Promise<void> {
  const { startupScript, sshKey, osLogin, instanceLink, useExisting, allowCidr } = options;
  if (startupScript !== undefined) await readUserScript(startupScript, STARTUP_SCRIPT_FLAG);
  await requireReadableFile(sshKey, '--gce-ssh-key');
  const ipv6 = allowCidr.find((cidr) => cidr.includes(':'));
  if (ipv6 !== undefined) throw ipv6CallerError(ipv6);
  // An adopted machine has the key of the other tool.
  const isAdopted = instanceLink !== undefined && !useExisting;
  if (isAdopted || osLogin === (sshKey !== undefined)) return;
  throw new SlipwayError('USAGE', '--gce-os-login and --gce-ssh-key are required together', {
    hint: 'Give both, and --gce-ssh-user; or neither: Slipway then creates a key for the machine',
  });
}

/** Refuses a machine that this computer could not reach, before it costs money: it has an IPv4 address only. */
export async function requireIpv4(options: GceOptions): Promise<void> {
  if (isReachedByInternalIp(options) || !(await isIpv6Only())) return;
  throw new SlipwayError('USAGE', 'A machine in Compute Engine has an IPv4 address only, and this computer only IPv6', {
    hint: 'Run Slipway on a computer that has IPv4; or, from inside its network, connect to the internal address: --gce-use-internal-ip',
  });
}

/** Returns the error for an IPv6 caller: a machine has an IPv4 address only. */
export function ipv6CallerError(cidr: string): SlipwayError {
  return new SlipwayError('USAGE', `A machine in Compute Engine has an IPv4 address only, and ${cidr} is IPv6`, {
    hint: 'Name the IPv4 addresses that may connect, such as that of your NAT gateway: --gce-allow-cidr 198.51.100.7/32',
  });
}
