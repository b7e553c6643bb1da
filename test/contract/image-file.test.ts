import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import type { DriverCall } from '../../src/drivers/contract.ts';
import { ensureImage } from '../../src/drivers/qemu/vm-image.ts';
import type { ImageMakeRequest } from '../../src/images/get-or-make-image.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { computerWithPrograms } from '../fakes/executable-scripts.ts';

const counters = vi.hoisted(() => ({ hashed: 0 }));
vi.mock('../../src/images/hashing.ts', async (original) => {
  const real = await original<typeof import('../../src/images/hashing.ts')>();
  return {
    ...real,
    hashFile: async (...args: Parameters<typeof real.hashFile>) => {
      counters.hashed += 1;
      return await real.hashFile(...args);
    },
  };
});
vi.mock('../../src/images/get-or-make-image.ts', () => ({
  getOrMakeImage: async ({ source }: ImageMakeRequest) => ({ image: source?.digest }),
}));

test('an image file is read once by a command that needs its digest several times, and again once it has changed', async () => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'mine.qcow2');
  await writeFile(file, 'a disk');
  const call: DriverCall = {
    computer: computerWithPrograms(folder.path),
    log: () => {},
    note: () => {},
    signal: new AbortController().signal,
  };
  const getDigest = async (): Promise<unknown> => await ensureImage({ image: file }, call);
  const first = await getDigest();
  expect(first).toMatch(/^sha512:[0-9a-f]{128}$/);
  expect([await getDigest(), await getDigest(), counters.hashed]).toEqual([first, first, 1]);
  await appendFile(file, '.');
  expect(await getDigest()).not.toBe(first);
  expect(counters.hashed).toBe(2);
});
