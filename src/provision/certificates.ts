import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { ClientCertificates } from '../machine/model.ts';
import type { ServerCertificates } from './engine-files.ts';

/** All certificates of a machine's TLS. Every value is PEM; keys are PKCS #8. */
export type Certificates = {
  readonly ca: string;
  readonly caKey: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
};

/** What to renew although it is still valid: the certificates that the CA has signed, or the CA as well. */
export type RenewalScope = 'leaves' | 'all';

const DAY_MS = 24 * 60 * 60 * 1000;
/** `ls` warns this many days before an expiry, and `provision` renews. */
export const RENEW_DAYS = 30;

/** The address of machines that run on this computer. */
export const LOOPBACK = '127.0.0.1';

/**
 * Returns the names of the engine's certificate: how clients call the engine from elsewhere, and from the host itself.
 * A machine at this computer's own address goes without its name: no other computer knows that name, and the machine
 * may get it after its certificate.
 */
export function serverSubjectAltNames(name: string, address: string, extra: readonly string[]): readonly string[] {
  return [...new Set([address, ...extra, '127.0.0.1', 'localhost', ...(address === LOOPBACK ? [] : [name])])];
}

/** Returns those of the present certificates that a renewal keeps. */
export function certificatesToKeep({ ca, caKey }: Partial<Certificates>, renewal: RenewalScope): Partial<Certificates> {
  return renewal === 'all' || ca === undefined || caKey === undefined ? {} : { ca, caKey };
}

/**
 * Keeps the certificates that are still good and issues the others. The CA stays until it expires, so that certificates
 * which it has signed for other clients stay valid too.
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

/**
 * The X.509 library takes longer to load than everything else in a run, so it is loaded only when there is a
 * certificate to issue.
 */
function loadIssuer(): Promise<typeof import('./issue-certificates.ts')> {
  return import('./issue-certificates.ts');
}

/** Returns the days until the first of these certificates (PEM) expires; negative once it has expired. */
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

/**
 * A kill between the writes of the two files leaves an old one and a new one. A file that can't be read counts as
 * missing.
 */
function isMatchingPair(cert: string, key: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function isFresh(pem: string, now: Date): boolean {
  return daysUntilFirstExpiry([pem], now) > RENEW_DAYS;
}

function isIssuedBy(pem: string, ca: string): boolean {
  const [certificate, authority] = [new X509Certificate(pem), new X509Certificate(ca)];
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

function hasExactNames(pem: string, names: readonly string[]): boolean {
  const certificate = new X509Certificate(pem);
  const present = (certificate.subjectAltName ?? '').split(', ');
  // Addresses are compared by value, since an IPv6 address has many spellings.
  const isCovered = (name: string): boolean =>
    isIP(name) ? certificate.checkIP(name) !== undefined : present.includes(`DNS:${name}`);
  return present.length === names.length && names.every(isCovered);
}
