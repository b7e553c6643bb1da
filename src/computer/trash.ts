import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { systemCode } from '../errors.ts';
import { deleteFolder, listFolderIfExists, renamePath } from './files.ts';

/** Identifies trash. Older versions used other suffixes (a name and PID, an id), so only this prefix counts. */
const TRASH_PREFIX = '.removed-';

/**
 * Renames a folder, within its parent, to a name that no machine, image, VM or spare can have. Does nothing if the
 * folder is missing.
 *
 * Deleting a folder takes many system calls, and renaming it takes one: if a command is killed, the folder is either
 * complete or trash, and never looks complete while files are missing. `emptyTrash` deletes it, in this command or a
 * later one.
 */
export async function moveToTrash(folder: string): Promise<void> {
  const trash = join(dirname(folder), `${TRASH_PREFIX}${basename(folder)}-${randomBytes(6).toString('hex')}`);
  await renamePath(folder, trash).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

/** Deletes all trash in a folder, including that of earlier commands that were killed: it may contain private keys. */
export async function emptyTrash(parent: string): Promise<void> {
  for (const entry of await listFolderIfExists(parent))
    if (entry.startsWith(TRASH_PREFIX)) await deleteFolder(join(parent, entry));
}
