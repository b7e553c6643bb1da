import { createHash } from 'node:crypto';
import type { Target } from '../contract.ts';

type GceTargetIdentity = Pick<Target<unknown>, 'id' | 'name' | 'batch'>;

/** As Compute Engine takes names and labels: lower case, digits and hyphens. */
export function toGceName(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '');
}

const shortId = (id: string): string => id.replaceAll('-', '').slice(0, 8);

/** RFC 1035, 63 at most, and of one machine alone: `web-1-3f9a2c41`. */
export function instanceName({ id, name, batch }: GceTargetIdentity): string {
  const end = batch ? `${batch.index}-${shortId(batch.id)}` : shortId(id);
  const begin = toGceName(name)
    .replace(/^[^a-z]+/, '')
    .slice(0, 40)
    .replace(/-$/, '');
  return `${begin || 'machine'}-${end}`;
}

/** What a batch shares, and a machine has alone. */
export const ownerIdOf = ({ id, batch }: Pick<Target<unknown>, 'id' | 'batch'>): string => batch?.id ?? id;

export const allowRuleName = (mark: string): string => `slipway-${mark}`;
export const openPortsRuleName = (mark: string): string => `slipway-${mark}-open`;
/** Of the rule that keeps others out. */
export const denyRuleName = (mark: string): string => `slipway-${mark}-deny`;
export const addressName = (mark: string): string => `slipway-${mark}`;
export const networkTag = (mark: string): string => `slipway-${mark}`;

/** A UUID that stands for one wish and no other, so that asking again is known for the same wish. */
export function requestId(mark: string, what: string, attempt: number): string {
  const hex = createHash('sha256').update(`${mark} ${what} ${attempt}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
