import { callerBlock } from '../../cloud/caller-address.ts';
import { SlipwayError } from '../../errors.ts';
import type { MakingCall, Target } from '../driver.ts';
import { type Gce } from './client.ts';
import { networkLink } from './instance.ts';
import { firewallName, markOf, networkTag, openName } from './names.ts';
import { change, makeOnce } from './operation.ts';
import type { Options } from './options.ts';

export type Firewall = {
  readonly name?: string;
  readonly description?: string;
  readonly sourceRanges?: readonly string[];
  readonly creationTimestamp?: string;
};

/** Rules have no labels, so the three marks stand in their description. */
export type Marks = { readonly 'slipway-id': string; readonly 'slipway-name': string; readonly 'slipway-home': string };

export function marksIn(description: string | undefined): Marks | undefined {
  const text = /\{.*\}$/.exec(description ?? '')?.[0];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Marks;
  } catch (error) {
    // Somebody has edited it: then it says nothing of ours.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function described(what: string, marks: Marks): string {
  return `Slipway: ${what} ${JSON.stringify(marks)}`;
}

async function allowedBlocks(gce: Gce, { allowCidr }: Options): Promise<readonly string[]> {
  if (allowCidr.length > 0) return allowCidr;
  return [await callerBlock(gce.endpoint, '--gce-allow-cidr', gce.call)];
}

/** Pure: the rule that admits some, and the one that admits all to what was opened by name. */
export function rules({
  options,
  mark,
  marks,
  ports,
  blocks,
}: {
  readonly options: Options;
  readonly mark: string;
  readonly marks: Marks;
  readonly ports: readonly number[];
  readonly blocks: readonly string[];
}): readonly (Firewall & { readonly name: string })[] {
  const common = {
    description: described('SSH and Docker of a machine', marks),
    network: networkLink(options),
    direction: 'INGRESS',
    targetTags: [networkTag(mark)],
  };
  const own = {
    ...common,
    name: firewallName(mark),
    allowed: [{ IPProtocol: 'tcp', ports: [...new Set(ports)].map(String) }],
    sourceRanges: blocks,
  };
  if (options.openPort.length === 0) return [own];
  const allowed = options.openPort.map((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return { IPProtocol: protocol, ports: [port] };
  });
  return [own, { ...common, name: openName(mark), allowed, sourceRanges: ['0.0.0.0/0'] }];
}

export async function makeFirewall(
  gce: Gce,
  target: Target<Options>,
  marks: Marks,
  enginePort: number,
  call: MakingCall,
): Promise<void> {
  const { options } = target;
  const mark = markOf(target);
  const [there, blocks] = await Promise.all([ruleOf(gce, mark), allowedBlocks(gce, options)]);
  for (const rule of rules({ options, mark, marks, ports: [22, enginePort], blocks })) {
    if (rule.name === firewallName(mark) && isOurs(there, mark)) continue;
    await makeOnce(
      gce,
      {
        what: rule.name === firewallName(mark) ? 'firewall' : 'firewall of open ports',
        mark,
        client: 'FirewallsClient',
        method: 'insert',
        request: { firewallResource: rule },
        isThere: async () => isOurs(await named(gce, rule.name), mark),
        zone: '',
      },
      call,
    );
  }
}

function named(gce: Gce, name: string): Promise<Firewall | undefined> {
  return gce.find<Firewall>('looking for its firewall', 'FirewallsClient', 'get', { firewall: name });
}

export const ruleOf = (gce: Gce, mark: string): Promise<Firewall | undefined> => named(gce, firewallName(mark));

function isOurs(rule: Firewall | undefined, mark: string): boolean {
  if (!rule || marksIn(rule.description)?.['slipway-id'] === mark) return rule !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `There is a firewall rule ${rule.name} that Slipway has not made`, {
    hint: 'Rename or remove it, then try again',
  });
}

/** Lets today's address through, where it is not let through yet. */
export async function admitCaller(gce: Gce, target: Target<Options>): Promise<void> {
  if (target.options.allowCidr.length > 0) return;
  const [block = ''] = await allowedBlocks(gce, target.options);
  // Its batch's, and its own when it was finished alone.
  for (const mark of new Set([markOf(target), target.id])) {
    const rule = await ruleOf(gce, mark);
    if (rule) await admitBlock(gce, mark, rule, block, target.name);
  }
}

async function admitBlock(gce: Gce, mark: string, rule: Firewall, block: string, machine: string): Promise<void> {
  const { sourceRanges = [] } = rule;
  if (sourceRanges.includes(block) || sourceRanges.includes('0.0.0.0/0')) return;
  const name = firewallName(mark);
  await change(gce, 'opening its firewall', 'FirewallsClient', 'patch', {
    firewall: name,
    // Google's description of the call demands the name here too.
    firewallResource: { name, sourceRanges: [...sourceRanges, block] },
  });
  gce.call.note(`${block} may connect to "${machine}" from now on`);
}

/** These may connect from now on, and no others. */
export async function setBlocks(gce: Gce, target: Target<Options>): Promise<void> {
  const sourceRanges = await allowedBlocks(gce, target.options);
  for (const mark of new Set([markOf(target), target.id])) {
    if (!(await ruleOf(gce, mark))) continue;
    const name = firewallName(mark);
    await change(gce, 'changing its firewall', 'FirewallsClient', 'patch', {
      firewall: name,
      firewallResource: { name, sourceRanges },
    });
  }
}

export async function removeFirewall(gce: Gce, name: string): Promise<void> {
  await change(gce, 'removing its firewall', 'FirewallsClient', 'delete', { firewall: name });
}
