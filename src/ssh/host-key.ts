import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
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
  /** The keys that those files mark as revoked: refused even if another member lists them. */
  readonly revoked: readonly string[];
};

export type HostKeyVerdict =
  | { readonly verdict: 'accepted'; readonly because: 'pinned' | 'expected' | 'known' }
  | { readonly verdict: 'first-seen' }
  | { readonly verdict: 'refused'; readonly wanted: readonly string[] };

/**
 * Returns the verdict on a host's key. A pinned key decides alone; without one, the user's key does; without both,
 * known_hosts does. If none of them has a key, the verdict is `first-seen`.
 */
export function verifyHostKey(
  offered: string,
  { pinned, bootstrap, expected, known, revoked }: HostKeyExpectation,
): HostKeyVerdict {
  if (revoked.includes(offered)) return { verdict: 'refused', wanted: [] };
  if (pinned !== undefined) return toVerdict(offered === pinned || offered === bootstrap, 'pinned', [pinned]);
  if (expected !== undefined) return toVerdict(isExpectedKey(offered, expected), 'expected', [expected]);
  if (known.length > 0) return toVerdict(known.includes(offered), 'known', known);
  return { verdict: 'first-seen' };
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

function knownHostsName({ address, port }: SshHop): string {
  // OpenSSH's format: a port other than 22 follows the address in brackets.
  return port === 22 ? address : `[${address}]:${port}`;
}

/**
 * Returns the keys of this hop in the user's and the system's known_hosts files. `ssh-keygen` reads the files, because
 * it understands hashed names, patterns and revocations; without `ssh-keygen`, no key is known.
 */
export async function findKnownKeys(
  hop: SshHop,
  userHome: string,
): Promise<Pick<HostKeyExpectation, 'known' | 'revoked'>> {
  const files = [join(userHome, '.ssh', 'known_hosts'), '/etc/ssh/ssh_known_hosts'];
  const outputs = await Promise.all(files.map((file) => runSshKeygen(knownHostsName(hop), file)));
  const lines = outputs.join('').split(/\r?\n/);
  const REVOKED = '@revoked ';
  return {
    known: lines.filter((line) => line !== '' && !/^[#@]/.test(line)).map(keyOfLine),
    revoked: lines.filter((line) => line.startsWith(REVOKED)).map((line) => keyOfLine(line.slice(REVOKED.length))),
  };
}

/** `host type base64 comment` -> `type base64`. */
function keyOfLine(line: string): string {
  return line.split(' ').slice(1, 3).join(' ');
}

function runSshKeygen(name: string, file: string): Promise<string> {
  return new Promise((resolve) => {
    // Exit status 1 means that the host is not in the file, or that the file does not exist.
    execFile('ssh-keygen', ['-F', name, '-f', file], (_error, stdout) => resolve(stdout));
  });
}
