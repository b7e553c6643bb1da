import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureAuthority, seedMachineAuthority } from '../../src/docker-machine/machine-authority.ts';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';

const DAY = 24 * 60 * 60 * 1000;

test('creates one authority for a store, and keeps it', async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const said: string[] = [];
  const made = await ensureAuthority(root, {}, (line) => said.push(line));
  const file = (name: string): string => join(root, 'certs', name);
  expect(said).toEqual([`Creating CA: ${file('ca.pem')}`, `Creating client certificate: ${file('cert.pem')}`]);
  const modes = await Promise.all(
    ['', 'ca-key.pem', 'key.pem', 'ca.pem'].map(async (name) => (await stat(file(name))).mode),
  );
  expect(modes.map((mode) => (mode & 0o777).toString(8))).toEqual(['700', '600', '600', '644']);
  const ca = new X509Certificate(made.ca);
  expect(ca.ca).toBe(true);
  expect(new X509Certificate(made.client.cert).verify(ca.publicKey)).toBe(true);
  expect(await ensureAuthority(root, {}, (line) => said.push(line))).toEqual(made);
  expect(said).toHaveLength(2);
});

test("renews an authority that expires soon, with the client's certificate", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const before = await ensureAuthority(root, {}, () => {});
  const said: string[] = [];
  const now = (): Date => new Date(Date.now() + 3649 * DAY);
  const after = await ensureAuthority(root, {}, (line) => said.push(line), { now });
  expect(said[0]).toBe('CA certificate is outdated and needs to be regenerated');
  expect(after.ca).not.toBe(before.ca);
  expect(new X509Certificate(after.client.cert).verify(new X509Certificate(after.ca).publicKey)).toBe(true);
});

test("renews only the client's certificate if the CA stays valid", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const before = await ensureAuthority(root, {}, () => {});
  const said: string[] = [];
  const now = (): Date => new Date(Date.now() + 729 * DAY);
  const after = await ensureAuthority(root, {}, (line) => said.push(line), { now });
  expect(said).toEqual([`Creating client certificate: ${join(root, 'certs', 'cert.pem')}`]);
  expect(after.ca).toBe(before.ca);
  expect(after.client.cert).not.toBe(before.client.cert);
});

test('keeps a key without its certificate under another name, and refuses a certificate without its key', async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const before = await ensureAuthority(root, {}, () => {});
  await rm(join(root, 'certs', 'ca.pem'));
  await ensureAuthority(root, {}, () => {});
  expect(await readFile(join(root, 'certs', 'ca-key.pem.old'), 'utf8')).toBe(before.caKey);
  await rm(join(root, 'certs', 'ca-key.pem'));
  await expect(ensureAuthority(root, {}, () => {})).rejects.toThrow(/key of the CA .*ca\.pem is missing/);
});

test("the store's authority signs a machine's certificates", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const made = await ensureAuthority(root, {}, () => {});
  const store = openDockerMachineStore(root);
  await seedMachineAuthority('web', store, root);
  const { tls, ca } = store.paths('web');
  const there = await Promise.all(
    [join(ca, 'ca-key.pem'), ...['ca', 'cert', 'key'].map((name) => join(tls, `${name}.pem`))].map((path) =>
      readFile(path, 'utf8'),
    ),
  );
  expect(there).toEqual([made.caKey, made.ca, made.client.cert, made.client.key]);
});

test('a shared authority signs for the machines that were created with it, also later', async () => {
  await using folder = await createTemporaryFolder();
  const root = join(folder.path, 'store');
  const file = (name: string): string => join(folder.path, 'team', name);
  const team = { ca: file('ca.pem'), caKey: file('ca-key.pem'), cert: file('cert.pem'), key: file('key.pem') };
  await mkdir(join(folder.path, 'team'));
  const shared = await ensureAuthority(root, team, () => {});
  const store = openDockerMachineStore(root, { authority: team });
  await store.write(readyMachine('web'));
  // One of the store's own is made since, for others.
  const own = await ensureAuthority(root, {}, () => {});
  await seedMachineAuthority('web', openDockerMachineStore(root), root);
  const ca = await readFile(join(store.paths('web').tls, 'ca.pem'), 'utf8');
  expect([ca === shared.ca, ca === own.ca]).toEqual([true, false]);
});
