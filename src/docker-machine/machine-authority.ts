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

/** The authority that a store of the old tool has for all its machines: there when this returns, whoever else begins at the same time. */
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
 * Brings the authority that signs for this machine to where its certificates are made: the one that its config.json names, else the
 * store's. A machine that has one of its own keeps it.
 */
export async function seedMachineAuthority(
  name: string,
  store: Store,
  root: string,
  overrides: AuthorityOverrides = {},
): Promise<void> {
  const paths = store.paths(name);
  const config = await readFileIfExists(join(paths.folder, 'config.json'));
  const own = config === undefined ? {} : withoutUndefined(readAuthorityPaths(config, paths.folder));
  // First the one that its host trusts already.
  for (const files of [authorityPathsFor(root, { ...overrides, ...own }), authorityPathsFor(root, overrides)]) {
    const authority = await readAuthority(files);
    if (authority && isUsableAuthority(authority, new Date())) return await writeMachineAuthority(authority, paths);
  }
}

/** The key of the CA that has signed for a machine of the old tool; undefined where it is not here. */
export async function readCaKey(name: string, store: Store, root: string): Promise<string | undefined> {
  const config = await readFileIfExists(join(store.paths(name).folder, 'config.json'));
  const own = config === undefined ? {} : withoutUndefined(readAuthorityPaths(config, store.paths(name).folder));
  return (
    (await readFileIfExists(authorityPathsFor(root, own).caKey)) ??
    (await readFileIfExists(authorityPathsFor(root, {}).caKey))
  );
}

function withoutUndefined(overrides: AuthorityOverrides): AuthorityOverrides {
  return Object.fromEntries(Object.entries(overrides).filter(([, path]) => path !== undefined));
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
