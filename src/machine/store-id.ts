import { randomBytes } from 'node:crypto';
import { link, mkdir, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { deleteFile, localFileError, readFileIfExists } from '../computer/files.ts';
import type { Computer } from '../computer/computer.ts';
import { systemCode } from '../errors.ts';

/**
 * Returns the id that marks cloud resources and other remote objects as created from this store, such as
 * `laptop-3f9a2c41d05e`. The first call generates it and writes it to a file. It has at most 45 lower-case letters,
 * digits and hyphens, so that every provider accepts it.
 */
export async function getStoreId({
  home: slipwayHome,
  storeHome: home = slipwayHome,
}: Pick<Computer, 'home' | 'storeHome'>): Promise<string> {
  const file = join(home, 'home-id');
  for (;;) {
    const existingId = (await readFileIfExists(file))?.trim();
    if (existingId) return existingId;
    const temporary = `${file}.${process.pid}-${randomBytes(4).toString('hex')}`;
    try {
      await mkdir(home, { recursive: true, mode: 0o700 });
      await writeFile(temporary, `${generateStoreId()}\n`, { mode: 0o600, flag: 'wx' });
      // A link appears with its whole content or not at all. If two processes try, one fails with EEXIST and retries.
      await link(temporary, file);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw localFileError(file, error);
    } finally {
      await deleteFile(temporary);
    }
  }
}

function generateStoreId(): string {
  const computer = hostname()
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^[^a-z]+|-+$/g, '')
    .slice(0, 32)
    .replace(/-$/, '');
  return `${computer || 'home'}-${randomBytes(6).toString('hex')}`;
}
