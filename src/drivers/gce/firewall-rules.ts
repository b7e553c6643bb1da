import { ownerIdOf } from '../cloud/batch.ts';
import {
  ANY_IPV4,
  desiredFirewall,
  type FirewallPort,
  isOpenToAll,
  missingCidrs,
  noteAllowedCaller,
  resolveAllowedCidrs,
} from '../cloud/firewall.ts';
import { formatTaggedDescription, type OwnerTags, parseTaggedDescription } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall, Target } from '../contract.ts';
import { type GceConnection, toRelativeLink } from './client.ts';
import { httpStatusOf } from './errors.ts';
import { isReachedByInternalIp, networkLink } from './instance-request.ts';
import { denyRuleName, allowRuleName, networkTag, openPortsRuleName } from './resource-names.ts';
import { createOnce, runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';
import { getSubnetworkCidr, projectOfLink } from './subnetwork.ts';
import { ipv6CallerError } from './validate-options.ts';

type ProtocolPorts = { readonly IPProtocol?: string; readonly ports?: readonly string[] };

/**
 * The fields of a firewall rule that this driver reads and writes. Rules have no labels: the description has the owner
 * tags.
 */
export type FirewallRule = {
  readonly name?: string;
  readonly description?: string;
  readonly network?: string | undefined;
  readonly direction?: string;
  readonly priority?: number;
  readonly allowed?: readonly ProtocolPorts[];
  readonly denied?: readonly ProtocolPorts[];
  readonly targetTags?: readonly string[];
  readonly sourceRanges?: readonly string[];
  readonly creationTimestamp?: string;
};

async function getAllowedCidrs(gce: GceConnection, options: GceOptions): Promise<readonly string[]> {
  const cidrs = await resolveAllowedCidrs({
    allowCidr: options.allowCidr,
    flag: '--gce-allow-cidr',
    findNetwork: async () => (isReachedByInternalIp(options) ? await getSubnetworkCidr(gce, options) : undefined),
    endpoint: () => gce.endpoint,
    // A rule of Compute Engine has blocks of one family.
    isDualStack: false,
    call: gce.call,
  });
  const ipv6 = cidrs.find((cidr) => cidr.includes(':'));
  if (ipv6 !== undefined) throw ipv6CallerError(ipv6);
  return cidrs;
}

/**
 * Lower numbers win. The deny rule loses to the user's own rules, and wins over those that Google adds to the network
 * `default`.
 */
const ALLOW_PRIORITY = 900;
const DENY_PRIORITY = 1000;

type RuleOptions = Pick<GceOptions, 'network'>;

/** Returns the project of the machine's network, if its link names one: the rules of a network are in its project. */
function projectOfRules(options: RuleOptions | undefined): { readonly project?: string } {
  const project = options && projectOfLink(options.network);
  return project === undefined ? {} : { project };
}

type NamedFirewallRule = FirewallRule & { readonly name: string };

type FirewallRulesInput = {
  readonly options: Pick<GceOptions, 'network' | 'openPort' | 'useExisting'>;
  readonly ownerId: string;
  readonly ownerTags: OwnerTags;
  readonly ports: readonly number[];
  readonly allowedCidrs: readonly string[];
};

/**
 * Pure. Returns the rule that allows the callers, the one that denies everybody else, and the one that opens ports to
 * everybody.
 */
function desiredFirewallRules({
  options,
  ownerId,
  ownerTags,
  ports,
  allowedCidrs,
}: FirewallRulesInput): readonly NamedFirewallRule[] {
  const { callers, everyone } = desiredFirewall({ ports, allowedCidrs, openPort: options.openPort });
  const common = {
    description: formatTaggedDescription('SSH and Docker of a machine', ownerTags),
    network: networkLink(options),
    direction: 'INGRESS',
    priority: ALLOW_PRIORITY,
    targetTags: [networkTag(ownerId)],
  };
  const callersRule = {
    ...common,
    name: allowRuleName(ownerId),
    allowed: [{ IPProtocol: 'tcp', ports: callers.ports.map(({ port }) => String(port)) }],
    sourceRanges: callers.cidrs,
  };
  return [
    // An existing instance may serve other clients, which its owner's rules allow.
    ...(options.useExisting || isOpenToAll(callers.cidrs) ? [] : [denyRule(ownerId, callersRule)]),
    callersRule,
    ...(everyone === undefined
      ? []
      : [
          {
            ...common,
            name: openPortsRuleName(ownerId),
            allowed: everyone.ports.map(toProtocolPorts),
            // IPv4 only: Slipway's instances have no other address, and a rule can't have both.
            sourceRanges: [ANY_IPV4],
          },
        ]),
  ];
}

const toProtocolPorts = ({ port, protocol }: FirewallPort): ProtocolPorts => ({
  IPProtocol: protocol,
  ports: [String(port)],
});

/**
 * Returns the rule that denies everybody whom `allowRule` does not allow: the network `default` of each project starts
 * with a rule that allows everybody to connect to port 22, and one that allows every connection inside the network.
 */
function denyRule(ownerId: string, allowRule: FirewallRule): NamedFirewallRule {
  const { description, network, allowed = [] } = allowRule;
  return {
    name: denyRuleName(ownerId),
    ...(description === undefined ? {} : { description }),
    ...(network === undefined ? {} : { network }),
    direction: 'INGRESS',
    priority: DENY_PRIORITY,
    targetTags: [networkTag(ownerId)],
    denied: [{ IPProtocol: 'tcp', ports: allowed.flatMap(({ ports = [] }) => ports) }],
    sourceRanges: [ANY_IPV4],
  };
}

/** Creates the rules of a machine or batch that do not exist yet. */
export async function createFirewallRules(
  gce: GceConnection,
  target: Target<GceOptions>,
  ownerTags: OwnerTags,
  enginePort: number,
  call: CreateCall,
): Promise<void> {
  const { options } = target;
  const ownerId = ownerIdOf(target);
  const allowedCidrs = await getAllowedCidrs(gce, options);
  const rules = desiredFirewallRules({ options, ownerId, ownerTags, ports: [22, enginePort], allowedCidrs });
  const isVisible = async (name: string): Promise<boolean> =>
    isOwnRule(await findFirewallRule(gce, name, options), ownerId);
  const exists = await Promise.all(rules.map(({ name }) => isVisible(name)));
  for (const rule of rules.filter((_, at) => !exists[at])) {
    await createOnce(
      gce,
      {
        what: requestNameOf(rule.name, ownerId),
        ownerId,
        client: 'FirewallsClient',
        method: 'insert',
        request: { ...projectOfRules(options), firewallResource: rule },
        isVisible: () => isVisible(rule.name),
      },
      call,
    );
  }
}

/** The names of the rules, by the name under which the record stores their request. */
const RULE_NAMES: Readonly<Record<string, (ownerId: string) => string>> = {
  firewall: allowRuleName,
  'firewall against others': denyRuleName,
  'firewall of open ports': openPortsRuleName,
};

function requestNameOf(name: string, ownerId: string): string {
  return Object.keys(RULE_NAMES).find((what) => RULE_NAMES[what]?.(ownerId) === name) ?? 'firewall';
}

/**
 * Returns the rule that the record's last request was for; undefined if that was for something else, or the rule does
 * not show.
 */
export async function findRequestedRule(
  gce: GceConnection,
  what: string,
  ownerId: string,
  options: RuleOptions,
): Promise<FirewallRule | undefined> {
  const name = RULE_NAMES[what]?.(ownerId);
  return name === undefined ? undefined : await findFirewallRule(gce, name, options);
}

function findFirewallRule(gce: GceConnection, name: string, options: RuleOptions): Promise<FirewallRule | undefined> {
  return gce.find<FirewallRule>('looking for its firewall rule', 'FirewallsClient', 'get', {
    ...projectOfRules(options),
    firewall: name,
  });
}

const hasOwner = ({ description }: FirewallRule, ownerId: string): boolean =>
  parseTaggedDescription(description)?.['slipway-id'] === ownerId;

/** Returns whether the rule exists and is the machine's. Throws if another tool has created a rule with that name. */
function isOwnRule(rule: FirewallRule | undefined, ownerId: string): boolean {
  if (!rule || hasOwner(rule, ownerId)) return rule !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `The firewall rule ${rule.name} exists, and Slipway did not create it`, {
    hint: 'Rename or delete it, then try again',
  });
}

