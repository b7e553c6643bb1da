import { randomBytes } from 'node:crypto';
import { link, mkdir, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { localFileError, readFileIfExists } from '../computer/files.ts';
import type { Computer } from '../computer/computer.ts';
import { systemCode } from '../errors.ts';

/**
 * The name of this store of machines wherever we leave something, made once: `laptop-3f9a2c41d05e`. Lower-case letters,
 * digits and hyphens, 45 at most, so that every provider takes it.
 */
export async function getHomeId({
  home: own,
  storeHome: home = own,
}: Pick<Computer, 'home' | 'storeHome'>): Promise<string> {
  const file = join(home, 'home-id');
  for (;;) {
    const kept = (await readFileIfExists(file))?.trim();
    if (kept) return kept;
    const draft = `${file}.${process.pid}-${randomBytes(4).toString('hex')}`;
    try {
      await mkdir(home, { recursive: true, mode: 0o700 });
      await writeFile(draft, `${generateHomeId()}\n`, { mode: 0o600, flag: 'wx' });
      // Appears whole or not at all, and of two processes only one has its way.
      await link(draft, file);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw localFileError(file, error);
    } finally {
      await rm(draft, { force: true });
    }
  }
}

function generateHomeId(): string {
  const computer = hostname()
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^[^a-z]+|-+$/g, '')
    .slice(0, 32)
    .replace(/-$/, '');
  return `${computer || 'home'}-${randomBytes(6).toString('hex')}`;
}
