/**
 * The certificate authority that all machines of a store share, as in Docker Machine: one client certificate is valid
 * for all of them.
 */
import { mkdir } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { readFileIfExists, renamePath, writeFileAtomic } from '../computer/files.ts';
import { SlipwayError } from '../errors.ts';
import { waitForLock } from '../computer/lock.ts';
import {
  type Certificates,
  isCertificate,
  isFresh,
  isIssuedBy,
  isMatchingPair,
  renewCertificates,
} from '../provision/certificates.ts';
import type { AuthorityPaths } from '../docker-machine/config-json/auth-options.ts';
import type { MachinePaths } from '../machine/store.ts';
import { writeClientCertificates } from './credentials.ts';

/** The CA with its key, and the client's certificate with its key, all as PEM. */
export type SharedAuthority = Pick<Certificates, 'ca' | 'caKey' | 'client'>;

type AuthorityContext = {
  readonly now: () => Date;
  readonly signal: AbortSignal;
  /** Tells the user what is created. */
  readonly say: (line: string) => void;
};

/** Returns the authority of these files; creates a missing one and renews an expired one, one process at a time. */
export async function createOrRenewAuthority(
  paths: AuthorityPaths,
  context: AuthorityContext,
): Promise<SharedAuthority> {
  const existing = await readAuthority(paths);
  if (existing && isUsableAuthority(existing, context.now())) return existing;
  const folder = dirname(paths.ca);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await using _lock = await waitForLock(folder, 'The certificate authority', {
    signal: context.signal,
    waiting: () => {},
  });
  return await renewAuthority(paths, context);
}

async function renewAuthority(paths: AuthorityPaths, { now, say }: AuthorityContext): Promise<SharedAuthority> {
  const at = now();
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readFileIfExists(path)),
  );
  const client = cert !== undefined && key !== undefined ? { cert, key } : undefined;
  // Another process may have created it while this one waited.
  if (ca !== undefined && caKey !== undefined && client && isUsableAuthority({ ca, caKey, client }, at))
    return { ca, caKey, client };
  if (ca !== undefined && !isCertificate(ca)) throw brokenCaError(paths);
  if (ca !== undefined && isFresh(ca, at) && (caKey === undefined || !isMatchingPair(ca, caKey)))
    throw missingCaKeyError(paths, caKey);
  const reusable = ca !== undefined && caKey !== undefined && isFresh(ca, at) ? { ca, caKey } : {};
  if (ca !== undefined && !isFresh(ca, at)) say('CA certificate is outdated and needs to be regenerated');
  if (reusable.ca === undefined) say(`Creating CA: ${paths.ca}`);
  say(`Creating client certificate: ${paths.cert}`);
  const renewed = await renewCertificates(reusable, { name: userName(), names: [], now: at });
  // A key without its certificate comes from a killed run, or its certificate is lost: it is set aside, not deleted.
  if (caKey !== undefined && caKey !== renewed.caKey) await renamePath(paths.caKey, `${paths.caKey}.old`);
  // The certificates last: their presence says that the keys exist.
  if (caKey !== renewed.caKey) await writeFileAtomic(paths.caKey, renewed.caKey, 0o600);
  if (ca !== renewed.ca) await writeFileAtomic(paths.ca, renewed.ca, 0o644);
  await writeFileAtomic(paths.key, renewed.client.key, 0o600);
  await writeFileAtomic(paths.cert, renewed.client.cert, 0o644);
  return { ca: renewed.ca, caKey: renewed.caKey, client: renewed.client };
}

function missingCaKeyError({ ca, caKey }: AuthorityPaths, found: string | undefined): SlipwayError {
  return new SlipwayError(
    'LOCAL_FILES',
    found === undefined ? `The key of the CA ${ca} is missing: ${caKey}` : `${caKey} is not the key of the CA ${ca}`,
    { hint: `Restore the key. ${removeCaHint(ca)}` },
  );
}

function brokenCaError({ ca }: AuthorityPaths): SlipwayError {
  return new SlipwayError('LOCAL_FILES', `${ca} is not a certificate`, { hint: `Restore it. ${removeCaHint(ca)}` });
}

function removeCaHint(ca: string): string {
  return `Or remove the CA: rm ${ca}. A new one is created, and its machines have to be provisioned again`;
}

/** Reads the authority from these files; undefined if one of them is missing. */
export async function readAuthority(paths: AuthorityPaths): Promise<SharedAuthority | undefined> {
  const [ca, caKey, cert, key] = await Promise.all(
    [paths.ca, paths.caKey, paths.cert, paths.key].map((path) => readFileIfExists(path)),
  );
  if (ca === undefined || caKey === undefined || cert === undefined || key === undefined) return undefined;
  return { ca, caKey, client: { cert, key } };
}

/** Writes this authority into a machine's folder, as the CA of its certificates; identical files are not rewritten. */
export async function writeMachineAuthority(
  { ca, caKey, client }: SharedAuthority,
  paths: MachinePaths,
): Promise<void> {
  const file = join(paths.ca, 'ca-key.pem');
  if ((await readFileIfExists(file)) !== caKey) await writeFileAtomic(file, caKey, 0o600);
  await writeClientCertificates({ ca, ...client }, paths);
}

/** Returns whether an authority's keys match, and its certificates are valid for long enough. */
export function isUsableAuthority({ ca, caKey, client }: SharedAuthority, now: Date): boolean {
  return (
    isMatchingPair(ca, caKey) &&
    isFresh(ca, now) &&
    isMatchingPair(client.cert, client.key) &&
    isFresh(client.cert, now) &&
    isIssuedBy(client.cert, ca)
  );
}

/** Returns the name for the CA's subject. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry in the system's files, as in containers.
    return 'unknown';
  }
}
