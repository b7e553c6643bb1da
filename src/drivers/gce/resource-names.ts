import { createHash } from 'node:crypto';
import { sharedResourceName, toLabelText } from '../cloud/resource-names.ts';

export const allowRuleName = sharedResourceName;
export const openPortsRuleName = (ownerId: string): string => `${sharedResourceName(ownerId)}-open`;
/** The rule that denies everybody else. */
export const denyRuleName = (ownerId: string): string => `${sharedResourceName(ownerId)}-deny`;
export const addressName = sharedResourceName;
export const networkTag = sharedResourceName;

/** Returns a machine's name as the value of its label `slipway-name`. */
export const nameLabel = (name: string): string => toLabelText(name).slice(0, 63);

/** Returns a UUID for one request, by which Compute Engine recognizes a repeated request. */
export function requestId(ownerId: string, what: string, attempt: number): string {
  const hex = createHash('sha256').update(`${ownerId} ${what} ${attempt}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
