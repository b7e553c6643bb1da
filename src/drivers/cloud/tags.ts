import type { Computer } from '../../computer/computer.ts';
import type { CloudResource, Target } from '../contract.ts';
import { SlipwayError } from '../../errors.ts';
import { getStoreId } from '../../machine/store-id.ts';
import { ownerIdOf } from './batch.ts';
import { parseJson } from '../../parse-json.ts';

/**
 * The three tags that every resource of Slipway carries at a provider from its creation on: `gc` and `rm` find
 * resources by them.
 */
export type OwnerTags = {
  /** The machine's id, or its batch's. */
  readonly 'slipway-id': string;
  readonly 'slipway-name': string;
  /** The store that knows the machine (machine/store-id.ts). */
  readonly 'slipway-home': string;
};

type Tags = Readonly<Record<string, string | undefined>>;

/** Returns the tags of one machine's resources, or of a batch: its one request gives all of them the same tags. */
export async function getOwnerTags(target: Target<unknown>, computer: Computer): Promise<OwnerTags> {
  return {
    'slipway-id': ownerIdOf(target),
    'slipway-name': target.name,
    'slipway-home': await getStoreId(computer),
  };
}

/** Reads the owner of a resource from its tags, as `gc` lists it; a missing tag becomes an empty string. */
export function ownerFromTags(tags: Tags): Pick<CloudResource, 'id' | 'name' | 'home'> {
  return {
    id: tags['slipway-id'] ?? '',
    name: tags['slipway-name'] ?? '',
    home: tags['slipway-home'] ?? '',
  };
}

/** Returns a description that ends with the owner tags as JSON, for resources that can't have tags. */
export function formatTaggedDescription(what: string, tags: OwnerTags): string {
  return `Slipway: ${what} ${JSON.stringify(tags)}`;
}

/** Reads the owner tags from a description; undefined if it has none, or somebody has edited them. */
export function parseTaggedDescription(description: string | undefined): OwnerTags | undefined {
  return parseJson(/\{.*\}$/.exec(description ?? '')?.[0]) as OwnerTags | undefined;
}

/**
 * Refuses to adopt a resource that belongs to another machine. `tagWord` is the provider's word for tags, which the
 * hint names: `tags`, `labels`.
 */
export function requireNoOtherOwner(resource: string, tags: Tags, id: string, tagWord: string): void {
  const owner = ownerFromTags(tags);
  if (owner.id === '' || owner.id === id) return;
  throw new SlipwayError(
    'PROVIDER_REFUSED',
    `${resource} already belongs to the machine "${owner.name}" of Slipway (store ${owner.home})`,
    { hint: `Use it there, or remove its ${tagWord} slipway-id, slipway-name and slipway-home first` },
  );
}
