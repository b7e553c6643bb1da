import { BlockList, isIPv6 } from 'node:net';

type FirewallPorts = readonly { readonly IPProtocol?: string; readonly ports?: readonly string[] }[];

/** As far as it decides who may connect. */
export type FirewallRule = {
  readonly network: string;
  readonly priority: number;
  readonly allowed: FirewallPorts;
  readonly denied: FirewallPorts;
  readonly sourceRanges: readonly string[];
  /** Of all instances in its network where it names none. */
  readonly targetTags: readonly string[];
};

/** What Google lays into each project's network `default`, below whatever has a priority of its own. */
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
 * Whether this address may connect: the rule of the lowest number decides, of two that are equal the one that denies;
 * without one, nobody.
 */
export function isConnectionAllowed(
  rules: readonly FirewallRule[],
  to: { readonly network: string; readonly tags: readonly string[] },
  from: { readonly address: string; readonly port: number },
): boolean {
  const [first] = rules
    .filter(({ network, targetTags, sourceRanges }) => {
      const isMeant = targetTags.length === 0 || targetTags.some((tag) => to.tags.includes(tag));
      return network === to.network && isMeant && sourceRanges.some((range) => isInRange(from.address, range));
    })
    .flatMap(({ priority, allowed, denied }) => [
      ...(hasPort(allowed, from.port) ? [{ priority, admits: true }] : []),
      ...(hasPort(denied, from.port) ? [{ priority, admits: false }] : []),
    ])
    .toSorted((left, right) => left.priority - right.priority || Number(left.admits) - Number(right.admits));
  return first?.admits ?? false;
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
