/** The certificate authority of a whole store of machines, as the old tool has it: one client certificate opens all of them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { waitForLock } from '../computer/lock.ts';
import { daysUntilFirstExpiry, RENEW_DAYS, renewCertificates, type Certificates } from '../provision/certificates.ts';
import type { AuthorityPaths } from '../docker-machine/config-json/auth-options.ts';
import type { MachinePaths } from '../machine/store.ts';
import { writeClientCertificates } from './credentials.ts';

/** The CA with its key, and the client's pair. All PEM. */
export type SharedAuthority = Pick<Certificates, 'ca' | 'caKey' | 'client'>;

type AuthorityContext = {
  readonly now: () => Date;
  readonly signal: AbortSignal;
  /** What is made, for the user to see. */
  readonly say: (line: string) => void;
};

/** The authority of these files, made where there is none and renewed where it has come to its end. By one process at a time. */
export async function createOrRenewAuthority(paths: AuthorityPaths, side: AuthorityContext): Promise<SharedAuthority> {
  const there = await readAuthority(paths);
  if (there && isUsableAuthority(there, side.now())) return there;
  const folder = dirname(paths.ca);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await using _lock = await waitForLock(folder, 'The certificate authority', {
    signal: side.signal,
    waiting: () => {},
  });
  return await renewAuthority(paths, side);
}

async function renewAuthority(paths: AuthorityPaths, { now, say }: AuthorityContext): Promise<SharedAuthority> {
  const at = now();
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readFileIfExists(path)),
  );
  const client = cert !== undefined && key !== undefined ? { cert, key } : undefined;
  // Another process may have made it while this one waited.
  if (ca !== undefined && caKey !== undefined && client && isUsableAuthority({ ca, caKey, client }, at))
    return { ca, caKey, client };
  if (ca !== undefined && isFresh(ca, at) && (caKey === undefined || !isMatchingPair(ca, caKey)))
    throw missingCaKeyError(paths, caKey);
  const kept = ca !== undefined && caKey !== undefined && isFresh(ca, at) ? { ca, caKey } : {};
  if (ca !== undefined && !isFresh(ca, at)) say('CA certificate is outdated and needs to be regenerated');
  if (kept.ca === undefined) say(`Creating CA: ${paths.ca}`);
  say(`Creating client certificate: ${paths.cert}`);
  const made = await renewCertificates(kept, { name: userName(), names: [], now: at });
  // A key without its certificate is of a run that was killed, or of somebody who has lost that: it is nobody's to throw away.
  if (caKey !== undefined && caKey !== made.caKey) await rename(paths.caKey, `${paths.caKey}.old`);
  // The certificates last: they say that the keys are there.
  if (caKey !== made.caKey) await writeFileAtomic(paths.caKey, made.caKey, 0o600);
  if (ca !== made.ca) await writeFileAtomic(paths.ca, made.ca, 0o644);
  await writeFileAtomic(paths.key, made.client.key, 0o600);
  await writeFileAtomic(paths.cert, made.client.cert, 0o644);
  return { ca: made.ca, caKey: made.caKey, client: made.client };
}

function missingCaKeyError({ ca, caKey }: AuthorityPaths, found: string | undefined): SlipwayError {
  return new SlipwayError(
    'LOCAL_FILES',
    found === undefined ? `The key of the CA ${ca} is missing: ${caKey}` : `${caKey} is not the key of the CA ${ca}`,
    {
      hint: 'Put it back, or take the CA away: a new one is made then, and machines of the old one are to be provisioned anew',
    },
  );
}

/** What lies in these files; undefined where one of them is missing. */
export async function readAuthority(paths: AuthorityPaths): Promise<SharedAuthority | undefined> {
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readFileIfExists(path)),
  );
  if (ca === undefined || caKey === undefined || cert === undefined || key === undefined) return undefined;
  return { ca, caKey, client: { cert, key } };
}

/** A machine's certificates come of this authority from now on; what it has of it already stays. */
export async function writeMachineAuthority(
  { ca, caKey, client }: SharedAuthority,
  paths: MachinePaths,
): Promise<void> {
  const file = join(paths.ca, 'ca-key.pem');
  if ((await readFileIfExists(file)) !== caKey) await writeFileAtomic(file, caKey, 0o600);
  await writeClientCertificates({ ca, ...client }, paths);
}

export function isUsableAuthority({ ca, caKey, client }: SharedAuthority, now: Date): boolean {
  return (
    isMatchingPair(ca, caKey) &&
    isFresh(ca, now) &&
    isMatchingPair(client.cert, client.key) &&
    isFresh(client.cert, now) &&
    isIssuedBy(client.cert, ca)
  );
}

function isMatchingPair(cert: string, key: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    // What can't be read is as good as absent.
    return false;
  }
}

function isFresh(cert: string, now: Date): boolean {
  try {
    return daysUntilFirstExpiry([cert], now) > RENEW_DAYS;
  } catch {
    return false;
  }
}

function isIssuedBy(cert: string, ca: string): boolean {
  const authority = new X509Certificate(ca);
  const certificate = new X509Certificate(cert);
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

/** Whose CA it is. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id that no system file knows, as in containers.
    return 'unknown';
  }
}
