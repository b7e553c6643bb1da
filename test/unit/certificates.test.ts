import { createPrivateKey, X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  clientCertificatesOf,
  daysUntilFirstExpiry,
  certificatesToKeep,
  renewCertificates,
  serverSubjectAltNames,
  serverCertificatesOf,
} from '../../src/provision/certificates.ts';

const DAY = 24 * 60 * 60 * 1000;
const now = new Date('2026-11-24T12:00:00Z');
const daysLater = (days: number): Date => new Date(now.getTime() + days * DAY);
const names = serverSubjectAltNames('web', '192.0.2.10', ['docker.example', '*.example.org', '2001:db8::1']);
const renewed = await renewCertificates({}, { name: 'web', names, now });
const [ca, server, client] = [renewed.ca, renewed.server.cert, renewed.client.cert].map(
  (pem) => new X509Certificate(pem),
) as [X509Certificate, X509Certificate, X509Certificate];

describe('renewCertificates, for a new machine,', () => {
  test("signs with a CA of the machine's own, which may sign no other CA", () => {
    expect(ca.ca).toBe(true);
    expect(ca.verify(ca.publicKey)).toBe(true);
    for (const leaf of [server, client]) {
      expect(leaf.ca).toBe(false);
      expect(leaf.checkIssued(ca)).toBe(true);
      expect(leaf.verify(ca.publicKey)).toBe(true);
      expect(leaf.serialNumber).not.toBe(ca.serialNumber);
    }
    expect(server.serialNumber).not.toBe(client.serialNumber);
  });

  test('creates ECDSA P-256 keys that match their certificates', () => {
    const pairs = [
      [ca, renewed.caKey],
      [server, renewed.server.key],
      [client, renewed.client.key],
    ] as const;
    for (const [certificate, key] of pairs) {
      expect(certificate.publicKey.asymmetricKeyType).toBe('ec');
      expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
      expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
    }
    expect(renewed.caKey).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
  });

  test('limits each certificate to its use', () => {
    expect(server.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
    expect(client.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(client.subjectAltName).toBeUndefined();
  });

  test('names the server by address, wildcard, IPv6, loopback and machine', () => {
    expect(server.subjectAltName).toMatchInlineSnapshot(
      `"IP Address:192.0.2.10, DNS:docker.example, DNS:*.example.org, IP Address:2001:DB8:0:0:0:0:0:1, IP Address:127.0.0.1, DNS:localhost, DNS:web"`,
    );
    expect(server.checkIP('2001:0db8:0:0::1')).toBeDefined();
    expect(server.checkHost('a.example.org')).toBeDefined();
    expect(server.checkHost('a.b.example.org')).toBeUndefined();
    expect(server.checkHost('elsewhere.example')).toBeUndefined();
  });

  test('makes certificates valid from an hour ago, for hosts whose clock is behind', () => {
    expect(new Date(server.validFrom).getTime()).toBe(now.getTime() - 60 * 60 * 1000);
  });

  test('gives the host no key of the CA, and the client no key of the server', () => {
    expect(JSON.stringify(serverCertificatesOf(renewed))).not.toContain(JSON.stringify(renewed.caKey).slice(1, -1));
    expect(serverCertificatesOf(renewed)).toEqual({ ca: renewed.ca, ...renewed.server });
    expect(clientCertificatesOf(renewed)).toEqual({ ca: renewed.ca, ...renewed.client });
  });
});

describe('renewCertificates, for a machine with certificates,', () => {
  test('keeps certificates that are still good, to the letter', async () => {
    expect(await renewCertificates(renewed, { name: 'web', names, now: daysLater(1) })).toEqual(renewed);
    expect(await renewCertificates(renewed, { name: 'web', names: names.toReversed(), now: daysLater(1) })).toEqual(
      renewed,
    );
  });

  test('recognizes an address in another spelling', async () => {
    const spelled = names.map((name) => (name === '2001:db8::1' ? '2001:0db8:0000::0001' : name));
    expect((await renewCertificates(renewed, { name: 'web', names: spelled, now })).server).toEqual(renewed.server);
  });

  test("renews only the server's certificate where its names change", async () => {
    for (const other of [[...names, 'more.example'], names.slice(1)]) {
      const next = await renewCertificates(renewed, { name: 'web', names: other, now });
      expect(next.server).not.toEqual(renewed.server);
      expect({ ...next, server: renewed.server }).toEqual(renewed);
      expect(new X509Certificate(next.server.cert).verify(ca.publicKey)).toBe(true);
    }
  });

  test('renews 30 days before an expiry, not earlier, and keeps the CA', async () => {
    const days = daysUntilFirstExpiry([server.toString()], now);
    const early = await renewCertificates(renewed, { name: 'web', names, now: daysLater(days - 31) });
    expect(early).toEqual(renewed);
    const due = daysLater(days - 30);
    const next = await renewCertificates(renewed, { name: 'web', names, now: due });
    expect(next.ca).toBe(renewed.ca);
    expect(next.server).not.toEqual(renewed.server);
    expect(next.client).not.toEqual(renewed.client);
    expect(daysUntilFirstExpiry([next.server.cert, next.client.cert], due)).toBe(730);
  });

  test('renews all certificates of a CA that is about to expire', async () => {
    const next = await renewCertificates(renewed, { name: 'web', names, now: daysLater(3650 - 29) });
    expect(next.ca).not.toBe(renewed.ca);
    expect(new X509Certificate(next.client.cert).verify(new X509Certificate(next.ca).publicKey)).toBe(true);
  });

  test('replaces certificates of another CA, and missing ones', async () => {
    const other = await renewCertificates({}, { name: 'web', names, now });
    const mixed = await renewCertificates({ ...renewed, client: other.client }, { name: 'web', names, now });
    expect(mixed.server).toEqual(renewed.server);
    expect(new X509Certificate(mixed.client.cert).verify(ca.publicKey)).toBe(true);
    const partly = await renewCertificates({ ca: renewed.ca, caKey: renewed.caKey }, { name: 'web', names, now });
    expect(partly.ca).toBe(renewed.ca);
    expect(new X509Certificate(partly.server.cert).verify(ca.publicKey)).toBe(true);
  });

  test('renews on request what the CA signed, or the CA as well', async () => {
    const leaves = await renewCertificates(certificatesToKeep(renewed, 'leaves'), { name: 'web', names, now });
    expect([leaves.ca, leaves.caKey]).toEqual([renewed.ca, renewed.caKey]);
    expect([leaves.server.cert, leaves.client.cert]).not.toContain(renewed.server.cert);
    expect(leaves.client.key).not.toBe(renewed.client.key);
    const all = await renewCertificates(certificatesToKeep(renewed, 'all'), { name: 'web', names, now });
    expect(all.ca).not.toBe(renewed.ca);
    expect(new X509Certificate(all.client.cert).verify(ca.publicKey)).toBe(false);
  });

  test('counts the days until the first expiry, so that a CA never expires unnoticed', () => {
    expect(daysUntilFirstExpiry([renewed.ca, server.toString()], now)).toBe(730);
    expect(daysUntilFirstExpiry([server.toString()], daysLater(731))).toBeLessThan(0);
  });
});

test('serverSubjectAltNames lists each name once, the address first', () => {
  expect(serverSubjectAltNames('localhost', '127.0.0.1', ['localhost'])).toEqual(['127.0.0.1', 'localhost']);
});

test("renewCertificates replaces a certificate that does not match its key, or that can't be read", async () => {
  const now = new Date();
  const first = await renewCertificates({}, { name: 'web', names: ['web'], now });
  const other = await renewCertificates({}, { name: 'web', names: ['web'], now });
  const mixed = { ...first, server: { cert: first.server.cert, key: other.server.key }, client: { cert: '', key: '' } };
  const healed = await renewCertificates(mixed, { name: 'web', names: ['web'], now });
  expect(healed.ca).toBe(first.ca);
  expect(healed.server.key).not.toBe(other.server.key);
  expect(healed.client.cert).toContain('BEGIN CERTIFICATE');
  const strangeCa = await renewCertificates({ ...first, caKey: other.caKey }, { name: 'web', names: ['web'], now });
  expect(strangeCa.ca).not.toBe(first.ca);
});
