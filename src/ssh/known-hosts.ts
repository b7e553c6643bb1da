/** The format of known_hosts files, as sshd(8) describes it under SSH_KNOWN_HOSTS FILE FORMAT. */
import { createHmac } from 'node:crypto';
import { toPublicKeyLine } from './host-key.ts';

export type KnownHostsEntry = {
  readonly marker: '@revoked' | '@cert-authority' | undefined;
  /** Patterns separated by commas, or one hashed name. */
  readonly hosts: string;
  /** `type base64`. */
  readonly key: string;
};

/** Returns the entries of a file. Lines that OpenSSH ignores are left out: comments, SSH 1 keys, other markers. */
export function parseKnownHosts(text: string): readonly KnownHostsEntry[] {
  return text.split('\n').flatMap((line) => parseEntry(line) ?? []);
}

function parseEntry(line: string): KnownHostsEntry | undefined {
  const fields = line.trim().split(/[ \t]+/);
  const marker = fields[0]?.startsWith('@') ? fields.shift() : undefined;
  const [hosts = '', , base64 = ''] = fields;
  const key = decodePublicKey(base64);
  if (hosts === '' || hosts.startsWith('#') || key === undefined) return undefined;
  if (marker !== undefined && marker !== '@revoked' && marker !== '@cert-authority') return undefined;
  return { marker, hosts, key };
}

/** Returns the key in a line of a .pub file or of a list of revoked keys, as `type base64`; undefined without one. */
export function parsePublicKey(line: string): string | undefined {
  return decodePublicKey(line.trim().split(/[ \t]+/)[1] ?? '');
}

function decodePublicKey(base64: string): string | undefined {
  const blob = Buffer.from(base64, 'base64');
  return blob.length > 4 && 4 + blob.readUInt32BE(0) < blob.length ? toPublicKeyLine(blob) : undefined;
}

/** Returns whether an entry is of this host: `web.example`, or `[web.example]:2222` for a port other than 22. */
export function isEntryOf({ hosts }: KnownHostsEntry, name: string): boolean {
  const host = name.toLowerCase();
  return hosts.startsWith('|') ? isHashOf(hosts, host) : isMatchingPatternList(hosts.split(','), host);
}

/** A hashed name is `|1|salt|hash`, with HMAC-SHA1. */
function isHashOf(hashed: string, host: string): boolean {
  const [, version, salt = '', hash = ''] = hashed.split('|');
  if (version !== '1') return false;
  const expected = Buffer.from(hash, 'base64');
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(host).digest().equals(expected);
}

/** Returns whether one of the patterns matches, and none of those that begin with `!`. */
export function isMatchingPatternList(patterns: readonly string[], text: string): boolean {
  const matching = patterns.filter((pattern) => isMatchingPattern(pattern.replace(/^!/, ''), text));
  return matching.length > 0 && !matching.some((pattern) => pattern.startsWith('!'));
}

/** Matches a pattern in which `*` stands for any characters and `?` for one. */
export function isMatchingPattern(pattern: string, text: string): boolean {
  const source = pattern
    .toLowerCase()
    .replaceAll(/[\\^$.*+?()[\]{}|]/g, (character) =>
      character === '*' ? '.*' : character === '?' ? '.' : `\\${character}`,
    )
    .replaceAll(/(?:\.\*)+/g, '.*');
  return new RegExp(`^${source}$`, 's').test(text.toLowerCase());
}
