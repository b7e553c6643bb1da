import { SlipwayError } from '../../errors.ts';
import type { Boot, Target } from '../driver.ts';
import { change, type Gce } from './client.ts';
import { markOf, networkTag } from './names.ts';
import type { Options } from './options.ts';

type Item = { readonly key?: string; readonly value?: string };
export type Instance = {
  readonly name?: string;
  readonly status?: string;
  readonly zone?: string;
  readonly machineType?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
  readonly scheduling?: { readonly provisioningModel?: string; readonly preemptible?: boolean };
  readonly disks?: readonly { readonly diskSizeGb?: string | number; readonly type?: string }[];
  readonly tags?: { readonly items?: readonly string[]; readonly fingerprint?: string };
  readonly metadata?: { readonly items?: readonly Item[]; readonly fingerprint?: string };
  readonly labelFingerprint?: string;
  readonly networkInterfaces?: readonly {
    readonly networkIP?: string;
    readonly accessConfigs?: readonly { readonly natIP?: string }[];
  }[];
};

/** The instance that has the machine's own name, made by somebody else. */
export async function existing(gce: Gce, { name, options: { zone } }: Target<Options>): Promise<Instance> {
  const found = await gce.find<Instance>('looking for the instance', 'InstancesClient', 'get', {
    zone,
    instance: name,
  });
  if (found) return found;
  throw new SlipwayError('USAGE', `There is no instance ${name} in ${zone} of ${gce.project}`, {
    hint: 'The machine goes by the name of the instance; or let one be made: leave --gce-use-existing out',
  });
}

/** The host key that the instance has published over Google's own channel. */
export async function guestKey(gce: Gce, { name, options: { zone } }: Target<Options>): Promise<string | undefined> {
  const found = await gce.find<{ queryValue?: { items?: readonly Item[] } }>(
    'asking for its host key',
    'InstancesClient',
    'getGuestAttributes',
    { zone, instance: name, queryPath: 'hostkeys/' },
  );
  const keys = found?.queryValue?.items ?? [];
  const best = keys.find(({ key }) => key === 'ssh-ed25519') ?? keys[0];
  return best?.key === undefined ? undefined : `${best.key} ${best.value}`;
}

const keyLine = (target: Target<Options>, key: string): string => `${target.options.sshUser}:${key.trim()}`;

/** Our key joins those that are there, and our tag leads the firewall rule to it. */
export async function adopt(gce: Gce, target: Target<Options>, boot: Boot): Promise<void> {
  const instance = await existing(gce, target);
  const line = keyLine(target, boot.authorizedKey);
  const keys = keysOf(instance);
  if (!target.options.osLogin && !keys.includes(line)) await setKeys(gce, target, instance, [...keys, line]);
  const tag = networkTag(markOf(target));
  const tags = instance.tags?.items ?? [];
  if (!tags.includes(tag)) await setTags(gce, target, instance, [...tags, tag]);
}

/** What `adopt` has brought goes; the instance and all else of it stays. */
export async function release(gce: Gce, target: Target<Options>): Promise<void> {
  const { name, options } = target;
  const instance = await gce.find<Instance>('looking for the instance', 'InstancesClient', 'get', {
    zone: options.zone,
    instance: name,
  });
  if (!instance) return;
  const keys = keysOf(instance);
  const left = keys.filter((line) => !line.endsWith(` slipway ${name}`));
  if (left.length < keys.length) await setKeys(gce, target, instance, left);
  const tags = instance.tags?.items ?? [];
  const others = tags.filter((tag) => tag !== networkTag(markOf(target)));
  if (others.length < tags.length) await setTags(gce, target, await existing(gce, target), others);
}

function keysOf({ metadata }: Instance): readonly string[] {
  const text = metadata?.items?.find(({ key }) => key === 'ssh-keys')?.value ?? '';
  return text.split('\n').filter(Boolean);
}

async function setKeys(
  gce: Gce,
  { name, options: { zone } }: Target<Options>,
  { metadata }: Instance,
  keys: readonly string[],
): Promise<void> {
  const others = (metadata?.items ?? []).filter(({ key }) => key !== 'ssh-keys');
  await change(gce, 'setting its keys', 'InstancesClient', 'setMetadata', {
    zone,
    instance: name,
    metadataResource: {
      fingerprint: metadata?.fingerprint,
      items: [...others, ...(keys.length > 0 ? [{ key: 'ssh-keys', value: keys.join('\n') }] : [])],
    },
  });
}

async function setTags(
  gce: Gce,
  { name, options: { zone } }: Target<Options>,
  { tags }: Instance,
  items: readonly string[],
): Promise<void> {
  await change(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
    zone,
    instance: name,
    tagsResource: { fingerprint: tags?.fingerprint, items },
  });
}
