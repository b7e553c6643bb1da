import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfExists } from '../computer/files.ts';
import {
  isUsableAuthority,
  createOrRenewAuthority,
  readAuthority,
  writeMachineAuthority,
  type SharedAuthority,
} from '../operations/store-authority.ts';
import type { Store } from '../machine/store.ts';
import { readAuthorityPaths, type AuthorityOverrides, type AuthorityPaths } from './config-json/auth-options.ts';
import { withoutUndefined } from './config-json/fields.ts';

/**
 * Creates or renews the certificate authority that all machines of a store share. If several processes need it, one
 * does the work.
 */
export async function ensureAuthority(
  root: string,
  overrides: AuthorityOverrides,
  say: (line: string) => void,
  { now = () => new Date(), signal = new AbortController().signal } = {},
): Promise<SharedAuthority> {
  await mkdir(join(root, 'certs'), { recursive: true, mode: 0o700 });
  return await createOrRenewAuthority(authorityPathsFor(root, overrides), { now, signal, say });
}

/**
 * Copies the authority that signs this machine's certificates into its folder, where provisioning looks for it: the
 * authority that its config.json names, or else the store's.
 */
export async function seedMachineAuthority(
  name: string,
  store: Store,
  root: string,
  overrides: AuthorityOverrides = {},
): Promise<void> {
  const paths = store.paths(name);
  const own = await readOwnAuthorityPaths(paths.folder);
  // The host trusts the authority of its config.json already, so that one takes precedence.
  for (const files of [authorityPathsFor(root, { ...overrides, ...own }), authorityPathsFor(root, overrides)]) {
    const authority = await readAuthority(files);
    if (authority && isUsableAuthority(authority, new Date())) return await writeMachineAuthority(authority, paths);
  }
}

/**
 * Returns the key of the CA that signed the certificates of a machine of Docker Machine; undefined if it is not on this
 * computer.
 */
export async function readCaKey(name: string, store: Store, root: string): Promise<string | undefined> {
  const own = await readOwnAuthorityPaths(store.paths(name).folder);
  return (
    (await readFileIfExists(authorityPathsFor(root, own).caKey)) ??
    (await readFileIfExists(authorityPathsFor(root, {}).caKey))
  );
}

/** Returns the files that a machine's config.json names. */
async function readOwnAuthorityPaths(folder: string): Promise<AuthorityOverrides> {
  const config = await readFileIfExists(join(folder, 'config.json'));
  return config === undefined ? {} : withoutUndefined(readAuthorityPaths(config, folder));
}

function authorityPathsFor(root: string, { ca, caKey, cert, key }: AuthorityOverrides): AuthorityPaths {
  const file = (name: string): string => join(root, 'certs', name);
  return {
    ca: ca ?? file('ca.pem'),
    caKey: caKey ?? file('ca-key.pem'),
    cert: cert ?? file('cert.pem'),
    key: key ?? file('key.pem'),
  };
}
