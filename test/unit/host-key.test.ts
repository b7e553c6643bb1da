import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  fingerprint,
  verifyHostKey,
  toPublicKeyLine,
  knownHostsLine,
  formatKey,
  type HostKeyExpectation,
} from '../../src/ssh/host-key.ts';

const encodeField = (text: string | Buffer): Buffer => {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
const publicKeyBlob = (seed: string): Buffer =>
  Buffer.concat([encodeField('ssh-ed25519'), encodeField(createHash('sha256').update(seed).digest())]);
const [ours, theirs] = [toPublicKeyLine(publicKeyBlob('ours')), toPublicKeyLine(publicKeyBlob('theirs'))];
const noExpectation: HostKeyExpectation = { pinned: undefined, expected: undefined, known: [], revoked: [] };

describe('a host key', () => {
  test.each<[string, Partial<HostKeyExpectation>, string]>([
    ['is first seen if nothing is known about it', {}, 'first-seen'],
    ['is accepted if it is pinned', { pinned: ours }, 'accepted by pinned'],
    ['is refused if another is pinned', { pinned: theirs }, 'refused'],
    ['is accepted if its fingerprint was given', { expected: fingerprint(ours) }, 'accepted by expected'],
    ['is accepted if that fingerprint ends in =', { expected: `${fingerprint(ours)}=` }, 'accepted by expected'],
    ['is accepted if the key itself was given', { expected: ours }, 'accepted by expected'],
    ['is accepted if it was given with a comment', { expected: `${ours} root@web` }, 'accepted by expected'],
    ['is refused if another fingerprint was given', { expected: fingerprint(theirs) }, 'refused'],
    ['is refused if another key was given', { expected: theirs }, 'refused'],
    ['is refused if an empty word was given', { expected: '' }, 'refused'],
    ['is accepted if known_hosts has it among others', { known: [theirs, ours] }, 'accepted by known'],
    ['is refused if known_hosts has only others', { known: [theirs] }, 'refused'],
    ['is refused if known_hosts revokes it, even if it also accepts it', { known: [ours], revoked: [ours] }, 'refused'],
    ['is first seen if known_hosts revokes another', { revoked: [theirs] }, 'first-seen'],
    ['is compared with the pinned key first', { pinned: theirs, expected: ours, known: [ours] }, 'refused'],
    ['is compared with the given key before known_hosts', { expected: theirs, known: [ours] }, 'refused'],
    ['is refused if it is pinned and revoked', { pinned: ours, revoked: [ours] }, 'refused'],
    ['is refused if it was given and is revoked', { expected: ours, revoked: [ours] }, 'refused'],
    [
      'is refused if it is a bootstrap key and revoked',
      { pinned: theirs, bootstrap: ours, revoked: [ours] },
      'refused',
    ],
    ['is refused if what known_hosts says cannot be checked', { unverifiable: ['It has a CA'] }, 'refused'],
    [
      'is accepted if known_hosts has it besides',
      { known: [ours], unverifiable: ['It has a CA'] },
      'accepted by known',
    ],
    ['is accepted if it was given besides', { expected: ours, unverifiable: ['It has a CA'] }, 'accepted by expected'],
    ['is accepted if it is pinned besides', { pinned: ours, unverifiable: ['It has a CA'] }, 'accepted by pinned'],
    [
      'is accepted if it is pinned, even if known_hosts has another',
      { pinned: ours, known: [theirs] },
      'accepted by pinned',
    ],
  ])('%s', (_kind, expectation, verdict) => {
    const judgement = verifyHostKey(ours, { ...noExpectation, ...expectation });
    expect(judgement.verdict === 'accepted' ? `accepted by ${judgement.because}` : judgement.verdict).toBe(verdict);
  });

  test('that is refused is returned with the keys that were expected', () => {
    expect(verifyHostKey(ours, { ...noExpectation, known: [theirs] })).toEqual({
      verdict: 'refused',
      wanted: [theirs],
    });
  });

  test('is formatted as type and fingerprint', () => {
    expect(formatKey(ours)).toMatch(/^ssh-ed25519 SHA256:[A-Za-z0-9+/]{43}$/);
    expect(formatKey('SHA256:abc')).toBe('SHA256:abc');
  });

  test('is written to known_hosts by address, and by port if it is not 22', () => {
    const hop = { address: '192.0.2.10', port: 22, user: 'root', hostKey: ours };
    expect(knownHostsLine(hop)).toBe(`192.0.2.10 ${ours}\n`);
    expect(knownHostsLine({ ...hop, port: 2222 })).toBe(`[192.0.2.10]:2222 ${ours}\n`);
    expect(knownHostsLine({ address: 'web', port: 22, user: 'root' })).toBe('');
  });
});
