import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

const DAY_MS = 24 * 60 * 60 * 1000;
const CA_DAYS = 3650;
const LEAF_DAYS = 730;
/** How far certificates are backdated, so that a host with a slow clock accepts them. */
const BACKDATE_MS = 60 * 60 * 1000;

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const { subtle } = webcrypto;

/** A CA that can sign. `pem` and `keyPem` are PEM; the key is PKCS #8 if Slipway created it. */
export type SigningAuthority = {
  readonly pem: string;
  readonly keyPem: string;
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
};

export type LeafRequest = {
  readonly as: 'server' | 'client';
  readonly name: string;
  /** The DNS names and IP addresses of a server. */
  readonly names: readonly string[];
  readonly now: Date;
};

/** Creates a CA for the machine with this name. */
export async function createAuthority(name: string, now: Date): Promise<SigningAuthority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ O: ['Slipway'] }, { CN: [`${name} CA`] }],
    keys,
    signingAlgorithm: ECDSA,
    ...validity(now, CA_DAYS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    pem: `${certificate.toString('pem')}\n`,
    keyPem: await keyToPem(keys.privateKey),
    certificate,
    key: keys.privateKey,
  };
}

/** Loads a CA from PEM. Docker Machine's CAs are RSA, with keys in PKCS #1 or PKCS #8. */
export async function loadAuthority(pem: string, keyPem: string): Promise<SigningAuthority> {
  const privateKey = createPrivateKey(keyPem);
  const der = privateKey.export({ type: 'pkcs8', format: 'der' });
  const algorithm = privateKey.asymmetricKeyType === 'rsa' ? RSA : ECDSA;
  const key = await subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
  return { pem, keyPem, certificate: new x509.X509Certificate(pem), key };
}

/** Issues a certificate with a new key, both PEM. */
export async function issueCertificate(
  authority: SigningAuthority,
  { as, name, names, now }: LeafRequest,
): Promise<{ readonly cert: string; readonly key: string }> {
  const keys = await generateKeys();
  const usage = as === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
  const alternative = names.map((text) => ({ type: isIP(text) ? ('ip' as const) : ('dns' as const), value: text }));
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ O: ['Slipway'] }, { CN: [as === 'server' ? name : `${name} client`] }],
    // Copies the encoded name instead of its text: an engine compares issuer names byte for byte.
    issuer: authority.certificate.subjectName,
    publicKey: keys.publicKey,
    signingKey: authority.key,
    signingAlgorithm: authority.key.algorithm.name === RSA.name ? RSA : ECDSA,
    ...validity(now, LEAF_DAYS),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([usage], false),
      ...(alternative.length > 0 ? [new x509.SubjectAlternativeNameExtension(alternative)] : []),
      await authorityKeyIdOf(authority),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: await keyToPem(keys.privateKey) };
}

/** Returns the CA's own key identifier, which the tool that created the CA may have derived in another way. */
async function authorityKeyIdOf({ certificate }: SigningAuthority): Promise<x509.Extension> {
  const subjectKeyId = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
  return subjectKeyId
    ? new x509.AuthorityKeyIdentifierExtension(subjectKeyId.keyId)
    : await x509.AuthorityKeyIdentifierExtension.create(certificate.publicKey);
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await subtle.generateKey(ECDSA, true, ['sign', 'verify']);
}

async function keyToPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;
}

function validity(now: Date, days: number): { readonly notBefore: Date; readonly notAfter: Date } {
  return {
    notBefore: new Date(now.getTime() - BACKDATE_MS),
    notAfter: new Date(now.getTime() + days * DAY_MS),
  };
}
