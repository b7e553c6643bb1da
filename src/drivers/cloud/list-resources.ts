import type { CloudResource } from '../contract.ts';
import { ownerFromTags } from './tags.ts';

type KnownFields = Pick<CloudResource, 'kind' | 'resource' | 'place'> & Partial<CloudResource>;

/** Returns a resource as `gc` lists it: its owner, read from its tags, and the fields that the provider reports. */
export function toCloudResource(tags: Readonly<Record<string, string | undefined>>, known: KnownFields): CloudResource {
  return { ...ownerFromTags(tags), index: undefined, state: '', createdAt: undefined, monthly: undefined, ...known };
}

/** Instances hold disks, addresses and firewalls, which no provider deletes while they are in use. */
const DELETION_ORDER: readonly CloudResource['kind'][] = [
  'spot request',
  'instance',
  'disk',
  'network interface',
  'address',
  'firewall',
];

/** Deletes the resources of one kind. Not called if there are none. */
type DeleteOfKind = (resources: readonly CloudResource[]) => Promise<void>;

/** Deletes these resources and no others, kind by kind. */
export async function deleteByKind(
  resources: readonly CloudResource[],
  deletions: Readonly<Partial<Record<CloudResource['kind'], DeleteOfKind>>>,
): Promise<void> {
  for (const kind of DELETION_ORDER) {
    const ofKind = resources.filter((resource) => resource.kind === kind);
    if (ofKind.length > 0) await deletions[kind]?.(ofKind);
  }
}

/** Returns a function that deletes resources one after the other. */
export const oneByOne =
  (deleteOne: (resource: string, place: string) => Promise<void>): DeleteOfKind =>
  async (resources) => {
    for (const { resource, place } of resources) await deleteOne(resource, place);
  };
