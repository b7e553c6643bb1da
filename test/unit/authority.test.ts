import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureAuthority, seedMachineAuthority } from '../../src/docker-machine/machine-authority.ts';
import { openDockerMachineStore } from '../../src/docker-machine/docker-machine-store.ts';
import { readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine } from '../fakes/sample-machine.ts';

const DAY = 24 * 60 * 60 * 1000;

test('creates one CA for a store, and keeps it', async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const messages: string[] = [];
  const authority = await ensureAuthority(root, {}, (line) => messages.push(line));
  const file = (name: string): string => join(root, 'certs', name);
  expect(messages).toEqual([`Creating CA: ${file('ca.pem')}`, `Creating client certificate: ${file('cert.pem')}`]);
  const wanted = { '': '700', 'ca-key.pem': '600', 'key.pem': '600', 'ca.pem': '644' };
  const modes = await Promise.all(
    Object.entries(wanted).map(async ([name, mode]) => [name, await readMode(file(name), mode)] as const),
  );
  expect(Object.fromEntries(modes)).toEqual(wanted);
  const ca = new X509Certificate(authority.ca);
  expect(ca.ca).toBe(true);
  expect(new X509Certificate(authority.client.cert).verify(ca.publicKey)).toBe(true);
  expect(await ensureAuthority(root, {}, (line) => messages.push(line))).toEqual(authority);
  expect(messages).toHaveLength(2);
});

test("renews a CA that expires soon, and the client's certificate with it", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const before = await ensureAuthority(root, {}, () => {});
  const messages: string[] = [];
  const now = (): Date => new Date(Date.now() + 3649 * DAY);
  const after = await ensureAuthority(root, {}, (line) => messages.push(line), { now });
  expect(messages[0]).toBe('CA certificate is outdated and needs to be regenerated');
  expect(after.ca).not.toBe(before.ca);
  expect(new X509Certificate(after.client.cert).verify(new X509Certificate(after.ca).publicKey)).toBe(true);
});

test("renews only the client's certificate if the CA stays valid", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const before = await ensureAuthority(root, {}, () => {});
  const messages: string[] = [];
  const now = (): Date => new Date(Date.now() + 729 * DAY);
  const after = await ensureAuthority(root, {}, (line) => messages.push(line), { now });
  expect(messages).toEqual([`Creating client certificate: ${join(root, 'certs', 'cert.pem')}`]);
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

test("gives a machine the store's CA and client certificate", async () => {
  await using folder = await createTemporaryFolder();
  const root = folder.path;
  const authority = await ensureAuthority(root, {}, () => {});
  const store = openDockerMachineStore(root);
  await seedMachineAuthority('web', store, root);
  const { tls, ca } = store.paths('web');
  const written = await Promise.all(
    [join(ca, 'ca-key.pem'), ...['ca', 'cert', 'key'].map((name) => join(tls, `${name}.pem`))].map((path) =>
      readFile(path, 'utf8'),
    ),
  );
  expect(written).toEqual([authority.caKey, authority.ca, authority.client.cert, authority.client.key]);
});

test('keeps a shared CA for machines that were created with it, even after the store has its own', async () => {
  await using folder = await createTemporaryFolder();
  const root = join(folder.path, 'store');
  const file = (name: string): string => join(folder.path, 'team', name);
  const team = { ca: file('ca.pem'), caKey: file('ca-key.pem'), cert: file('cert.pem'), key: file('key.pem') };
  await mkdir(join(folder.path, 'team'));
  const shared = await ensureAuthority(root, team, () => {});
  const store = openDockerMachineStore(root, { authority: team });
  await store.write(readyMachine('web'));
  // Then the store gets a CA of its own, for other machines.
  const own = await ensureAuthority(root, {}, () => {});
  await seedMachineAuthority('web', openDockerMachineStore(root), root);
  const ca = await readFile(join(store.paths('web').tls, 'ca.pem'), 'utf8');
  expect([ca === shared.ca, ca === own.ca]).toEqual([true, false]);
});
