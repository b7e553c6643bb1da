import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig, Target } from '../contract.ts';
import { type GceConnection } from './client.ts';
import { httpStatusOf } from './errors.ts';
import { ownerIdOf, networkTag } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

type KeyValueItem = { readonly key?: string; readonly value?: string };
export type GceInstance = {
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
  readonly metadata?: { readonly items?: readonly KeyValueItem[]; readonly fingerprint?: string };
  readonly labelFingerprint?: string;
  readonly networkInterfaces?: readonly {
    readonly network?: string;
    readonly subnetwork?: string;
    readonly networkIP?: string;
    readonly accessConfigs?: readonly { readonly natIP?: string }[];
  }[];
};

/** The instance that has the machine's own name, made by somebody else. */
export async function requireExistingInstance(
  gce: GceConnection,
  { name, options: { zone } }: Target<GceOptions>,
): Promise<GceInstance> {
  const found = await gce.find<GceInstance>('looking for the instance', 'InstancesClient', 'get', {
    zone,
    instance: name,
  });
  if (found) return found;
  throw new SlipwayError('USAGE', `There is no instance ${name} in ${zone} of ${gce.project}`, {
    hint: 'The machine goes by the name of the instance; or let one be made: leave --gce-use-existing out',
  });
}

/** The host key that the instance has published over Google's own channel. */
export async function readPublishedHostKey(
  gce: GceConnection,
  { name, options: { zone } }: Target<GceOptions>,
): Promise<string | undefined> {
  const found = await gce
    .find<{ queryValue?: { items?: readonly KeyValueItem[] } }>(
      'asking for its host key',
      'InstancesClient',
      'getGuestAttributes',
      { zone, instance: name, queryPath: 'hostkeys/' },
    )
    .catch((error: unknown) => {
      // So Google says that the instance may publish none.
      if (httpStatusOf(error) === 412) return undefined;
      throw error;
    });
  const keys = found?.queryValue?.items ?? [];
  const best = keys.find(({ key }) => key === 'ssh-ed25519') ?? keys[0];
  return best?.key === undefined ? undefined : `${best.key} ${best.value}`;
}

/** By the end of the line it is known for this machine's: others may have machines of the same name on the same instance. */
const keyLineSuffix = ({ id }: Target<GceOptions>): string => ` slipway ${id}`;

function formatKeyLine(target: Target<GceOptions>, key: string): string {
  const [type = '', base64 = ''] = key.trim().split(' ');
  return `${target.options.sshUser}:${type} ${base64}${keyLineSuffix(target)}`;
}

/** Our key joins those that are there, and our tag leads the firewall rule to it. */
export async function grantAccess(
  gce: GceConnection,
  target: Target<GceOptions>,
  boot: FirstBootConfig,
): Promise<void> {
  const line = formatKeyLine(target, boot.authorizedKey);
  const tag = networkTag(ownerIdOf(target));
  const joined = (all: readonly string[], one: string): readonly string[] => (all.includes(one) ? all : [...all, one]);
  if (!target.options.osLogin) await editSshKeys(gce, target, (keys) => joined(keys, line));
  await editNetworkTags(gce, target, (tags) => joined(tags, tag));
}

/** What `adopt` has brought goes; the instance and all else of it stays. */
export async function revokeAccess(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const tag = networkTag(ownerIdOf(target));
  await editSshKeys(gce, target, (keys) => keys.filter((line) => !line.endsWith(keyLineSuffix(target))));
  await editNetworkTags(gce, target, (tags) => tags.filter((one) => one !== tag));
}

function sshKeysOf({ metadata }: GceInstance): readonly string[] {
  const text = metadata?.items?.find(({ key }) => key === 'ssh-keys')?.value ?? '';
  return text.split('\n').filter(Boolean);
}

const MAX_EDIT_ATTEMPTS = 4;

/**
 * Changes a list of an instance that others change too: Google refuses what was not made of the latest, and then it is made anew. Nothing
 * where the instance is gone, or the list is as it should be.
 */
async function editInstance(
  gce: GceConnection,
  target: Target<GceOptions>,
  write: (instance: GceInstance) => Promise<unknown> | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { name, options } = target;
    const wish = { zone: options.zone, instance: name };
    const instance = await gce.find<GceInstance>('looking for the instance', 'InstancesClient', 'get', wish);
    try {
      if (instance) await write(instance);
      return;
    } catch (error) {
      if (httpStatusOf(error) !== 412 || attempt >= MAX_EDIT_ATTEMPTS) throw error;
    }
  }
}

type ListEdit = (list: readonly string[]) => readonly string[];

async function editSshKeys(gce: GceConnection, target: Target<GceOptions>, changed: ListEdit): Promise<void> {
  await editInstance(gce, target, (instance) => {
    const { metadata } = instance;
    const before = sshKeysOf(instance);
    const keys = changed(before);
    if (keys.length === before.length) return undefined;
    const others = (metadata?.items ?? []).filter(({ key }) => key !== 'ssh-keys');
    const items = [...others, ...(keys.length > 0 ? [{ key: 'ssh-keys', value: keys.join('\n') }] : [])];
    return runOperation(gce, 'setting its keys', 'InstancesClient', 'setMetadata', {
      zone: target.options.zone,
      instance: target.name,
      metadataResource: { fingerprint: metadata?.fingerprint, items },
    });
  });
}

async function editNetworkTags(gce: GceConnection, target: Target<GceOptions>, changed: ListEdit): Promise<void> {
  await editInstance(gce, target, ({ tags }) => {
    const before = tags?.items ?? [];
    const items = changed(before);
    if (items.length === before.length) return undefined;
    return runOperation(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
      zone: target.options.zone,
      instance: target.name,
      tagsResource: { fingerprint: tags?.fingerprint, items },
    });
  });
}
