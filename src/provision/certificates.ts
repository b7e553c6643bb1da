import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { ClientCertificates } from '../machine/model.ts';
import type { ServerCertificates } from './engine-files.ts';

/** All that a machine's TLS needs. Every value is PEM; keys are PKCS #8. */
export type Certificates = {
  readonly ca: string;
  readonly caKey: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
};

/** What is made anew though it would still serve: what the CA has signed, or the CA as well. */
export type RenewalScope = 'leaves' | 'all';

const DAY_MS = 24 * 60 * 60 * 1000;
const CA_DAYS = 3650;
const LEAF_DAYS = 730;
/** `ls` warns, and `provision` renews, this long before an expiry. */
export const RENEW_DAYS = 30;
/** Hosts whose clock is behind ours would otherwise call a fresh certificate not yet valid. */
const BACKDATE_MS = 60 * 60 * 1000;

/**
 * The names of the engine's certificate: how clients call it from elsewhere, and from the host itself. Of a machine that is reached at
 * this computer's own address nobody elsewhere knows the name, and it may get its name after its certificate.
 */
export function serverSubjectAltNames(name: string, address: string, more: readonly string[]): readonly string[] {
  return [...new Set([address, ...more, '127.0.0.1', 'localhost', ...(address === LOOPBACK ? [] : [name])])];
}

/** Where machines of this computer's own are reached. */
export const LOOPBACK = '127.0.0.1';

/** What a renewal leaves of those that are there. */
export function certificatesToKeep({ ca, caKey }: Partial<Certificates>, renewal: RenewalScope): Partial<Certificates> {
  return renewal === 'all' || ca === undefined || caKey === undefined ? {} : { ca, caKey };
}

/** Keeps what is still good, issues the rest. The CA stays as long as it lives, so other clients' certificates do too. */
export async function renewCertificates(
  kept: Partial<Certificates>,
  { name, names, now }: { readonly name: string; readonly names: readonly string[]; readonly now: Date },
): Promise<Certificates> {
  const { ca, caKey, server, client } = kept;
  if (ca !== undefined && caKey !== undefined && isMatchingPair(ca, caKey) && isFresh(ca, now)) {
    const serverGood =
      server &&
      isMatchingPair(server.cert, server.key) &&
      isFresh(server.cert, now) &&
      isIssuedBy(server.cert, ca) &&
      hasExactNames(server.cert, names);
    const clientGood =
      client && isMatchingPair(client.cert, client.key) && isFresh(client.cert, now) && isIssuedBy(client.cert, ca);
    if (serverGood && clientGood) return { ca, caKey, server, client };
    const { loadAuthority, issue } = await loadIssuer();
    const authority = await loadAuthority(ca, caKey);
    return {
      ca,
      caKey,
      server: serverGood ? server : await issue(authority, { as: 'server', name, names, now }),
      client: clientGood ? client : await issue(authority, { as: 'client', name, names: [], now }),
    };
  }
  const { makeAuthority, issue } = await loadIssuer();
  const authority = await makeAuthority(name, now);
  const [newServer, newClient] = await Promise.all([
    issue(authority, { as: 'server', name, names, now }),
    issue(authority, { as: 'client', name, names: [], now }),
  ]);
  return { ca: authority.pem, caKey: authority.keyPem, server: newServer, client: newClient };
}

/** The days until the first of the certificates that matter to a connection expires. */
export function daysUntilFirstExpiry(certificates: readonly string[], now: Date): number {
  const ends = certificates.map((pem) => Date.parse(new X509Certificate(pem).validTo));
  return Math.floor((Math.min(...ends) - now.getTime()) / DAY_MS);
}

export function serverCertificatesOf({ ca, server }: Certificates): ServerCertificates {
  return { ca, ...server };
}

export function clientCertificatesOf({ ca, client }: Certificates): ClientCertificates {
  return { ca, ...client };
}

/** Two files, so a kill can leave one old and one new; and what can't be read is as good as absent. */
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
  // Addresses are compared by value, since an IPv6 one has many spellings.
  const covered = (name: string): boolean =>
    isIP(name) ? certificate.checkIP(name) !== undefined : present.includes(`DNS:${name}`);
  return present.length === names.length && names.every(covered);
}

type SigningAuthority = {
  readonly pem: string;
  readonly keyPem: string;
  readonly certificate: import('@peculiar/x509').X509Certificate;
  readonly key: webcrypto.CryptoKey;
};
type LeafRequest = {
  readonly as: 'server' | 'client';
  readonly name: string;
  readonly names: readonly string[];
  readonly now: Date;
};

/** The X.509 library takes longer to load than all else that a run does, so it loads only when there is something to issue. */
async function loadIssuer() {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const { subtle } = webcrypto;

  const newKeys = async (): Promise<webcrypto.CryptoKeyPair> => subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const keyPem = async (key: webcrypto.CryptoKey): Promise<string> =>
    `${x509.PemConverter.encode(await subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
  const validity = (now: Date, days: number): { notBefore: Date; notAfter: Date } => ({
    notBefore: new Date(now.getTime() - BACKDATE_MS),
    notAfter: new Date(now.getTime() + days * DAY_MS),
  });

  async function makeAuthority(name: string, now: Date): Promise<SigningAuthority> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: [{ O: ['Slipway'] }, { CN: [`${name} CA`] }],
      keys,
      signingAlgorithm: algorithm,
      ...validity(now, CA_DAYS),
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return {
      pem: `${certificate.toString('pem')}\n`,
      keyPem: await keyPem(keys.privateKey),
      certificate,
      key: keys.privateKey,
    };
  }

  /** Docker Machine's are of RSA, and their key is PKCS #1 as often as PKCS #8. */
  async function loadAuthority(pem: string, caKey: string): Promise<SigningAuthority> {
    const read = createPrivateKey(caKey);
    const der = read.export({ type: 'pkcs8', format: 'der' });
    const signing = read.asymmetricKeyType === 'rsa' ? rsa : algorithm;
    const key = await subtle.importKey('pkcs8', der, signing, false, ['sign']);
    return { pem, keyPem: caKey, certificate: new x509.X509Certificate(pem), key };
  }

  /** As the CA itself says: its own tool may have derived it otherwise. */
  async function authorityKeyOf({ certificate }: SigningAuthority): Promise<import('@peculiar/x509').Extension> {
    const said = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
    return said
      ? new x509.AuthorityKeyIdentifierExtension(said.keyId)
      : await x509.AuthorityKeyIdentifierExtension.create(certificate.publicKey);
  }

  async function issue(
    authority: SigningAuthority,
    { as, name, names, now }: LeafRequest,
  ): Promise<{ cert: string; key: string }> {
    const keys = await newKeys();
    const usage = as === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
    const alternative = names.map((text) => ({ type: isIP(text) ? ('ip' as const) : ('dns' as const), value: text }));
    const certificate = await x509.X509CertificateGenerator.create({
      subject: [{ O: ['Slipway'] }, { CN: [as === 'server' ? name : `${name} client`] }],
      // Not its text: an engine wants the issuer's name byte for byte.
      issuer: authority.certificate.subjectName,
      publicKey: keys.publicKey,
      signingKey: authority.key,
      signingAlgorithm: authority.key.algorithm.name === rsa.name ? rsa : algorithm,
      ...validity(now, LEAF_DAYS),
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage], false),
        ...(alternative.length > 0 ? [new x509.SubjectAlternativeNameExtension(alternative)] : []),
        await authorityKeyOf(authority),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { cert: `${certificate.toString('pem')}\n`, key: await keyPem(keys.privateKey) };
  }

  return { makeAuthority, loadAuthority, issue };
}