/**
 * Allows the caller's current address, or the blocks that the options name, and nobody else: the addresses that this
 * computer had before lose their access. Rules of others stay as they are. Adds the deny rule if it is missing: older
 * versions of Slipway did not create it.
 */
export async function allowCallerIp(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const { options } = target;
  const callers = await getAllowedCidrs(gce, options);
  // A machine of a batch that was created again by itself has its own rule.
  for (const ownerId of new Set([ownerIdOf(target), target.id])) {
    const rule = await findFirewallRule(gce, allowRuleName(ownerId), options);
    if (!rule || !isOwnRule(rule, ownerId)) continue;
    const { sourceRanges = [] } = rule;
    await updateAllowRule(gce, ownerId, rule, callers, options);
    if (options.allowCidr.length === 0)
      for (const cidr of missingCidrs(sourceRanges, callers)) noteAllowedCaller(gce.call, cidr, target.name);
    for (const cidr of sourceRanges.filter((known) => !callers.includes(known)))
      gce.call.log(`${cidr} may no longer connect to "${target.name}"`);
    if (options.useExisting || isOpenToAll(callers)) continue;
    if (await ensureDenyRule(gce, ownerId, rule, options))
      gce.call.note(`Nobody else may now connect to "${target.name}", whatever its network allows`);
  }
}

