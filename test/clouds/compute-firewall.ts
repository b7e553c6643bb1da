import { BlockList, isIPv6 } from 'node:net';

type FirewallPorts = readonly { readonly IPProtocol?: string; readonly ports?: readonly string[] }[];

/** The fields of a firewall rule that decide who may connect. */
export type FirewallRule = {
  readonly network: string;
  readonly priority: number;
  readonly allowed: FirewallPorts;
  readonly denied: FirewallPorts;
  readonly sourceRanges: readonly string[];
  /** The instances that it applies to; without any tag, all instances in its network. */
  readonly targetTags: readonly string[];
};

/** The rules that Google creates in each project's network `default`, with the lowest priority. */
export const DEFAULT_RULES: readonly (FirewallRule & { readonly name: string })[] = [
  { name: 'default-allow-icmp', allowed: [{ IPProtocol: 'icmp' }], sourceRanges: ['0.0.0.0/0'] },
  {
    name: 'default-allow-internal',
    allowed: [
      { IPProtocol: 'tcp', ports: ['0-65535'] },
      { IPProtocol: 'udp', ports: ['0-65535'] },
      { IPProtocol: 'icmp' },
    ],
    sourceRanges: ['10.128.0.0/9'],
  },
  { name: 'default-allow-rdp', allowed: [{ IPProtocol: 'tcp', ports: ['3389'] }], sourceRanges: ['0.0.0.0/0'] },
  { name: 'default-allow-ssh', allowed: [{ IPProtocol: 'tcp', ports: ['22'] }], sourceRanges: ['0.0.0.0/0'] },
].map((rule) => ({ ...rule, network: 'default', priority: 65534, denied: [], targetTags: [] }));

/**
 * Returns whether this address may connect. The rule with the lowest number decides; if two are equal, the one that
 * denies. Without a rule, nobody may connect.
 */
export function isConnectionAllowed(
  rules: readonly FirewallRule[],
  to: { readonly network: string; readonly tags: readonly string[] },
  from: { readonly address: string; readonly port: number },
): boolean {
  const [first] = rules
    .filter(({ network, targetTags, sourceRanges }) => {
      const isTarget = targetTags.length === 0 || targetTags.some((tag) => to.tags.includes(tag));
      return network === to.network && isTarget && sourceRanges.some((range) => isInRange(from.address, range));
    })
    .flatMap(({ priority, allowed, denied }) => [
      ...(hasPort(allowed, from.port) ? [{ priority, allows: true }] : []),
      ...(hasPort(denied, from.port) ? [{ priority, allows: false }] : []),
    ])
    .toSorted((left, right) => left.priority - right.priority || Number(left.allows) - Number(right.allows));
  return first?.allows ?? false;
}

function isInRange(address: string, range: string): boolean {
  const [base = '', bits = ''] = range.split('/');
  const family = (one: string): 'ipv4' | 'ipv6' => (isIPv6(one) ? 'ipv6' : 'ipv4');
  if (family(base) !== family(address)) return false;
  const block = new BlockList();
  block.addSubnet(base, Number(bits), family(base));
  return block.check(address, family(address));
}

function hasPort(all: FirewallPorts, port: number): boolean {
  return all.some(({ IPProtocol, ports }) => {
    if (IPProtocol !== 'tcp' && IPProtocol !== 'all') return false;
    if (ports === undefined) return true;
    return ports.some((text) => {
      const [from = '', to = from] = text.split('-');
      return Number(from) <= port && port <= Number(to);
    });
  });
}
