import type { Target } from '../contract.ts';

/** Converts a name to lower-case letters, digits and hyphens, which every provider accepts in names and labels. */
export function toLabelText(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
}

/** Returns the name of a resource that belongs to a batch or to one machine. */
export const sharedResourceName = (ownerId: string): string => `slipway-${ownerId}`;

const shortId = (id: string): string => id.replaceAll('-', '').slice(0, 8);

/**
 * Returns the name of a machine's instance in a cloud that finds instances by name: `web-3f9a2c41`, or
 * `web-1-3f9a2c41` with the index within a batch. RFC 1035 allows at most 63 characters.
 */
export function instanceName({ id, name, batch }: Pick<Target<unknown>, 'id' | 'name' | 'batch'>): string {
  const suffix = batch ? `${batch.index}-${shortId(batch.id)}` : shortId(id);
  const prefix = toLabelText(name)
    .replace(/^[^a-z]+/, '')
    .slice(0, 40)
    .replace(/-$/, '');
  return `${prefix || 'machine'}-${suffix}`;
}

/** Reads the index within a batch from an instance's name; undefined for a machine that was created by itself. */
export function parseBatchIndex(name: string, ownerId: string): number | undefined {
  const [, index] = new RegExp(`-(\\d+)-${shortId(ownerId)}$`).exec(name) ?? [];
  return index === undefined ? undefined : Number(index);
}
