/** Reads and writes the keys and certificates in a machine's folder of the store. */
import { join } from 'node:path';
import { deleteFile, readFileIfExists, readTextFile, writeFileAtomic } from '../computer/files.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ClientCertificates, ExistingEngine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import {
  clientCertificatesOf,
  certificatesToKeep,
  isCertificate,
  isMatchingPair,
  renewCertificates,
  serverSubjectAltNames,
  type Certificates,
  type RenewalScope,
} from '../provision/certificates.ts';
import type { KeyPair } from '../ssh/connection.ts';
import type { MachinePaths, Store } from '../machine/store.ts';

type CertificateContext = { readonly store: Store; readonly now: () => Date };
type CreateKeyPair = (comment: string) => Promise<KeyPair>;

// --- certificates ----------------------------------------------------------------------------------------------------

/**
 * Returns the stored certificates that are still valid, and new ones in place of the others or of those to renew.
 * Writes nothing.
 */
export async function loadOrRenewCertificates(
  spec: MachineSpec,
  address: string,
  { store, now }: CertificateContext,
  renewal?: RenewalScope,
): Promise<Certificates> {
  const stored = await readStoredCertificates(store.paths(spec.name));
  return renewCertificates(renewal ? certificatesToKeep(stored, renewal) : stored, {
    name: spec.name,
    names: serverSubjectAltNames(spec.name, address, spec.engine.tlsSan),
    now: now(),
  });
}

async function readStoredCertificates({
  ca,
  serverCert,
  serverKey,
  tls,
}: MachinePaths): Promise<Partial<Certificates>> {
  const files = [
    join(ca, 'ca-key.pem'),
    join(tls, 'ca.pem'),
    serverCert,
    serverKey,
    join(tls, 'cert.pem'),
    join(tls, 'key.pem'),
  ];
  const [caKey, caCert, engineCert, engineKey, cert, key] = await Promise.all(files.map(readFileIfExists));
  return {
    ...(caCert !== undefined && caKey !== undefined ? { ca: caCert, caKey } : {}),
    ...(engineCert !== undefined && engineKey !== undefined ? { server: { cert: engineCert, key: engineKey } } : {}),
    ...(cert !== undefined && key !== undefined ? { client: { cert, key } } : {}),
  };
}

/**
 * Stores certificates. Called before they are sent to the host: a kill in between must not leave a host whose keys are
 * lost.
 */
export async function storeCertificates(certificates: Certificates, paths: MachinePaths): Promise<void> {
  await Promise.all([
    writeIfChanged(join(paths.ca, 'ca-key.pem'), certificates.caKey),
    writeIfChanged(paths.serverCert, certificates.server.cert),
    writeIfChanged(paths.serverKey, certificates.server.key),
    writeClientCertificates(clientCertificatesOf(certificates), paths),
  ]);
}

export async function writeClientCertificates(
  { ca, cert, key }: ClientCertificates,
  { tls }: MachinePaths,
): Promise<void> {
  await Promise.all([
    writeIfChanged(join(tls, 'ca.pem'), ca),
    writeIfChanged(join(tls, 'cert.pem'), cert),
    writeIfChanged(join(tls, 'key.pem'), key),
  ]);
}

async function writeIfChanged(path: string, content: string): Promise<void> {
  const current = await readFileIfExists(path);
  if (current !== content) await writeFileAtomic(path, content, 0o600);
}

/**
 * Reads the certificates with which a client reaches this machine; undefined for an engine without TLS. Throws
 * LOCAL_FILES if one of the files is missing or can't be used: `provision` creates it again.
 */
export async function loadClientCertificates(
  { spec: { name }, endpoint }: ReadyMachine,
  store: Store,
): Promise<ClientCertificates | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls } = store.paths(name);
  const files = { ca: join(tls, 'ca.pem'), cert: join(tls, 'cert.pem'), key: join(tls, 'key.pem') };
  const certificates = await readCertificateFiles(files).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw unusableCertificateError(name, `${(error as NodeJS.ErrnoException).path ?? tls} is missing`, error);
  });
  const { ca, cert, key } = certificates;
  if (!isCertificate(ca)) throw unusableCertificateError(name, `${files.ca} is not a certificate`);
  if (!isCertificate(cert)) throw unusableCertificateError(name, `${files.cert} is not a certificate`);
  if (!isMatchingPair(cert, key)) throw unusableCertificateError(name, `${files.key} is not the key of ${files.cert}`);
  return certificates;
}

function unusableCertificateError(name: string, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('LOCAL_FILES', `The client certificate of machine "${name}" can't be used: ${why}`, {
    hint: `To create it again: slipway provision ${name}`,
    cause,
  });
}

export async function readCertificateFiles(files: NonNullable<ExistingEngine['tls']>): Promise<ClientCertificates> {
  const [ca, cert, key] = await Promise.all([
    readTextFile(files.ca),
    readTextFile(files.cert),
    readTextFile(files.key),
  ]);
  return { ca, cert, key };
}

// --- SSH keys --------------------------------------------------------------------------------------------------------

const LOGIN_KEY = 'id_ed25519';
const HOST_KEY = 'host_ed25519';
/** A host key from public user data, which others may read: the first visit replaces it by the permanent one. */
const BOOTSTRAP_HOST_KEY = 'birth_ed25519';

