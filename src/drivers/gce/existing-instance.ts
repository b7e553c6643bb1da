import { ownerIdOf } from '../cloud/batch.ts';
import { SlipwayError } from '../../errors.ts';
import type { FirstBootConfig, Target } from '../contract.ts';
import type { GceConnection } from './client.ts';
import { httpStatusOf } from './errors.ts';
import { findInstanceByName, type GceInstance, type KeyValueItem } from './instances.ts';
import { networkTag } from './resource-names.ts';
import { runOperation } from './operation.ts';
import type { GceOptions } from './options.ts';

/** Returns the instance with the machine's name, which somebody else created. Throws USAGE if there is none. */
export async function requireExistingInstance(
  gce: GceConnection,
  { name, options: { zone } }: Target<GceOptions>,
): Promise<GceInstance> {
  const found = await findInstanceByName(gce, name, zone);
  if (found) return found;
  throw new SlipwayError('USAGE', `The instance ${name} does not exist in ${zone} of ${gce.project}`, {
    hint: 'Name the machine like the instance; to create a new instance, omit --gce-use-existing',
  });
}

/**
 * Returns the host key that the instance publishes as a guest attribute: `ssh-ed25519 AAAA…`; undefined if it publishes
 * none.
 */
export async function readPublishedHostKey(
  gce: GceConnection,
  { name, options: { zone } }: Target<GceOptions>,
): Promise<string | undefined> {
  const found = await gce
    .find<{ queryValue?: { items?: readonly KeyValueItem[] } }>(
      'reading its host key',
      'InstancesClient',
      'getGuestAttributes',
      { zone, instance: name, queryPath: 'hostkeys/' },
    )
    .catch((error: unknown) => {
      // 412: the instance may not publish guest attributes.
      if (httpStatusOf(error) === 412) return undefined;
      throw error;
    });
  const keys = found?.queryValue?.items ?? [];
  const preferred = keys.find(({ key }) => key === 'ssh-ed25519') ?? keys[0];
  return preferred?.key === undefined ? undefined : `${preferred.key} ${preferred.value}`;
}

/** Marks the key line of this machine: other stores may have machines with the same name on the same instance. */
const keyLineSuffix = ({ id }: Target<GceOptions>): string => ` slipway ${id}`;

function formatKeyLine(target: Target<GceOptions>, key: string): string {
  const [type = '', base64 = ''] = key.trim().split(' ');
  return `${target.options.sshUser}:${type} ${base64}${keyLineSuffix(target)}`;
}

/** Adds the login key to the keys of the instance, and the network tag that the firewall rule applies to. */
export async function grantAccess(
  gce: GceConnection,
  target: Target<GceOptions>,
  boot: FirstBootConfig,
): Promise<void> {
  const line = formatKeyLine(target, boot.authorizedKey);
  const tag = networkTag(ownerIdOf(target));
  const withItem = (list: readonly string[], item: string): readonly string[] =>
    list.includes(item) ? list : [...list, item];
  if (!target.options.osLogin) await editSshKeys(gce, target, (keys) => withItem(keys, line));
  await editNetworkTags(gce, target, (tags) => withItem(tags, tag));
}

/** Removes what `grantAccess` added, and keeps everything else of the instance. */
export async function revokeAccess(gce: GceConnection, target: Target<GceOptions>): Promise<void> {
  const tag = networkTag(ownerIdOf(target));
  await editSshKeys(gce, target, (keys) => keys.filter((line) => !line.endsWith(keyLineSuffix(target))));
  await editNetworkTags(gce, target, (tags) => tags.filter((existing) => existing !== tag));
}

function sshKeysOf({ metadata }: GceInstance): readonly string[] {
  const text = metadata?.items?.find(({ key }) => key === 'ssh-keys')?.value ?? '';
  return text.split('\n').filter(Boolean);
}

const MAX_EDIT_ATTEMPTS = 4;

/**
 * Reads the instance and calls `write` to change a list that others change too. Google refuses a change to an outdated
 * list with 412; this then reads the instance again. Does nothing if the instance no longer exists.
 */
async function editInstance(
  gce: GceConnection,
  target: Target<GceOptions>,
  write: (instance: GceInstance) => Promise<unknown> | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { name, options } = target;
    const instance = await findInstanceByName(gce, name, options.zone);
    try {
      if (instance) await write(instance);
      return;
    } catch (error) {
      if (httpStatusOf(error) !== 412 || attempt >= MAX_EDIT_ATTEMPTS) throw error;
    }
  }
}

type ListEdit = (list: readonly string[]) => readonly string[];

async function editSshKeys(gce: GceConnection, target: Target<GceOptions>, edit: ListEdit): Promise<void> {
  await editInstance(gce, target, (instance) => {
    const { metadata } = instance;
    const before = sshKeysOf(instance);
    const keys = edit(before);
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

async function editNetworkTags(gce: GceConnection, target: Target<GceOptions>, edit: ListEdit): Promise<void> {
  await editInstance(gce, target, ({ tags }) => {
    const before = tags?.items ?? [];
    const items = edit(before);
    if (items.length === before.length) return undefined;
    return runOperation(gce, 'setting its network tags', 'InstancesClient', 'setTags', {
      zone: target.options.zone,
      instance: target.name,
      tagsResource: { fingerprint: tags?.fingerprint, items },
    });
  });
}
