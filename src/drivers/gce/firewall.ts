import { callerBlock } from '../cloud/caller-ip.ts';
import { SlipwayError } from '../../errors.ts';
import type { MakingCall, Target } from '../contract.ts';
import { type Gce, relative } from './client.ts';
import { statusOf } from './errors.ts';
import { isReachedInside, networkLink } from './instance.ts';
import { denyName, firewallName, markOf, networkTag, openName } from './names.ts';
import { change, makeOnce } from './operation.ts';
import type { Options } from './options.ts';
import { innerBlock } from './subnetwork.ts';

type Ports = { readonly IPProtocol?: string; readonly ports?: readonly string[] };
export type Firewall = {
  readonly name?: string;
  readonly description?: string;
  readonly network?: string | undefined;
  readonly direction?: string;
  readonly priority?: number;
  readonly allowed?: readonly Ports[];
  readonly denied?: readonly Ports[];
  readonly targetTags?: readonly string[];
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

async function allowedBlocks(gce: Gce, options: Options): Promise<readonly string[]> {
  if (options.allowCidr.length > 0) return options.allowCidr;
  // A machine that is reached inside sees our address there, and not the one that the internet sees.
  const network = isReachedInside(options) ? await innerBlock(gce, options) : undefined;
  return [await callerBlock(gce.endpoint, '--gce-allow-cidr', gce.call, network)];
}

/** Lower numbers decide first. Below a rule of the user's own that is to decide, above what Google lays into the network `default`. */
const ADMITS = 900;
const DENIES = 1000;
const WORLD = '0.0.0.0/0';

export const isWorld = (blocks: readonly string[]): boolean => blocks.includes(WORLD);

type Named = Firewall & { readonly name: string };

type Wanted = {
  readonly options: Pick<Options, 'network' | 'openPort' | 'useExisting'>;
  readonly mark: string;
  readonly marks: Marks;
  readonly ports: readonly number[];
  readonly blocks: readonly string[];
};

/** Pure: the rule that keeps others out, the one that admits some, and the one that admits all to what was opened by name. */
export function rules({ options, mark, marks, ports, blocks }: Wanted): readonly Named[] {
  const common = {
    description: described('SSH and Docker of a machine', marks),
    network: networkLink(options),
    direction: 'INGRESS',
    priority: ADMITS,
    targetTags: [networkTag(mark)],
  };
  const doors = [{ IPProtocol: 'tcp', ports: [...new Set(ports)].map(String) }];
  const own = { ...common, name: firewallName(mark), allowed: doors, sourceRanges: blocks };
  // An instance that exists is somebody's, and so are those who come to it.
  const shut = options.useExisting || isWorld(blocks) ? [] : [denial(mark, own)];
  if (options.openPort.length === 0) return [...shut, own];
  const allowed = options.openPort.map((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return { IPProtocol: protocol, ports: [port] };
  });
  return [...shut, own, { ...common, name: openName(mark), allowed, sourceRanges: [WORLD] }];
}

/**
 * Who is not admitted by this rule shall not come in by another: each project's network `default` begins with one that admits the world to
 * port 22, and one that admits all neighbours. Of IPv4 alone: our instances have no other address.
 */
function denial(mark: string, { description, network, allowed = [] }: Firewall): Named {
  return {
    name: denyName(mark),
    ...(description === undefined ? {} : { description }),
    ...(network === undefined ? {} : { network }),
    direction: 'INGRESS',
    priority: DENIES,
    targetTags: [networkTag(mark)],
    denied: [{ IPProtocol: 'tcp', ports: allowed.flatMap(({ ports = [] }) => ports) }],
    sourceRanges: [WORLD],
  };
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
  const blocks = await allowedBlocks(gce, options);
  const wanted = rules({ options, mark, marks, ports: [22, enginePort], blocks });
  const there = await Promise.all(wanted.map(async ({ name }) => isOurs(await named(gce, name), mark)));
  for (const rule of wanted.filter((_, at) => !there[at])) {
    await makeOnce(
      gce,
      {
        what: whatOf(rule.name, mark),
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

/** What each rule is called for people and in the record. */
const RULES: Readonly<Record<string, (mark: string) => string>> = {
  firewall: firewallName,
  'firewall against others': denyName,
  'firewall of open ports': openName,
};

function whatOf(name: string, mark: string): string {
  return Object.keys(RULES).find((what) => RULES[what]?.(mark) === name) ?? 'firewall';
}

/** The rule that was asked for by these words; undefined where they mean something else, or it is not there. */
export async function ruleAsked(gce: Gce, what: string, mark: string): Promise<Firewall | undefined> {
  const name = RULES[what]?.(mark);
  return name === undefined ? undefined : await named(gce, name);
}

function named(gce: Gce, name: string): Promise<Firewall | undefined> {
  return gce.find<Firewall>('looking for its firewall', 'FirewallsClient', 'get', { firewall: name });
}

function isOurs(rule: Firewall | undefined, mark: string): boolean {
  if (!rule || marksIn(rule.description)?.['slipway-id'] === mark) return rule !== undefined;
  throw new SlipwayError('PROVIDER_REFUSED', `There is a firewall rule ${rule.name} that Slipway has not made`, {
    hint: 'Rename or remove it, then try again',
  });
}

/** Lets today's address through, where it is not let through yet; and nobody else, where an older Slipway has left the door open. */
export async function admitCaller(gce: Gce, target: Target<Options>): Promise<void> {
  const { options } = target;
  const callers = options.allowCidr.length > 0 ? [] : await allowedBlocks(gce, options);
  // Its batch's, and its own when it was finished alone.
  for (const mark of new Set([markOf(target), target.id])) {
    const rule = await named(gce, firewallName(mark));
    if (!rule) continue;
    const { sourceRanges = [] } = rule;
    const others = isWorld(sourceRanges) ? [] : callers.filter((block) => !sourceRanges.includes(block));
    await setRule(gce, mark, rule, [...sourceRanges, ...others]);
    for (const block of others) gce.call.note(`${block} may connect to "${target.name}" from now on`);
    if (options.useExisting || isWorld(sourceRanges)) continue;
    if (await shutOut(gce, mark, rule))
      gce.call.note(`Nobody else may connect to "${target.name}" from now on, whatever its network admits`);
  }
}

/** These may connect from now on. Above the rule that keeps others out: else nobody could. */
async function setRule(gce: Gce, mark: string, rule: Firewall, sourceRanges: readonly string[]): Promise<void> {
  const { sourceRanges: before = [], priority = ADMITS } = rule;
  if (priority <= ADMITS && before.join() === sourceRanges.join()) return;
  const name = firewallName(mark);
  await change(gce, 'changing its firewall', 'FirewallsClient', 'patch', {
    firewall: name,
    // Google's description of the call demands the name here too.
    firewallResource: { name, sourceRanges, priority: Math.min(priority, ADMITS) },
  });
}

/** Beside the rule that admits some, the one that keeps others out; whether it was missing. */
async function shutOut(gce: Gce, mark: string, rule: Firewall): Promise<boolean> {
  if (isOurs(await named(gce, denyName(mark)), mark)) return false;
  const firewallResource = denial(mark, { ...rule, network: relative(rule.network) });
  try {
    await change(gce, 'closing its firewall to others', 'FirewallsClient', 'insert', { firewallResource });
    return true;
  } catch (error) {
    // Another command for a machine of the same batch was faster.
    if (statusOf(error) === 409) return false;
    throw error;
  }
}

/** These may connect from now on, and no others. */
export async function setBlocks(gce: Gce, options: Options, mark: string): Promise<void> {
  const blocks = await allowedBlocks(gce, options);
  const rule = await named(gce, firewallName(mark));
  if (!rule) return;
  await setRule(gce, mark, rule, blocks);
  if (options.useExisting) return;
  if (isWorld(blocks)) await removeFirewall(gce, denyName(mark));
  else await shutOut(gce, mark, rule);
}

/** All that `make` and `admit` may have laid for this mark. */
export async function removeRules(gce: Gce, mark: string, { openPort, useExisting }: Options): Promise<void> {
  await removeFirewall(gce, firewallName(mark));
  if (!useExisting) await removeFirewall(gce, denyName(mark));
  if (openPort.length > 0) await removeFirewall(gce, openName(mark));
}

export async function removeFirewall(gce: Gce, name: string): Promise<void> {
  await change(gce, 'removing its firewall', 'FirewallsClient', 'delete', { firewall: name });
}
