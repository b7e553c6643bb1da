import type { Tag, TagSpecification } from '@aws-sdk/client-ec2';
import type { Computer } from '../../computer/computer.ts';
import { getOwnerTags } from '../cloud/tags.ts';
import { SlipwayError } from '../../errors.ts';
import type { Target } from '../contract.ts';
import type { Ec2Options } from './options.ts';

/** The tag that names the key pair that another tool imported for one instance alone. */
export const KEY_PAIR_TAG = 'slipway-key-pair';

export function tagValueOf(tags: readonly Tag[] | undefined, key: string): string {
  return tags?.find(({ Key }) => Key === key)?.Value ?? '';
}

export function tagsToRecord(tags: readonly Tag[] | undefined): Readonly<Record<string, string>> {
  return Object.fromEntries((tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));
}

export function recordToTags(record: Readonly<Record<string, string>>): Tag[] {
  return Object.entries(record).map(([Key, Value]) => ({ Key, Value }));
}

/** Returns the user's own tags and Slipway's, which win if both have the same key. The console shows `name`. */
export async function buildTags(target: Target<Ec2Options>, computer: Computer, name: string): Promise<readonly Tag[]> {
  const ownerTags = await getOwnerTags(target, computer);
  return recordToTags({ ...Object.fromEntries(parseTags(target.options.tags)), Name: name, ...ownerTags });
}

/** Parses `key=value`, or docker-machine's `key1,value1,key2,value2`. Throws USAGE. */
export function parseTags(tags: readonly string[]): readonly (readonly [string, string])[] {
  if (tags.length === 0) return [];
  // An environment variable is split at its commas, so docker-machine's form arrives as a list of words without `=`.
  const words = tags.some((tag) => tag.includes('=')) ? tags : tags.join(',').split(',');
  if (words.every((word) => word.includes('='))) {
    return words.map((word) => {
      const at = word.indexOf('=');
      return [word.slice(0, at), word.slice(at + 1)] as const;
    });
  }
  if (words.some((word) => word.includes('=')) || words.length % 2 === 1) {
    throw new SlipwayError(
      'USAGE',
      `--ec2-tags must be key=value pairs, or key1,value1,key2,value2: got ${tags.join(' ')}`,
      { hint: 'For example: --ec2-tags team=web --ec2-tags cost=42' },
    );
  }
  return words.flatMap((key, at) => (at % 2 === 0 ? [[key, words[at + 1] ?? ''] as const] : []));
}

/** Returns the parameter with which one request gives the same tags to several kinds of resources. */
export function tagSpecifications(tags: readonly Tag[], kinds: readonly string[]): TagSpecification[] {
  return kinds.map((kind) => ({
    ResourceType: kind as NonNullable<TagSpecification['ResourceType']>,
    Tags: [...tags],
  }));
}
