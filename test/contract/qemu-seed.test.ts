import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { seedOf } from '../../src/drivers/qemu/seed.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { fakeIdentity } from '../fakes/fake-identity.ts';
import { hasProgram, runProgram } from '../fakes/run-program.ts';

const archivers = ['tar', 'busybox'].filter((program) => hasProgram(program));

/** Pads the archive to a disk of whole pages, with zeros after it. */
const padToDisk = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(4096 - (bytes.length % 4096))]);

test.each(archivers)('%s unpacks a seed to its files, each with its mode', async (archiver) => {
  await using folder = await createTemporaryFolder();
  const identity = fakeIdentity({ name: 'x.y-1' });
  const file = join(folder.path, 'seed.tar');
  const root = join(folder.path, 'root');
  await writeFile(file, padToDisk(seedOf(identity).bytes));
  await mkdir(join(root, 'etc'), { recursive: true });
  // The archive overwrites a file of the image.
  await writeFile(join(root, 'etc', 'hostname'), 'a longer name than the new one\n');
  const command = archiver === 'tar' ? ['tar'] : ['busybox', 'tar'];
  const [program = '', ...argv] = [...command, '-xpf', file, '-C', root];
  expect(await runProgram(program, argv)).toEqual({ code: 0, stdout: '', stderr: '' });
  const found = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  expect(found).toHaveLength(9);
  for (const { parentPath, name } of found) {
    const path = join(parentPath, name);
    const { mode } = await stat(path);
    const text = await readFile(path, 'utf8');
    if (text.includes('PRIVATE KEY')) expect((mode & 0o777).toString(8), path).toBe('600');
    else expect((mode & 0o777).toString(8), path).toBe(name === 'machine-id' ? '444' : '644');
  }
  expect(await readFile(join(root, 'etc', 'hostname'), 'utf8')).toBe('x.y-1\n');
  expect(await readFile(join(root, 'etc', 'ssh', 'ssh_host_ed25519_key'), 'utf8')).toBe(identity.boot.hostKey.private);
  for (const { path, content } of identity.boot.files) expect(await readFile(join(root, path), 'utf8')).toBe(content);
});

test.runIf(hasProgram('tar'))('tar shows root as the owner of every file', async () => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'seed.tar');
  await writeFile(file, padToDisk(seedOf(fakeIdentity()).bytes));
  const listing = await runProgram('tar', ['--numeric-owner', '-tvf', file]);
  expect(listing.stderr).toBe('');
  const lines = listing.stdout.trim().split('\n');
  expect(lines).toHaveLength(9);
  for (const line of lines) expect(line).toMatch(/^-r\S+ +0\/0 /);
  expect(lines.filter((line) => line.startsWith('-rw------- '))).toHaveLength(2);
});
