import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { ClientCertificates } from '../machine/model.ts';
import type { ServerCertificates } from './engine-files.ts';

/** A machine's TLS certificates and keys. Every value is PEM; keys are PKCS #8. */
export type Certificates = {
  readonly ca: string;
  readonly caKey: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
};

/** What to renew even if it is still valid: the certificates that the CA signed (leaves), or also the CA (all). */
export type RenewalScope = 'leaves' | 'all';

const DAY_MS = 24 * 60 * 60 * 1000;
/** From this many days before a certificate expires, `ls` warns and `provision` renews it. */
export const RENEW_DAYS = 30;

/** The address of machines on this computer. */
export const LOOPBACK = '127.0.0.1';

/**
 * Returns the names in the engine's certificate: those that clients elsewhere use, and those for clients on the host
 * itself. The certificate of a machine on this computer does not contain the machine's name: no other computer can
 * resolve that name, and the machine may get the name after its certificate.
 */
export function serverSubjectAltNames(name: string, address: string, extra: readonly string[]): readonly string[] {
  return [...new Set([address, ...extra, '127.0.0.1', 'localhost', ...(address === LOOPBACK ? [] : [name])])];
}

/** Returns the present certificates that a renewal keeps. */
export function certificatesToKeep({ ca, caKey }: Partial<Certificates>, renewal: RenewalScope): Partial<Certificates> {
  return renewal === 'all' || ca === undefined || caKey === undefined ? {} : { ca, caKey };
}

/**
 * Keeps the certificates that are still valid and issues the others. Keeps the CA until it is about to expire, so that
 * certificates that it signed for other clients stay valid too.
 */
export async function renewCertificates(
  present: Partial<Certificates>,
  { name, names, now }: { readonly name: string; readonly names: readonly string[]; readonly now: Date },
): Promise<Certificates> {
  const { ca, caKey } = present;
  if (ca === undefined || caKey === undefined || !isMatchingPair(ca, caKey) || !isFresh(ca, now))
    return await createCertificates(name, names, now);
  const isUsable = (leaf: Certificates['server']): boolean =>
    isMatchingPair(leaf.cert, leaf.key) && isFresh(leaf.cert, now) && isIssuedBy(leaf.cert, ca);
  const server =
    present.server && isUsable(present.server) && hasExactNames(present.server.cert, names)
      ? present.server
      : undefined;
  const client = present.client && isUsable(present.client) ? present.client : undefined;
  if (server && client) return { ca, caKey, server, client };
  const { loadAuthority, issueCertificate } = await loadIssuer();
  const authority = await loadAuthority(ca, caKey);
  return {
    ca,
    caKey,
    server: server ?? (await issueCertificate(authority, { as: 'server', name, names, now })),
    client: client ?? (await issueCertificate(authority, { as: 'client', name, names: [], now })),
  };
}

async function createCertificates(name: string, names: readonly string[], now: Date): Promise<Certificates> {
  const { createAuthority, issueCertificate } = await loadIssuer();
  const authority = await createAuthority(name, now);
  const [server, client] = await Promise.all([
    issueCertificate(authority, { as: 'server', name, names, now }),
    issueCertificate(authority, { as: 'client', name, names: [], now }),
  ]);
  return { ca: authority.pem, caKey: authority.keyPem, server, client };
}

/** Loads the X.509 library only to issue a certificate: loading it takes longer than the rest of a run. */
function loadIssuer(): Promise<typeof import('./issue-certificates.ts')> {
  return import('./issue-certificates.ts');
}

/** Returns the number of days until the first of these certificates (PEM) expires; negative if it has expired. */
export function daysUntilFirstExpiry(certificates: readonly string[], now: Date): number {
  const expiries = certificates.map((pem) => Date.parse(new X509Certificate(pem).validTo));
  return Math.floor((Math.min(...expiries) - now.getTime()) / DAY_MS);
}

export function serverCertificatesOf({ ca, server }: Certificates): ServerCertificates {
  return { ca, ...server };
}

export function clientCertificatesOf({ ca, client }: Certificates): ClientCertificates {
  return { ca, ...client };
}

/** Returns whether the text is a certificate (PEM). */
export function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== undefined;
  } catch {
    return false;
  }
}

/**
 * Returns whether the key belongs to the certificate. If a run is killed between the writes of the two files, one is
 * old and one is new. A file that can't be parsed counts as missing.
 */
export function isMatchingPair(cert: string, key: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

/** Returns whether the certificate is valid for more than RENEW_DAYS. Throws for text that is not a certificate. */
export function isFresh(pem: string, now: Date): boolean {
  return daysUntilFirstExpiry([pem], now) > RENEW_DAYS;
}

/** Returns whether the CA signed the certificate. */
export function isIssuedBy(pem: string, ca: string): boolean {
  const [certificate, authority] = [new X509Certificate(pem), new X509Certificate(ca)];
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

function hasExactNames(pem: string, names: readonly string[]): boolean {
  const certificate = new X509Certificate(pem);
  const present = (certificate.subjectAltName ?? '').split(', ');
  // An IPv6 address can be written in many ways, so addresses are compared by value.
  const isCovered = (name: string): boolean =>
    isIP(name) ? certificate.checkIP(name) !== undefined : present.includes(`DNS:${name}`);
  return present.length === names.length && names.every(isCovered);
}
