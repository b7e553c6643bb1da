/** What a machine is known by: the keys and certificates in its folder of the store. */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfThere, writeWhole } from '../computer/files.ts';
import type { ClientCertificates, ExistingEngine, MachineSpec, Ready } from '../machine/model.ts';
import {
  clientPart,
  keptIn,
  renewCertificates,
  serverNames,
  type Certificates,
  type Renewal,
} from '../provision/certificates.ts';
import type { KeyPair } from '../ssh/connection.ts';
import type { MachinePaths, Store } from '../machine/store.ts';

type Keeping = { readonly store: Store; readonly now: () => Date };
type MakeKeyPair = (comment: string) => Promise<KeyPair>;

// --- certificates ----------------------------------------------------------------------------------------------------

/** Those that are stored where they still serve, new ones where not, or where a renewal is asked for; nothing is written. */
export async function makeCertificates(
  spec: MachineSpec,
  address: string,
  { store, now }: Keeping,
  renewal?: Renewal,
): Promise<Certificates> {
  const stored = await storedCertificates(store.paths(spec.name));
  return renewCertificates(renewal ? keptIn(stored, renewal) : stored, {
    name: spec.name,
    names: serverNames(spec.name, address, spec.engine.tlsSan),
    now: now(),
  });
}

async function storedCertificates({ ca, serverCert, serverKey, tls }: MachinePaths): Promise<Partial<Certificates>> {
  const files = [
    join(ca, 'ca-key.pem'),
    join(tls, 'ca.pem'),
    serverCert,
    serverKey,
    join(tls, 'cert.pem'),
    join(tls, 'key.pem'),
  ];
  const [caKey, caCert, engineCert, engineKey, cert, key] = await Promise.all(files.map(readIfThere));
  return {
    ...(caCert !== undefined && caKey !== undefined ? { ca: caCert, caKey } : {}),
    ...(engineCert !== undefined && engineKey !== undefined ? { server: { cert: engineCert, key: engineKey } } : {}),
    ...(cert !== undefined && key !== undefined ? { client: { cert, key } } : {}),
  };
}

/** Stored before the host gets its part: a kill in between must not leave a host whose keys nobody has. */
export async function storeCertificates(certificates: Certificates, paths: MachinePaths): Promise<void> {
  await Promise.all([
    writeIfNew(join(paths.ca, 'ca-key.pem'), certificates.caKey),
    writeIfNew(paths.serverCert, certificates.server.cert),
    writeIfNew(paths.serverKey, certificates.server.key),
    writeClientPart(clientPart(certificates), paths),
  ]);
}

export async function writeClientPart({ ca, cert, key }: ClientCertificates, { tls }: MachinePaths): Promise<void> {
  await Promise.all([
    writeIfNew(join(tls, 'ca.pem'), ca),
    writeIfNew(join(tls, 'cert.pem'), cert),
    writeIfNew(join(tls, 'key.pem'), key),
  ]);
}

async function writeIfNew(path: string, content: string): Promise<void> {
  const present = await readIfThere(path);
  if (present !== content) await writeWhole(path, content, 0o600);
}

/** The certificates with which a client reaches this machine; undefined for an engine without TLS. */
export async function clientCertificates(
  { spec, endpoint }: Ready,
  store: Store,
): Promise<ClientCertificates | undefined> {
  if (!endpoint.tls) return undefined;
  const { tls } = store.paths(spec.name);
  return readCertificates({ ca: join(tls, 'ca.pem'), cert: join(tls, 'cert.pem'), key: join(tls, 'key.pem') });
}

export async function readCertificates(files: NonNullable<ExistingEngine['tls']>): Promise<ClientCertificates> {
  const [ca, cert, key] = await Promise.all([
    readFile(files.ca, 'utf8'),
    readFile(files.cert, 'utf8'),
    readFile(files.key, 'utf8'),
  ]);
  return { ca, cert, key };
}

// --- keys of SSH -----------------------------------------------------------------------------------------------------

const LOGIN = 'id_ed25519';
const HOST = 'host_ed25519';
/** A host key that others may read on its way: it lasts until the first visit, which brings the real one. */
const BIRTH = 'birth_ed25519';

