import { createHash } from 'node:crypto';
import type { SshHop } from '../machine/model.ts';

/** What the key that a host shows is compared with. Keys are `type base64`, as in a known_hosts file. */
export type HostKeyExpectation = {
  readonly pinned: string | undefined;
  /** Also accepted, until the pinned key has replaced it on the host. */
  readonly bootstrap?: string | undefined;
  /** A fingerprint `SHA256:…` or a public key that the user gave. */
  readonly expected: string | undefined;
  /** The keys of this address in the user's own known_hosts files. */
  readonly known: readonly string[];
  /** The keys that those files mark as revoked: refused even if another member lists them, and even if pinned. */
  readonly revoked: readonly string[];
  /** What those files say about the host that can't be checked, as sentences. Then silence is no first sight. */
  readonly unverifiable?: readonly string[];
};

export type HostKeyVerdict =
  | { readonly verdict: 'accepted'; readonly because: 'pinned' | 'expected' | 'known' }
  | { readonly verdict: 'first-seen' }
  /** Without `wanted` keys, the key is revoked, or `unverifiable` says what can't be checked. */
  | { readonly verdict: 'refused'; readonly wanted: readonly string[]; readonly unverifiable?: readonly string[] };

/**
 * Returns the verdict on a host's key. A revoked key is always refused. A pinned key decides alone; without one, the
 * user's key does; without both, known_hosts does. If none of them has a key, the verdict is `first-seen`, unless
 * known_hosts says something about the host that can't be checked, which is not the same as silence.
 */
export function verifyHostKey(
  offered: string,
  { pinned, bootstrap, expected, known, revoked, unverifiable = [] }: HostKeyExpectation,
): HostKeyVerdict {
  if (revoked.includes(offered)) return { verdict: 'refused', wanted: [] };
  if (pinned !== undefined) return toVerdict(offered === pinned || offered === bootstrap, 'pinned', [pinned]);
  if (expected !== undefined) return toVerdict(isExpectedKey(offered, expected), 'expected', [expected]);
  if (known.length > 0) return toVerdict(known.includes(offered), 'known', known);
  return unverifiable.length > 0 ? { verdict: 'refused', wanted: [], unverifiable } : { verdict: 'first-seen' };
}

function toVerdict(
  accepted: boolean,
  because: 'pinned' | 'expected' | 'known',
  wanted: readonly string[],
): HostKeyVerdict {
  return accepted ? { verdict: 'accepted', because } : { verdict: 'refused', wanted };
}

function isExpectedKey(offered: string, expected: string): boolean {
  if (expected.startsWith('SHA256:')) return fingerprint(offered) === expected.replace(/=+$/, '');
  return offered === expected.split(' ').slice(0, 2).join(' ');
}

/** Returns a key's fingerprint as OpenSSH prints it: `SHA256:…`. */
export function fingerprint(key: string): string {
  const blob = Buffer.from(key.split(' ')[1] ?? '', 'base64');
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/** Formats a key as people compare it: `ssh-ed25519 SHA256:…`. Leaves a fingerprint as it is. */
export function formatKey(key: string): string {
  return key.includes(' ') ? `${key.split(' ')[0]} ${fingerprint(key)}` : key;
}

/** Converts the key blob of an SSH handshake to `type base64`. The blob begins with its type, prefixed by a length. */
export function toPublicKeyLine(blob: Buffer): string {
  const type = blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1');
  return `${type} ${blob.toString('base64')}`;
}

/** Returns the hop's line for a known_hosts file; '' if no key is pinned. */
export function knownHostsLine(hop: SshHop): string {
  return hop.hostKey === undefined ? '' : `${knownHostsName(hop)} ${hop.hostKey}\n`;
}

/** Returns the hop's name in known_hosts files: a port other than 22 follows the address in brackets. */
export function knownHostsName({ address, port }: Pick<SshHop, 'address' | 'port'>): string {
  return port === 22 ? address : `[${address}]:${port}`;
}
