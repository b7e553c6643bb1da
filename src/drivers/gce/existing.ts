import { SlipwayError } from '../../errors.ts';
import type { Boot, Target } from '../contract.ts';
import { type Gce } from './client.ts';
import { statusOf } from './errors.ts';
import { markOf, networkTag } from './names.ts';
import { change } from './operation.ts';
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
  readonly disks?: readonly {
    readonly diskSizeGb?: string | number;
    readonly type?: string;
    readonly source?: string;
    readonly boot?: boolean;
  }[];
  readonly tags?: { readonly items?: readonly string[]; readonly fingerprint?: string };
  readonly metadata?: { readonly items?: readonly Item[]; readonly fingerprint?: string };
  readonly labelFingerprint?: string;
  readonly networkInterfaces?: readonly {
    readonly network?: string;
    readonly subnetwork?: string;
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
  const found = await gce
    .find<{ queryValue?: { items?: readonly Item[] } }>(
      'asking for its host key',
      'InstancesClient',
      'getGuestAttributes',
      { zone, instance: name, queryPath: 'hostkeys/' },
    )
    .catch((error: unknown) => {
      // So Google says that the instance may publish none.
      if (statusOf(error) === 412) return undefined;
      throw error;
    });
  const keys = found?.queryValue?.items ?? [];
  const best = keys.find(({ key }) => key === 'ssh-ed25519') ?? keys[0];
  return best?.key === undefined ? undefined : `${best.key} ${best.value}`;
}

/** By the end of the line it is known for this machine's: others may have machines of the same name on the same instance. */
const ending = ({ id }: Target<Options>): string => ` slipway ${id}`;

function keyLine(target: Target<Options>, key: string): string {
  const [type = '', base64 = ''] = key.trim().split(' ');
  return `${target.options.sshUser}:${type} ${base64}${ending(target)}`;
}

/** Our key joins those that are there, and our tag leads the firewall rule to it. */
export async function adopt(gce: Gce, target: Target<Options>, boot: Boot): Promise<void> {
  const line = keyLine(target, boot.authorizedKey);
  const tag = networkTag(markOf(target));
  const joined = (all: readonly string[], one: string): readonly string[] => (all.includes(one) ? all : [...all, one]);
  if (!target.options.osLogin) await editKeys(gce, target, (keys) => joined(keys, line));
  await editTags(gce, target, (tags) => joined(tags, tag));
}

/** What `adopt` has brought goes; the instance and all else of it stays. */
export async function release(gce: Gce, target: Target<Options>): Promise<void> {
  const tag = networkTag(markOf(target));
  await editKeys(gce, target, (keys) => keys.filter((line) => !line.endsWith(ending(target))));
  await editTags(gce, target, (tags) => tags.filter((one) => one !== tag));
}

function keysOf({ metadata }: Instance): readonly string[] {
  const text = metadata?.items?.find(({ key }) => key === 'ssh-keys')?.value ?? '';
  return text.split('\n').filter(Boolean);
}

const TRIES = 4;

/**
 * Changes a list of an instance that others change too: Google refuses what was not made of the latest, and then it is made anew. Nothing
 * where the instance is gone, or the list is as it should be.
 */
async function edit(
  gce: Gce,
  target: Target<Options>,
  write: (instance: Instance) => Promise<unknown> | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { name, options } = target;
    const wish = { zone: options.zone, instance: name };
    const instance = await gce.find<Instance>('looking for the instance', 'InstancesClient', 'get', wish);
    try {
      if (instance) await write(instance);
      return;
    } catch (error) {
      if (statusOf(error) !== 412 || attempt >= TRIES) throw error;
    }
  }
}

type Edit = (list: readonly string[]) => readonly string[];

async function editKeys(gce: Gce, target: Target<Options>, changed: Edit): Promise<void> {
  await edit(gce, target, (instance) => {
    const { metadata } = instance;
    const before = keysOf(instance);
    const keys = changed(before);
    if (keys.length === before.length) return undefined;
    const others = (metadata?.items ?? []).filter(({ key }) => key !== 'ssh-keys');
    const items = [...others, ...(keys.length > 0 ? [{ key: 'ssh-keys', value: keys.join('\n') }] : [])];
    return change(gce, 'setting its keys', 'InstancesClient', 'setMetadata', {
      zone: target.options.zone,
      instance: target.name,
      metadataResource: { fingerprint: metadata?.fingerprint, items },
    });
  });
}

async function editTags(gce: Gce, target: Target<Options>, changed: Edit): Promise<void> {
  await edit(gce, target, ({ tags }) => {
    const before = tags?.items ?? [];
    const items = changed(before);
    if (items.length === before.length) return undefined;
    return change(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
      zone: target.options.zone,
      instance: target.name,
      tagsResource: { fingerprint: tags?.fingerprint, items },
    });
  });
}
