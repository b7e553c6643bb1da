import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../errors.ts';
import { listFolderIfExists } from './files.ts';

/** Older versions wrote other endings after it (a name and PID, an id), so only this beginning identifies trash. */
const TRASH_PREFIX = '.removed-';

/**
 * Renames a folder to a name beside it that no machine, image, VM or spare can have. Does nothing if the folder is
 * missing.
 *
 * Deleting a folder takes many calls, a rename takes one: a command that is killed in between leaves either the whole
 * folder or trash, never a folder that looks whole and is not. `emptyTrash` deletes it, now or in a later command.
 */
export async function moveToTrash(folder: string): Promise<void> {
  const trash = join(dirname(folder), `${TRASH_PREFIX}${basename(folder)}-${randomBytes(6).toString('hex')}`);
  await rename(folder, trash).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/** Deletes all trash in a folder, also what earlier commands left when they were killed: it may hold private keys. */
export async function emptyTrash(parent: string): Promise<void> {
  for (const entry of await listFolderIfExists(parent))
    if (entry.startsWith(TRASH_PREFIX)) await rm(join(parent, entry), { recursive: true, force: true });
}
