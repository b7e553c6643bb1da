/** What a machine is known by: the keys and certificates in its folder of the store. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfExists, writeFileAtomic } from '../computer/files.ts';
import type { ClientCertificates, ExistingEngine, MachineSpec, ReadyMachine } from '../machine/model.ts';
import {
  clientCertificatesOf,
  certificatesToKeep,
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

/** Those that are stored where they still serve, new ones where not, or where a renewal is asked for; nothing is written. */
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

/** Stored before the host gets its part: a kill in between must not leave a host whose keys nobody has. */
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
  const present = await readFileIfExists(path);
  if (present !== content) await writeFileAtomic(path, content, 0o600);
}

/** The certificates with which a client reaches this machine; undefined for an engine without TLS. */
export async function loadClientCertificates(
  { spec, endpoint }: ReadyMachine,
  store: Store,
): Promise<ClientCertificates | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls } = store.paths(spec.name);
  return readCertificateFiles({ ca: join(tls, 'ca.pem'), cert: join(tls, 'cert.pem'), key: join(tls, 'key.pem') });
}

export async function readCertificateFiles(files: NonNullable<ExistingEngine['tls']>): Promise<ClientCertificates> {
  const [ca, cert, key] = await Promise.all([
    readFile(files.ca, 'utf8'),
    readFile(files.cert, 'utf8'),
    readFile(files.key, 'utf8'),
  ]);
  return { ca, cert, key };
}

// --- keys of SSH -----------------------------------------------------------------------------------------------------

const LOGIN_KEY = 'id_ed25519';
const HOST_KEY = 'host_ed25519';
/** A host key that others may read on its way: it lasts until the first visit, which brings the real one. */
const BOOTSTRAP_HOST_KEY = 'birth_ed25519';

/** What a machine starts with: who may log in, and the host key that it shows. The same at every try. */
export async function ensureFirstBootKeys(
  name: string,
  readable: boolean,
  { store, newKeyPair }: { readonly store: Store; readonly newKeyPair: CreateKeyPair },
): Promise<{ readonly login: KeyPair; readonly host: KeyPair }> {
  const { ssh } = store.paths(name);
  const [login, host, birth] = await Promise.all([
    ensureKeyPair(ssh, LOGIN_KEY, `slipway ${name}`, newKeyPair),
    ensureKeyPair(ssh, HOST_KEY, name, newKeyPair),
    readable ? ensureKeyPair(ssh, BOOTSTRAP_HOST_KEY, `${name} (first visit)`, newKeyPair) : undefined,
  ]);
  return { login, host: birth ?? host };
}

/** Machines that one call makes start alike, so all of them know what one of them was to start with. */
export async function shareFirstBootKeys(names: readonly string[], store: Store): Promise<void> {
  const folders = names.map((name) => store.paths(name).ssh);
  for (const file of [LOGIN_KEY, BOOTSTRAP_HOST_KEY]) {
    const pairs = await Promise.all(folders.map((folder) => readKeyPair(folder, file)));
    const given = pairs.find((pair) => pair !== undefined);
    if (given) await Promise.all(folders.map(async (folder, at) => pairs[at] ?? writeKeyPair(folder, file, given)));
  }
}

/** What a machine is known by, as a spare keeps it until a create takes it. */
export type MachineKeys = { readonly login: KeyPair; readonly host: KeyPair; readonly certificates: Certificates };

/** In the place of whatever lies there: nothing has them yet. */
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

/** Path of the private key that logs in, and the keys as `type base64` that the host may show. */
export async function readSshIdentity({ ssh }: MachinePaths): Promise<SshIdentity> {
  const [pinnedHostKey, bootstrapHostKey] = await Promise.all(
    [HOST_KEY, BOOTSTRAP_HOST_KEY].map(async (name) => {
      const line = await readFileIfExists(join(ssh, `${name}.pub`));
      return line === undefined ? undefined : stripKeyComment(line);
    }),
  );
  return { loginKeyFile: join(ssh, LOGIN_KEY), pinnedHostKey, bootstrapHostKey };
}

/** The host key that is to replace the one of its birth. */
export async function readPermanentHostKey({ ssh }: MachinePaths): Promise<KeyPair> {
  const pair = await readKeyPair(ssh, HOST_KEY);
  if (!pair) throw new Error(`${ssh} lacks the host key that was made with the machine`);
  return pair;
}

/** The host shows its lasting key, so the other is accepted no longer. */
export async function deleteBootstrapHostKey({ ssh }: MachinePaths): Promise<void> {
  for (const file of [BOOTSTRAP_HOST_KEY, `${BOOTSTRAP_HOST_KEY}.pub`]) await rm(join(ssh, file), { force: true });
}

async function ensureKeyPair(
  folder: string,
  name: string,
  comment: string,
  newKeyPair: CreateKeyPair,
): Promise<KeyPair> {
  const kept = await readKeyPair(folder, name);
  if (kept) return kept;
  const made = await newKeyPair(comment);
  await writeKeyPair(folder, name, made);
  return made;
}

async function readKeyPair(folder: string, name: string): Promise<KeyPair | undefined> {
  const file = join(folder, name);
  const [kept, line] = await Promise.all([readFileIfExists(file), readFileIfExists(`${file}.pub`)]);
  return kept === undefined || line === undefined ? undefined : { private: kept, public: line.trim() };
}

async function writeKeyPair(folder: string, name: string, pair: KeyPair): Promise<void> {
  const file = join(folder, name);
  // The public half last: it says that both are there.
  await writeFileAtomic(file, pair.private, 0o600);
  await writeFileAtomic(`${file}.pub`, `${pair.public}\n`, 0o600);
}

/** `type base64`, without the comment. */
export function stripKeyComment(line: string): string {
  return line.trim().split(' ').slice(0, 2).join(' ');
}