/** What a machine starts with: who may log in, and the host key that it shows. The same at every try. */
export async function firstKeys(
  name: string,
  readable: boolean,
  { store, newKeyPair }: { readonly store: Store; readonly newKeyPair: MakeKeyPair },
): Promise<{ readonly login: KeyPair; readonly host: KeyPair }> {
  const { ssh } = store.paths(name);
  const [login, host, birth] = await Promise.all([
    keyPair(ssh, LOGIN, `slipway ${name}`, newKeyPair),
    keyPair(ssh, HOST, name, newKeyPair),
    readable ? keyPair(ssh, BIRTH, `${name} (first visit)`, newKeyPair) : undefined,
  ]);
  return { login, host: birth ?? host };
}

/** Machines that one call makes start alike, so all of them know what one of them was to start with. */
export async function shareFirstKeys(names: readonly string[], store: Store): Promise<void> {
  const folders = names.map((name) => store.paths(name).ssh);
  for (const file of [LOGIN, BIRTH]) {
    const pairs = await Promise.all(folders.map((folder) => storedPair(folder, file)));
    const given = pairs.find((pair) => pair !== undefined);
    if (given) await Promise.all(folders.map(async (folder, at) => pairs[at] ?? storePair(folder, file, given)));
  }
}

/** What a machine is known by, as a spare keeps it until a create takes it. */
export type Keys = { readonly login: KeyPair; readonly host: KeyPair; readonly certificates: Certificates };

/** In the place of whatever lies there: nothing has them yet. */
export async function storeKeys({ login, host, certificates }: Keys, paths: MachinePaths): Promise<void> {
  await Promise.all([
    storePair(paths.ssh, LOGIN, login),
    storePair(paths.ssh, HOST, host),
    storeCertificates(certificates, paths),
  ]);
}

export type HostKeys = {
  readonly login: string;
  readonly pinned: string | undefined;
  readonly birth: string | undefined;
};

/** Path of the private key that logs in, and the keys as `type base64` that the host may show. */
export async function hostKeysOf({ ssh }: MachinePaths): Promise<HostKeys> {
  const [pinned, birth] = await Promise.all(
    [HOST, BIRTH].map(async (name) => {
      const line = await readIfThere(join(ssh, `${name}.pub`));
      return line === undefined ? undefined : pinOf(line);
    }),
  );
  return { login: join(ssh, LOGIN), pinned, birth };
}

/** The host key that is to replace the one of its birth. */
export async function lastingHostKey({ ssh }: MachinePaths): Promise<KeyPair> {
  const pair = await storedPair(ssh, HOST);
  if (!pair) throw new Error(`${ssh} lacks the host key that was made with the machine`);
  return pair;
}

/** The host shows its lasting key, so the other is accepted no longer. */
export async function hostKeyReplaced({ ssh }: MachinePaths): Promise<void> {
  for (const file of [BIRTH, `${BIRTH}.pub`]) await rm(join(ssh, file), { force: true });
}

async function keyPair(folder: string, name: string, comment: string, newKeyPair: MakeKeyPair): Promise<KeyPair> {
  const kept = await storedPair(folder, name);
  if (kept) return kept;
  const made = await newKeyPair(comment);
  await storePair(folder, name, made);
  return made;
}

async function storedPair(folder: string, name: string): Promise<KeyPair | undefined> {
  const file = join(folder, name);
  const [kept, line] = await Promise.all([readIfThere(file), readIfThere(`${file}.pub`)]);
  return kept === undefined || line === undefined ? undefined : { private: kept, public: line.trim() };
}

async function storePair(folder: string, name: string, pair: KeyPair): Promise<void> {
  const file = join(folder, name);
  // The public half last: it says that both are there.
  await writeWhole(file, pair.private, 0o600);
  await writeWhole(`${file}.pub`, `${pair.public}\n`, 0o600);
}

/** `type base64`, without the comment. */
export function pinOf(line: string): string {
  return line.trim().split(' ').slice(0, 2).join(' ');
}
