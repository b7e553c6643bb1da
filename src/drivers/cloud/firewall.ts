import type { DriverCall } from '../contract.ts';
import { findCallerCidr, findPublicIpv6Cidr, isPrivateAddress } from './caller-ip.ts';

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

export const isIpv6Cidr = (cidr: string): boolean => cidr.includes(':');

const isAnyAddress = (cidr: string): boolean => cidr === ANY_IPV4 || cidr === ANY_IPV6;

/** Returns the wanted blocks that a rule does not allow yet. */
export function missingCidrs(allowed: readonly string[], wanted: readonly string[]): readonly string[] {
  const isAllowed = (cidr: string): boolean =>
    allowed.includes(cidr) || allowed.includes(isIpv6Cidr(cidr) ? ANY_IPV6 : ANY_IPV4);
  return wanted.filter((cidr) => !isAllowed(cidr));
}

/** One block that a firewall allows on one port, with what its rule says about itself. */
export type PresentRule = FirewallPort & { readonly cidr: string; readonly description: string };

/** Begins the description of a rule that allows a caller; the id of the caller's store follows. */
const CALLER_MARK = 'slipway caller';
export const OPEN_PORT_MARK = 'slipway open port';
/** The description of all rules that older versions wrote. */
const OLD_MARK = 'slipway';

export const callerMark = (storeId: string): string => `${CALLER_MARK} ${storeId}`;

export type CallerRules = {
  readonly present: readonly PresentRule[];
  readonly wanted: AllowRule;
  /** The option of that name. */
  readonly openPort: readonly string[];
  /** The id of this store. */
  readonly storeId: string;
  /** The id of the store that created the firewall; '' if it is unknown. */
  readonly createdBy: string;
};

/**
 * Pure. Returns how the rules that this store wrote for callers differ from the wanted ones: the blocks that each port
 * does not allow yet, and the rules with blocks that are no longer wanted. Rules of other stores and of people stay.
 */
export function diffCallerRules({ present, wanted, openPort, storeId, createdBy }: CallerRules): {
  readonly added: readonly AllowRule[];
  readonly removed: readonly PresentRule[];
} {
  const opened = openPort.map(parseOpenPort);
  const isOpenPort = ({ port, protocol, cidr }: PresentRule): boolean =>
    isAnyAddress(cidr) && opened.some((one) => one.port === port && one.protocol === protocol);
  const isMine = (rule: PresentRule): boolean =>
    rule.description === callerMark(storeId) ||
    (rule.description === OLD_MARK && createdBy === storeId && !isOpenPort(rule));
  const added = wanted.ports.map((port) => {
    const allowed = present.filter((rule) => rule.port === port.port && rule.protocol === port.protocol);
    const missing = missingCidrs(
      allowed.map(({ cidr }) => cidr),
      wanted.cidrs,
    );
    return { ports: [port], cidrs: missing };
  });
  return {
    added: added.filter(({ cidrs }) => cidrs.length > 0),
    removed: present.filter((rule) => isMine(rule) && !wanted.cidrs.includes(rule.cidr)),
  };
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
  /** Whether one rule may allow blocks of both families. If not, IPv6 is used only by callers without IPv4. */
  readonly isDualStack: boolean;
  readonly call: DriverCall;
};

/**
 * Returns the CIDR blocks that may connect: those of the option, or the caller's own addresses alone. A caller on the
 * internet may have an IPv4 address, an IPv6 address, or both.
 */
export async function resolveAllowedCidrs(lookup: CallerLookup): Promise<readonly string[]> {
  if (lookup.allowCidr.length > 0) return lookup.allowCidr;
  const network = await lookup.findNetwork();
  const ipv6 = await findPublicIpv6Cidr();
  try {
    const cidr = await findCallerCidr(lookup.endpoint(), lookup.flag, lookup.call, network);
    const isPublic = !isPrivateAddress(cidr);
    return [...new Set([cidr, ...(lookup.isDualStack && isPublic && ipv6 !== undefined ? [ipv6] : [])])];
  } catch (error) {
    if (lookup.call.signal.aborted || ipv6 === undefined) throw error;
    return [ipv6];
  }
}

export function noteAllowedCaller(call: Pick<DriverCall, 'note'>, cidr: string, machine: string): void {
  call.note(`${cidr} may now connect to "${machine}"`);
}
