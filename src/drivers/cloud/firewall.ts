import type { DriverCall } from '../contract.ts';
import { findCallerCidr } from './caller-ip.ts';

export const ANY_IPV4 = '0.0.0.0/0';
const ANY_IPV6 = '::/0';

/** `protocol` is `tcp` or `udp`. */
export type FirewallPort = { readonly port: number; readonly protocol: string };

/** Allows these CIDR blocks to connect to these ports. */
export type AllowRule = { readonly ports: readonly FirewallPort[]; readonly cidrs: readonly string[] };

/**
 * Everything that a machine's firewall allows. Each cloud compares it with its own resources and applies the
 * difference.
 */
export type DesiredFirewall = {
  /** SSH and the engine, for the callers alone. */
  readonly callers: AllowRule;
  /** Ports that the user opened to the whole internet; undefined if there are none. */
  readonly everyone: AllowRule | undefined;
};

/** Pure. Returns what the firewall has to allow. `openPort` is the option of that name: `8080`, `53/udp`. */
export function desiredFirewall({
  ports,
  allowedCidrs,
  openPort,
}: {
  readonly ports: readonly number[];
  readonly allowedCidrs: readonly string[];
  readonly openPort: readonly string[];
}): DesiredFirewall {
  return {
    callers: { ports: [...new Set(ports)].map((port) => ({ port, protocol: 'tcp' })), cidrs: allowedCidrs },
    everyone: openPort.length === 0 ? undefined : { ports: openPort.map(parseOpenPort), cidrs: [ANY_IPV4, ANY_IPV6] },
  };
}

export function parseOpenPort(text: string): FirewallPort {
  const [port = '', protocol = 'tcp'] = text.split('/');
  return { port: Number(port), protocol };
}

export const isOpenToAll = (cidrs: readonly string[]): boolean => cidrs.includes(ANY_IPV4);

/** Returns the wanted blocks that a rule does not allow yet. */
export function missingCidrs(allowed: readonly string[], wanted: readonly string[]): readonly string[] {
  return isOpenToAll(allowed) ? [] : wanted.filter((cidr) => !allowed.includes(cidr));
}

export type CallerLookup = {
  /** The option of that name. */
  readonly allowCidr: readonly string[];
  /** The flag of that option, for the hint: `--ec2-allow-cidr`. */
  readonly flag: string;
  /**
   * Returns the CIDR block of the machine's own network, if Slipway connects inside it: the machine then sees the
   * caller's address in that network.
   */
  readonly findNetwork: () => Promise<string | undefined>;
  /** Returns the endpoint that the user chose. Called after `findNetwork`: an SDK may know it only after a request. */
  readonly endpoint: () => URL | undefined;
  readonly call: DriverCall;
};

/** Returns the CIDR blocks that may connect: those of the option, or the caller's own address alone. */
export async function resolveAllowedCidrs(lookup: CallerLookup): Promise<readonly string[]> {
  if (lookup.allowCidr.length > 0) return lookup.allowCidr;
  const network = await lookup.findNetwork();
  return [await findCallerCidr(lookup.endpoint(), lookup.flag, lookup.call, network)];
}

export function noteAllowedCaller(call: Pick<DriverCall, 'note'>, cidr: string, machine: string): void {
  call.note(`${cidr} may now connect to "${machine}"`);
}
