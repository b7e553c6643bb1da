import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { SshHop } from '../machine/model.ts';

/** What we hold against the key that a host shows. Lines are `type base64`, as in a known_hosts file. */
export type HostKeyExpectation = {
  readonly pinned: string | undefined;
  /** Beside the pinned key, until that has replaced it. */
  readonly bootstrap?: string | undefined;
  /** A fingerprint `SHA256:…` or a public key, given by the user. */
  readonly expected: string | undefined;
  /** What the user's own known_hosts says of this address. */
  readonly known: readonly string[];
  /** Keys that it marks as stolen: refused whatever else is said of them. */
  readonly revoked: readonly string[];
};

export type HostKeyVerdict =
  | { readonly verdict: 'accepted'; readonly because: 'pinned' | 'expected' | 'known' }
  | { readonly verdict: 'first-seen' }
  | { readonly verdict: 'refused'; readonly wanted: readonly string[] };

/**
 * A pinned key rules alone, then a given one, then known_hosts; only where all three are silent is a key first seen.
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

/** `SHA256:…` as OpenSSH prints it. */
export function fingerprint(key: string): string {
  const blob = Buffer.from(key.split(' ')[1] ?? '', 'base64');
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/** A key or fingerprint as people compare it: `ssh-ed25519 SHA256:…`. */
export function formatKey(key: string): string {
  return key.includes(' ') ? `${key.split(' ')[0]} ${fingerprint(key)}` : key;
}

/** The raw key blob of the SSH handshake -> `type base64`. The type is the blob's first length-prefixed string. */
export function toPublicKeyLine(blob: Buffer): string {
  const type = blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1');
  return `${type} ${blob.toString('base64')}`;
}

/** A known_hosts line for this hop; other ports than 22 stand in brackets. */
export function knownHostsLine(hop: SshHop): string {
  return hop.hostKey === undefined ? '' : `${knownHostsName(hop)} ${hop.hostKey}\n`;
}

function knownHostsName({ address, port }: SshHop): string {
  return port === 22 ? address : `[${address}]:${port}`;
}

/**
 * The keys that the user's own known_hosts files hold for this hop. `ssh-keygen` reads them because it knows hashed
 * names, patterns and revocations; where it is missing there is nothing to know.
 */
export async function findKnownKeys(
  hop: SshHop,
  userHome: string,
): Promise<Pick<HostKeyExpectation, 'known' | 'revoked'>> {
  const files = [join(userHome, '.ssh', 'known_hosts'), '/etc/ssh/ssh_known_hosts'];
  const found = await Promise.all(files.map((file) => runSshKeygen(knownHostsName(hop), file)));
  const lines = found.join('').split('\n');
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
    // Exit status 1 means that the file has no such host, or that there is no such file.
    execFile('ssh-keygen', ['-F', name, '-f', file], (_error, stdout) => resolve(stdout));
  });
}
