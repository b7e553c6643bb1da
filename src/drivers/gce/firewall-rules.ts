import { findCallerCidr } from '../cloud/caller-ip.ts';
import { SlipwayError } from '../../errors.ts';
import type { CreateCall, Target } from '../contract.ts';
import { type GceConnection, toRelativeLink } from './client.ts';
import { httpStatusOf } from './errors.ts';
import { isReachedByInternalIp, networkLink } from './instance-request.ts';
import { denyRuleName, allowRuleName, ownerIdOf, networkTag, openPortsRuleName } from './resource-names.ts';
import { runOperation, createOnce } from './operation.ts';
import type { GceOptions } from './options.ts';
import { getSubnetworkCidr } from './subnetwork.ts';

type ProtocolPorts = { readonly IPProtocol?: string; readonly ports?: readonly string[] };
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

/** Rules have no labels, so the three marks stand in their description. */
export type OwnerLabels = {
  readonly 'slipway-id': string;
  readonly 'slipway-name': string;
  readonly 'slipway-home': string;
};

export function parseOwnerLabels(description: string | undefined): OwnerLabels | undefined {
  const text = /\{.*\}$/.exec(description ?? '')?.[0];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as OwnerLabels;
  } catch (error) {
    // Somebody has edited it: then it says nothing of ours.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function formatDescription(what: string, marks: OwnerLabels): string {
  return `Slipway: ${what} ${JSON.stringify(marks)}`;
}

async function getAllowedCidrs(gce: GceConnection, options: GceOptions): Promise<readonly string[]> {
  if (options.allowCidr.length > 0) return options.allowCidr;
  // A machine that is reached inside sees our address there, and not the one that the internet sees.
  const network = isReachedByInternalIp(options) ? await getSubnetworkCidr(gce, options) : undefined;
  return [await findCallerCidr(gce.endpoint, '--gce-allow-cidr', gce.call, network)];
}

/** Lower numbers decide first. Below a rule of the user's own that is to decide, above what Google lays into the network `default`. */
const ALLOW_PRIORITY = 900;
const DENY_PRIORITY = 1000;
const ANY_IPV4 = '0.0.0.0/0';

export const isOpenToAll = (blocks: readonly string[]): boolean => blocks.includes(ANY_IPV4);

type NamedFirewallRule = FirewallRule & { readonly name: string };

type FirewallRulesInput = {
  readonly options: Pick<GceOptions, 'network' | 'openPort' | 'useExisting'>;
  readonly ownerId: string;
  readonly ownerLabels: OwnerLabels;
  readonly ports: readonly number[];
  readonly allowedCidrs: readonly string[];
};

/** Pure: the rule that keeps others out, the one that admits some, and the one that admits all to what was opened by name. */
export function firewallRules({
  options,
  ownerId,
  ownerLabels,
  ports,
  allowedCidrs,
}: FirewallRulesInput): readonly NamedFirewallRule[] {
  const common = {
    description: formatDescription('SSH and Docker of a machine', ownerLabels),
    network: networkLink(options),
    direction: 'INGRESS',
    priority: ALLOW_PRIORITY,
    targetTags: [networkTag(ownerId)],
  };
  const doors = [{ IPProtocol: 'tcp', ports: [...new Set(ports)].map(String) }];
  const own = { ...common, name: allowRuleName(ownerId), allowed: doors, sourceRanges: allowedCidrs };
  // An instance that exists is somebody's, and so are those who come to it.
  const shut = options.useExisting || isOpenToAll(allowedCidrs) ? [] : [denyRule(ownerId, own)];
  if (options.openPort.length === 0) return [...shut, own];
  const allowed = options.openPort.map((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return { IPProtocol: protocol, ports: [port] };
  });
  return [...shut, own, { ...common, name: openPortsRuleName(ownerId), allowed, sourceRanges: [ANY_IPV4] }];
}

/**
 * Who is not admitted by this rule shall not come in by another: each project's network `default` begins with one that admits the world to
 * port 22, and one that admits all neighbours. Of IPv4 alone: our instances have no other address.
 */
function denyRule(mark: string, { description, network, allowed = [] }: FirewallRule): NamedFirewallRule {
  return {
    name: denyRuleName(mark),
    ...(description === undefined ? {} : { description }),
    ...(network === undefined ? {} : { network }),
    direction: 'INGRESS',
    priority: DENY_PRIORITY,
    targetTags: [networkTag(mark)],
    denied: [{ IPProtocol: 'tcp', ports: allowed.flatMap(({ ports = [] }) => ports) }],
    sourceRanges: [ANY_IPV4],
  };
}

export async function createFirewallRules(
  gce: GceConnection,
  target: Target<GceOptions>,
  ownerLabels: OwnerLabels,
  enginePort: number,
  call: CreateCall,
): Promise<void> {
  const { options } = target;
  const ownerId = ownerIdOf(target);
  const allowedCidrs = await getAllowedCidrs(gce, options);
  const wanted = firewallRules({ options, ownerId, ownerLabels, ports: [22, enginePort], allowedCidrs });
  const there = await Promise.all(
    wanted.map(async ({ name }) => isOwnRule(await findFirewallRule(gce, name), ownerId)),
  );
  for (const rule of wanted.filter((_, at) => !there[at])) {
    await createOnce(
      gce,
      {
        what: ruleLabelOf(rule.name, ownerId),
        ownerId,
        client: 'FirewallsClient',
        method: 'insert',
        request: { firewallResource: rule },
        isVisible: async () => isOwnRule(await findFirewallRule(gce, rule.name), ownerId),
        zone: '',
      },
      call,
    );
  }
}

