import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfThere } from '../computer/files.ts';
import { isGood, keepAuthority, readAuthority, seedAuthority, type Authority } from '../operations/store-authority.ts';
import type { AuthorityPaths, Overrides } from '../profiles/docker-machine.ts';
import type { Store } from '../machine/store.ts';
import { authorityOf } from './foreign.ts';

/** The authority that a store of the old tool has for all its machines: there when this returns, whoever else begins at the same time. */
export async function bootstrap(
  root: string,
  overrides: Overrides,
  say: (line: string) => void,
  { now = () => new Date(), signal = new AbortController().signal } = {},
): Promise<Authority> {
  await mkdir(join(root, 'certs'), { recursive: true, mode: 0o700 });
  return await keepAuthority(filesIn(root, overrides), { now, signal, say });
}

/**
 * Brings the authority that signs for this machine to where its certificates are made: the one that its config.json names, else the
 * store's. A machine that has one of its own keeps it.
 */
export async function seed(name: string, store: Store, root: string, overrides: Overrides = {}): Promise<void> {
  const paths = store.paths(name);
  const config = await readIfThere(join(paths.folder, 'config.json'));
  const own = config === undefined ? {} : named(authorityOf(config, paths.folder));
  // First the one that its host trusts already.
  for (const files of [filesIn(root, { ...overrides, ...own }), filesIn(root, overrides)]) {
    const authority = await readAuthority(files);
    if (authority && isGood(authority, new Date())) return await seedAuthority(authority, paths);
  }
}

/** The key of the CA that has signed for a machine of the old tool; undefined where it is not here. */
export async function caKeyOf(name: string, store: Store, root: string): Promise<string | undefined> {
  const config = await readIfThere(join(store.paths(name).folder, 'config.json'));
  const own = config === undefined ? {} : named(authorityOf(config, store.paths(name).folder));
  return (await readIfThere(filesIn(root, own).caKey)) ?? (await readIfThere(filesIn(root, {}).caKey));
}

function named(overrides: Overrides): Overrides {
  return Object.fromEntries(Object.entries(overrides).filter(([, path]) => path !== undefined));
}

function filesIn(root: string, { ca, caKey, cert, key }: Overrides): AuthorityPaths {
  const file = (name: string): string => join(root, 'certs', name);
  return {
    ca: ca ?? file('ca.pem'),
    caKey: caKey ?? file('ca-key.pem'),
    cert: cert ?? file('cert.pem'),
    key: key ?? file('key.pem'),
  };
}
