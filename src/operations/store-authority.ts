/** The certificate authority of a whole store of machines, as the old tool has it: one client certificate opens all of them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { readIfThere, writeWhole } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { waitForLock } from '../computer/lock.ts';
import { daysLeft, RENEW_DAYS, renewCertificates, type Certificates } from '../provision/certificates.ts';
import type { AuthorityPaths } from '../profiles/docker-machine.ts';
import type { MachinePaths } from '../machine/store.ts';
import { writeClientPart } from './credentials.ts';

/** The CA with its key, and the client's pair. All PEM. */
export type Authority = Pick<Certificates, 'ca' | 'caKey' | 'client'>;

type Side = {
  readonly now: () => Date;
  readonly signal: AbortSignal;
  /** What is made, for the user to see. */
  readonly say: (line: string) => void;
};

/** The authority of these files, made where there is none and renewed where it has come to its end. By one process at a time. */
export async function keepAuthority(paths: AuthorityPaths, side: Side): Promise<Authority> {
  const there = await readAuthority(paths);
  if (there && isGood(there, side.now())) return there;
  const folder = dirname(paths.ca);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await using _lock = await waitForLock(folder, 'certs', { signal: side.signal, waiting: () => {} });
  return await renewed(paths, side);
}

async function renewed(paths: AuthorityPaths, { now, say }: Side): Promise<Authority> {
  const at = now();
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readIfThere(path)),
  );
  const client = cert !== undefined && key !== undefined ? { cert, key } : undefined;
  // Another process may have made it while this one waited.
  if (ca !== undefined && caKey !== undefined && client && isGood({ ca, caKey, client }, at))
    return { ca, caKey, client };
  if (ca !== undefined && isFresh(ca, at) && (caKey === undefined || !isPair(ca, caKey)))
    throw withoutKey(paths, caKey);
  const kept = ca !== undefined && caKey !== undefined && isFresh(ca, at) ? { ca, caKey } : {};
  if (ca !== undefined && !isFresh(ca, at)) say('CA certificate is outdated and needs to be regenerated');
  if (kept.ca === undefined) say(`Creating CA: ${paths.ca}`);
  say(`Creating client certificate: ${paths.cert}`);
  const made = await renewCertificates(kept, { name: userName(), names: [], now: at });
  // A key without its certificate is of a run that was killed, or of somebody who has lost that: it is nobody's to throw away.
  if (caKey !== undefined && caKey !== made.caKey) await rename(paths.caKey, `${paths.caKey}.old`);
  // The certificates last: they say that the keys are there.
  if (caKey !== made.caKey) await writeWhole(paths.caKey, made.caKey, 0o600);
  if (ca !== made.ca) await writeWhole(paths.ca, made.ca, 0o644);
  await writeWhole(paths.key, made.client.key, 0o600);
  await writeWhole(paths.cert, made.client.cert, 0o644);
  return { ca: made.ca, caKey: made.caKey, client: made.client };
}

function withoutKey({ ca, caKey }: AuthorityPaths, found: string | undefined): SlipwayError {
  return new SlipwayError(
    'LOCAL_FILES',
    found === undefined ? `The key of the CA ${ca} is missing: ${caKey}` : `${caKey} is not the key of the CA ${ca}`,
    {
      hint: 'Put it back, or take the CA away: a new one is made then, and machines of the old one are to be provisioned anew',
    },
  );
}

/** What lies in these files; undefined where one of them is missing. */
export async function readAuthority(paths: AuthorityPaths): Promise<Authority | undefined> {
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readIfThere(path)),
  );
  if (ca === undefined || caKey === undefined || cert === undefined || key === undefined) return undefined;
  return { ca, caKey, client: { cert, key } };
}

/** A machine's certificates come of this authority from now on; what it has of it already stays. */
export async function seedAuthority({ ca, caKey, client }: Authority, paths: MachinePaths): Promise<void> {
  const file = join(paths.ca, 'ca-key.pem');
  if ((await readIfThere(file)) !== caKey) await writeWhole(file, caKey, 0o600);
  await writeClientPart({ ca, ...client }, paths);
}

export function isGood({ ca, caKey, client }: Authority, now: Date): boolean {
  return (
    isPair(ca, caKey) &&
    isFresh(ca, now) &&
    isPair(client.cert, client.key) &&
    isFresh(client.cert, now) &&
    isOf(client.cert, ca)
  );
}

function isPair(cert: string, key: string): boolean {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    // What can't be read is as good as absent.
    return false;
  }
}

function isFresh(cert: string, now: Date): boolean {
  try {
    return daysLeft([cert], now) > RENEW_DAYS;
  } catch {
    return false;
  }
}

function isOf(cert: string, ca: string): boolean {
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