/** What each rule is called for people and in the record. */
const RULE_NAMES: Readonly<Record<string, (mark: string) => string>> = {
  firewall: allowRuleName,
  'firewall against others': denyRuleName,
  'firewall of open ports': openPortsRuleName,
};

function ruleLabelOf(name: string, mark: string): string {
  return Object.keys(RULE_NAMES).find((what) => RULE_NAMES[what]?.(mark) === name) ?? 'firewall';
}

/** The rule that was asked for by these words; undefined where they mean something else, or it is not there. */
export async function findRequestedRule(
  gce: GceConnection,
  what: string,
  mark: string,
): Promise<FirewallRule | undefined> {
  const name = RULE_NAMES[what]?.(mark);
  return name === undefined ? undefined : await findFirewallRule(gce, name);
}

function findFirewallRule(gce: GceConnection, name: string): Promise<FirewallRule | undefined> {
  return gce.find<FirewallRule>('looking for its firewall', 'FirewallsClient', 'get', { firewall: name });
}

function isOwnRule(rule: FirewallRule | undefined, mark: string): boolean {
  if (!rule || parseOwnerLabels(rule.description)?.['slipway-id'] === mark) return rule !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `There is a firewall rule ${rule.name} that Slipway has not made`, {
    hint: 'Rename or remove it, then try again',
  });
}

/** Lets today's address through, where it is not let through yet; and nobody else, where an older Slipway has left the door open. */
export async function allowCallerIp(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const { options } = target;
  const callers = options.allowCidr.length > 0 ? [] : await getAllowedCidrs(gce, options);
  // Its batch's, and its own when it was finished alone.
  for (const mark of new Set([ownerIdOf(target), target.id])) {
    const rule = await findFirewallRule(gce, allowRuleName(mark));
    if (!rule) continue;
    const { sourceRanges = [] } = rule;
    const others = isOpenToAll(sourceRanges) ? [] : callers.filter((block) => !sourceRanges.includes(block));
    await updateAllowRule(gce, mark, rule, [...sourceRanges, ...others]);
    for (const block of others) gce.call.note(`${block} may connect to "${target.name}" from now on`);
    if (options.useExisting || isOpenToAll(sourceRanges)) continue;
    if (await ensureDenyRule(gce, mark, rule))
      gce.call.note(`Nobody else may connect to "${target.name}" from now on, whatever its network admits`);
  }
}

/** These may connect from now on. Above the rule that keeps others out: else nobody could. */
async function updateAllowRule(
  gce: GceConnection,
  mark: string,
  rule: FirewallRule,
  sourceRanges: readonly string[],
): Promise<void> {
  const { sourceRanges: before = [], priority = ALLOW_PRIORITY } = rule;
  if (priority <= ALLOW_PRIORITY && before.join() === sourceRanges.join()) return;
  const name = allowRuleName(mark);
  await runOperation(gce, 'changing its firewall', 'FirewallsClient', 'patch', {
    firewall: name,
    // Google's description of the call demands the name here too.
    firewallResource: { name, sourceRanges, priority: Math.min(priority, ALLOW_PRIORITY) },
  });
}

/** Beside the rule that admits some, the one that keeps others out; whether it was missing. */
async function ensureDenyRule(gce: GceConnection, mark: string, rule: FirewallRule): Promise<boolean> {
  if (isOwnRule(await findFirewallRule(gce, denyRuleName(mark)), mark)) return false;
  const firewallResource = denyRule(mark, { ...rule, network: toRelativeLink(rule.network) });
  try {
    await runOperation(gce, 'closing its firewall to others', 'FirewallsClient', 'insert', { firewallResource });
    return true;
  } catch (error) {
    // Another command for a machine of the same batch was faster.
    if (httpStatusOf(error) === 409) return false;
    throw error;
  }
}

/** These may connect from now on, and no others. */
export async function replaceAllowedCidrs(gce: GceConnection, options: GceOptions, mark: string): Promise<void> {
  const blocks = await getAllowedCidrs(gce, options);
  const rule = await findFirewallRule(gce, allowRuleName(mark));
  if (!rule) return;
  await updateAllowRule(gce, mark, rule, blocks);
  if (options.useExisting) return;
  if (isOpenToAll(blocks)) await deleteFirewallRule(gce, denyRuleName(mark));
  else await ensureDenyRule(gce, mark, rule);
}

/** All that `make` and `admit` may have laid for this mark. */
export async function deleteFirewallRules(
  gce: GceConnection,
  mark: string,
  { openPort, useExisting }: GceOptions,
): Promise<void> {
  await deleteFirewallRule(gce, allowRuleName(mark));
  if (!useExisting) await deleteFirewallRule(gce, denyRuleName(mark));
  if (openPort.length > 0) await deleteFirewallRule(gce, openPortsRuleName(mark));
}

export async function deleteFirewallRule(gce: GceConnection, name: string): Promise<void> {
  await runOperation(gce, 'removing its firewall', 'FirewallsClient', 'delete', { firewall: name });
}
