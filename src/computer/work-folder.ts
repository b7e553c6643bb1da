import { randomBytes } from 'node:crypto';
import { lstat, mkdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reasonOf, SlipwayError, systemCode } from '../errors.ts';
import type { Log } from '../progress.ts';
import { deleteFolder, ignoreMissing, listFolderIfExists } from './files.ts';
import { takeLock } from './lock.ts';
import { isProcessAlive } from './process-identity.ts';

/** A folder that one process fills. It is deleted at the end of its scope, with what is still in it. */
export type WorkFolder = AsyncDisposable & { readonly folder: string };

/** Work of an earlier version, which wrote no lock. None of its commands took longer. */
const LONGEST_WORK_MILLISECONDS = 60 * 60_000;

/** Creates a folder in `parent` that `removeAbandonedWork` leaves alone as long as this process runs. */
export async function createWorkFolder(parent: string, prefix: string): Promise<WorkFolder> {
  for (;;) {
    const place = join(parent, `${prefix}${randomBytes(6).toString('hex')}`);
    await mkdir(place, { recursive: true, mode: 0o700 });
    try {
      const lock = await takeLock(place, 'The folder');
      const folder = join(place, 'files');
      await mkdir(folder, { mode: 0o700 });
      return {
        folder,
        async [Symbol.asyncDispose]() {
          await deleteFolder(place);
          await lock[Symbol.asyncDispose]();
        },
      };
    } catch (error) {
      // Another process found the folder before it was locked, and removed it.
      if (!isBusyError(error) && systemCode(error) !== 'ENOENT') throw error;
    }
  }
}

/**
 * Creates a folder in the system's folder for temporary files. Also removes those with this prefix that killed
 * processes left; the caller need not wait for that, which can take ten seconds after a reboot.
 */
export async function createTemporaryWorkFolder(prefix: string, log: Log): Promise<WorkFolder> {
  removeAbandonedWork(tmpdir(), prefix).catch((error: unknown) =>
    log(`Old temporary folders stay: ${reasonOf(error)}`),
  );
  return await createWorkFolder(tmpdir(), prefix);
}

/**
 * Deletes the work folders of this user's processes that have ended, on any computer that shares `parent`. Folders of
 * other users, and links, stay: everybody can create them in a folder for temporary files.
 */
export async function removeAbandonedWork(parent: string, prefix: string): Promise<void> {
  for (const entry of await listFolderIfExists(parent))
    if (entry.startsWith(prefix) && (await isOwnFolder(join(parent, entry))))
      await removeIfAbandoned(join(parent, entry), entry.slice(prefix.length));
}

async function isOwnFolder(place: string): Promise<boolean> {
  const found = await ignoreMissing(lstat(place));
  // Windows has no user ids, and a folder for temporary files for each user.
  return found?.isDirectory() === true && found.uid === (process.getuid?.() ?? found.uid);
}

async function removeIfAbandoned(place: string, name: string): Promise<void> {
  // Earlier versions named the folder after a PID: PID-xxxx.
  const pid = /^(\d+)-/.exec(name)?.[1];
  if (pid !== undefined && (await isEarlierWorkAlive(place, Number(pid)))) return;
  try {
    await using _lock = await takeLock(place, 'The folder');
    await deleteFolder(place);
  } catch (error) {
    if (!isBusyError(error) && systemCode(error) !== 'ENOENT') throw error;
  }
}

/** A PID of an earlier version may be another container's, so the age counts as well. */
async function isEarlierWorkAlive(place: string, pid: number): Promise<boolean> {
  if (await isProcessAlive({ pid, started: '' })) return true;
  const found = await ignoreMissing(stat(place));
  return found !== undefined && Date.now() - found.mtimeMs < LONGEST_WORK_MILLISECONDS;
}

function isBusyError(error: unknown): boolean {
  return error instanceof SlipwayError && error.code === 'MACHINE_BUSY';
}
