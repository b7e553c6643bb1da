import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { readUserScript } from '../../src/drivers/cloud/user-data.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const SCRIPT = '#!/bin/sh\necho grün\n';

test.each([
  ['UTF-8', Buffer.from(SCRIPT)],
  ['UTF-8 with a byte order mark, which cloud-init would not take for a script', Buffer.from(`\uFEFF${SCRIPT}`)],
])('a script of the user is read from %s', async (_encoding, bytes) => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'data');
  await writeFile(file, bytes);
  expect(await readUserScript(file, '--ec2-user-data')).toBe(SCRIPT);
});

test.each([
  ['Latin-1', Buffer.from(SCRIPT, 'latin1'), /iconv .*--ec2-user-data/],
  ['UTF-16', Buffer.from(`\uFEFF${SCRIPT}`, 'utf16le'), /iconv/],
  ['gzip', gzipSync(SCRIPT), /Decompress it first/],
])('a script of the user is refused in %s, instead of being changed', async (_encoding, bytes, hint) => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'data');
  await writeFile(file, bytes);
  const error = await catchRejection(readUserScript(file, '--ec2-user-data'));
  expect(error).toMatchObject({ code: 'USAGE', message: `${file} is not UTF-8 text` });
  expect(error?.hint).toMatch(hint);
});

test('a script of the user that is a folder is refused with the reason', async () => {
  await using folder = await createTemporaryFolder();
  expect(await catchRejection(readUserScript(folder.path, '--ec2-user-data'))).toMatchObject({
    code: 'USAGE',
    message: `${folder.path} can't be read: it is a folder`,
  });
});