/** Sets the CIDR blocks that may connect, and a priority that wins over the deny rule. */
async function updateAllowRule(
  gce: GceConnection,
  ownerId: string,
  rule: FirewallRule,
  sourceRanges: readonly string[],
  options: RuleOptions,
): Promise<void> {
  const { sourceRanges: before = [], priority = ALLOW_PRIORITY } = rule;
  if (priority <= ALLOW_PRIORITY && before.join() === sourceRanges.join()) return;
  const name = allowRuleName(ownerId);
  await runOperation(gce, 'changing its firewall rule', 'FirewallsClient', 'patch', {
    ...projectOfRules(options),
    firewall: name,
    // The API requires the name in the body too.
    firewallResource: { name, sourceRanges, priority: Math.min(priority, ALLOW_PRIORITY) },
  });
}

/** Creates the deny rule if it is missing, and returns whether it was. */
async function ensureDenyRule(
  gce: GceConnection,
  ownerId: string,
  allowRule: FirewallRule,
  options: RuleOptions,
): Promise<boolean> {
  if (isOwnRule(await findFirewallRule(gce, denyRuleName(ownerId), options), ownerId)) return false;
  const firewallResource = denyRule(ownerId, { ...allowRule, network: toRelativeLink(allowRule.network) });
  try {
    await runOperation(gce, 'closing its firewall to others', 'FirewallsClient', 'insert', {
      ...projectOfRules(options),
      firewallResource,
    });
    return true;
  } catch (error) {
    // 409: another command for a machine of the same batch has created it in the meantime.
    if (httpStatusOf(error) === 409) return false;
    throw error;
  }
}

/** Applies a changed `allowCidr`: these CIDR blocks may connect, and no others. */
export async function replaceAllowedCidrs(gce: GceConnection, options: GceOptions, ownerId: string): Promise<void> {
  const cidrs = await getAllowedCidrs(gce, options);
  const rule = await findFirewallRule(gce, allowRuleName(ownerId), options);
  if (!rule) return;
  await updateAllowRule(gce, ownerId, rule, cidrs, options);
  if (options.useExisting) return;
  if (isOpenToAll(cidrs)) await deleteFirewallRule(gce, denyRuleName(ownerId), options);
  else await ensureDenyRule(gce, ownerId, rule, options);
}

/** Deletes every rule that Slipway may have created for this machine or batch. */
export async function deleteFirewallRules(gce: GceConnection, ownerId: string, options: GceOptions): Promise<void> {
  const { openPort, useExisting } = options;
  const names = [
    allowRuleName(ownerId),
    ...(useExisting ? [] : [denyRuleName(ownerId)]),
    ...(openPort.length > 0 ? [openPortsRuleName(ownerId)] : []),
  ];
  for (const name of names) {
    const rule = await findFirewallRule(gce, name, options);
    if (!rule) continue;
    if (hasOwner(rule, ownerId)) await deleteFirewallRule(gce, name, options);
    else gce.call.note(`The firewall rule ${name} stays: Slipway did not create it`);
  }
}

export async function deleteFirewallRule(gce: GceConnection, name: string, options?: RuleOptions): Promise<void> {
  await runOperation(gce, 'deleting its firewall rule', 'FirewallsClient', 'delete', {
    ...projectOfRules(options),
    firewall: name,
  });
}