/**
 * Returns the keys that a machine starts with: the login key, and the host key that it shows, which is the bootstrap
 * key if its user data is public. Creates them at the first call, so that every retry uses the same keys.
 */
export async function ensureFirstBootKeys(
  name: string,
  isPublic: boolean,
  { store, newKeyPair }: { readonly store: Store; readonly newKeyPair: CreateKeyPair },
): Promise<{ readonly login: KeyPair; readonly host: KeyPair }> {
  const { ssh } = store.paths(name);
  const [login, host, bootstrap] = await Promise.all([
    ensureKeyPair(ssh, LOGIN_KEY, `slipway ${name}`, newKeyPair),
    ensureKeyPair(ssh, HOST_KEY, name, newKeyPair),
    isPublic ? ensureKeyPair(ssh, BOOTSTRAP_HOST_KEY, `${name} (first visit)`, newKeyPair) : undefined,
  ]);
  return { login, host: bootstrap ?? host };
}

/**
 * Copies the login key and the bootstrap host key of one machine to its whole batch: one request has one set of keys.
 */
export async function shareFirstBootKeys(names: readonly string[], store: Store): Promise<void> {
  const folders = names.map((name) => store.paths(name).ssh);
  for (const file of [LOGIN_KEY, BOOTSTRAP_HOST_KEY]) {
    const pairs = await Promise.all(folders.map((folder) => readKeyPair(folder, file)));
    const shared = pairs.find((pair) => pair !== undefined);
    if (!shared) continue;
    await Promise.all(folders.map(async (folder, index) => pairs[index] ?? writeKeyPair(folder, file, shared)));
  }
}

/** The keys and certificates of a machine, as a spare keeps them until a create takes it. */
export type MachineKeys = { readonly login: KeyPair; readonly host: KeyPair; readonly certificates: Certificates };

/** Stores a machine's keys, replacing any others: nothing uses those yet. */
export async function storeMachineKeys({ login, host, certificates }: MachineKeys, paths: MachinePaths): Promise<void> {
  await Promise.all([
    writeKeyPair(paths.ssh, LOGIN_KEY, login),
    writeKeyPair(paths.ssh, HOST_KEY, host),
    storeCertificates(certificates, paths),
  ]);
}

export type SshIdentity = {
  readonly loginKeyFile: string;
  readonly pinnedHostKey: string | undefined;
  readonly bootstrapHostKey: string | undefined;
};

/** Returns the path of the private login key, and the host keys, as `type base64`, that the host may show. */
export async function readSshIdentity({ ssh }: MachinePaths): Promise<SshIdentity> {
  const [pinnedHostKey, bootstrapHostKey] = await Promise.all(
    [HOST_KEY, BOOTSTRAP_HOST_KEY].map(async (name) => {
      const line = await readFileIfExists(join(ssh, `${name}.pub`));
      return line === undefined ? undefined : stripKeyComment(line);
    }),
  );
  return { loginKeyFile: join(ssh, LOGIN_KEY), pinnedHostKey, bootstrapHostKey };
}

/** Reads the host key that replaces the bootstrap key. Throws LOCAL_FILES if one of its two files is missing. */
export async function readPermanentHostKey(name: string, { ssh }: MachinePaths): Promise<KeyPair> {
  const pair = await readKeyPair(ssh, HOST_KEY);
  if (pair) return pair;
  throw new SlipwayError('LOCAL_FILES', `The host key of machine "${name}" is missing: ${join(ssh, HOST_KEY)}`, {
    hint: `Restore it from a backup, or remove the machine and create it again: slipway rm ${name}`,
  });
}

/** Deletes the bootstrap host key once the host shows the permanent one, so that it is no longer accepted. */
export async function deleteBootstrapHostKey({ ssh }: MachinePaths): Promise<void> {
  for (const file of [BOOTSTRAP_HOST_KEY, `${BOOTSTRAP_HOST_KEY}.pub`]) await deleteFile(join(ssh, file));
}

async function ensureKeyPair(
  folder: string,
  name: string,
  comment: string,
  newKeyPair: CreateKeyPair,
): Promise<KeyPair> {
  const existing = await readKeyPair(folder, name);
  if (existing) return existing;
  const pair = await newKeyPair(comment);
  await writeKeyPair(folder, name, pair);
  return pair;
}

async function readKeyPair(folder: string, name: string): Promise<KeyPair | undefined> {
  const file = join(folder, name);
  const [key, line] = await Promise.all([readFileIfExists(file), readFileIfExists(`${file}.pub`)]);
  return key === undefined || line === undefined ? undefined : { private: key, public: line.trim() };
}

async function writeKeyPair(folder: string, name: string, pair: KeyPair): Promise<void> {
  const file = join(folder, name);
  // The public half last: its presence says that both halves exist.
  await writeFileAtomic(file, pair.private, 0o600);
  await writeFileAtomic(`${file}.pub`, `${pair.public}\n`, 0o600);
}

/** Returns a public key as `type base64`, without its comment. */
export function stripKeyComment(line: string): string {
  return line.trim().split(' ').slice(0, 2).join(' ');
}
