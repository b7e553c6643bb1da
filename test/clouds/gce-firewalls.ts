import {
  alreadyExistsError,
  invalidFieldError,
  isCidr,
  networkFromLink,
  NETWORKS,
  PROJECT,
  projectIdOf,
} from './compute-catalog.ts';
import { list, noLabels } from './gce-lists.ts';
import { startOperation } from './gce-operations.ts';
import {
  linkTo,
  removeFrom,
  requireResource,
  type ComputeFirewallRule,
  type GceWorld,
  type Methods,
} from './gce-world.ts';

export const firewallMethods: Methods = {
  'firewalls.get': (world, { firewall }) =>
    ruleDocument(requireResource([...world.defaultRules, ...world.rules], firewall, '', 'firewalls')),
  'firewalls.list': (world, params) =>
    list(world, [...world.defaultRules, ...world.rules], params, noLabels, ruleDocument),
  'firewalls.insert'(world, { requestId, project = PROJECT }, body, call) {
    checkProjectOfNetwork(project, (body as { readonly network?: string }).network);
    return startOperation(
      world,
      () => {
        const rule = newRule(world, body as Partial<ComputeFirewallRule> & { name: string });
        world.rules.push(rule);
        const undo = async (): Promise<void> => removeFrom(world.rules, rule);
        return {
          scope: 'global',
          place: '',
          type: 'insert',
          target: `global/firewalls/${rule.name}`,
          work: async () => void (rule.isReady = true),
          undo,
        };
      },
      call,
      requestId,
    );
  },
  'firewalls.patch'(world, { firewall, requestId }, body, call) {
    const rule = requireResource(world.rules, firewall, '', 'firewalls');
    return startOperation(
      world,
      () => {
        const { sourceRanges = rule.sourceRanges, priority = rule.priority } = body as Partial<ComputeFirewallRule>;
        checkRanges(sourceRanges);
        const work = async (): Promise<void> => void Object.assign(rule, { sourceRanges, priority });
        return { scope: 'global', place: '', type: 'patch', target: `global/firewalls/${firewall}`, work };
      },
      call,
      requestId,
    );
  },
  'firewalls.delete'(world, { firewall, requestId }, _body, call) {
    const rule = requireResource(world.rules, firewall, '', 'firewalls');
    const work = async (): Promise<void> => removeFrom(world.rules, rule);
    return startOperation(
      world,
      () => ({ scope: 'global', place: '', type: 'delete', target: `global/firewalls/${firewall}`, work }),
      call,
      requestId,
    );
  },
};

/** A rule is in the project of its network. */
function checkProjectOfNetwork(project: string, link = 'global/networks/default'): void {
  const name = networkFromLink(link);
  if (NETWORKS.find((one) => one.name === name)?.project !== projectIdOf(project))
    throw invalidFieldError('resource.network', link, `The network is not in the project ${project}.`);
}

const ruleDocument = ({
  name,
  description,
  network,
  priority,
  sourceRanges,
  made,
  ...rule
}: ComputeFirewallRule): object => ({
  kind: 'compute#firewall',
  name,
  description,
  network: linkTo(`global/networks/${network}`),
  direction: 'INGRESS',
  priority,
  ...(rule.allowed.length > 0 ? { allowed: rule.allowed } : {}),
  ...(rule.denied.length > 0 ? { denied: rule.denied } : {}),
  sourceRanges,
  ...(rule.targetTags.length > 0 ? { targetTags: rule.targetTags } : {}),
  creationTimestamp: new Date(made).toISOString(),
});

export function newRule(
  world: GceWorld,
  given: Partial<ComputeFirewallRule> & { readonly name: string },
): ComputeFirewallRule {
  const {
    name,
    description = '',
    network = 'global/networks/default',
    priority = 1000,
    allowed = [],
    denied = [],
    sourceRanges = [],
    targetTags = [],
  } = given;
  if (world.rules.some((rule) => rule.name === name))
    throw alreadyExistsError(`projects/${PROJECT}/global/firewalls/${name}`);
  if (description.length > 2048) throw invalidFieldError('resource.description', description, 'Too long.');
  if ((allowed.length === 0) === (denied.length === 0))
    throw invalidFieldError('resource.allowed', '', 'A rule allows or denies.');
  if ([...allowed, ...denied].some(({ IPProtocol }) => IPProtocol === undefined))
    throw invalidFieldError('resource.allowed', '', 'A protocol is needed.');
  checkRanges(sourceRanges);
  return {
    name,
    place: '',
    made: Date.now(),
    description,
    network: networkFromLink(network),
    priority,
    allowed,
    denied,
    sourceRanges,
    targetTags,
    isReady: false,
  };
}

function checkRanges(ranges: readonly string[]): void {
  const wrong = ranges.find((range) => !isCidr(range));
  if (wrong !== undefined || ranges.length === 0)
    throw invalidFieldError('resource.sourceRanges', wrong, 'Must be a CIDR range.');
  if (new Set(ranges.map((range) => range.includes(':'))).size > 1)
    throw invalidFieldError('resource.sourceRanges', ranges, "IPv4 and IPv6 ranges can't be mixed.");
}
