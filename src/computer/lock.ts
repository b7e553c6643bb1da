import { randomBytes } from 'node:crypto';
import { link, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteFile, ignoreMissing, localFileError } from './files.ts';
import { describePlace, identifyOwner, isOwnerAlive, startHeartbeat, type Owner } from './owner.ts';
import { canceledError, SlipwayError, systemCode } from '../errors.ts';

const POLL_MILLISECONDS = 200;

/** A lock that this process holds until it is disposed of. */
export type HeldLock = AsyncDisposable & {
  /** Throws MACHINE_BUSY if another process took the lock over, because this one was stopped for a minute. */
  requireHeld(): Promise<void>;
};

/**
 * Locks a folder for this process. Throws MACHINE_BUSY if a running process holds the lock. `what` is the subject of
 * the message: `Machine "web"`.
 *
 * If a process ends without a release, its lock is free: at once for processes that can ask the system about it, within
 * a minute for other containers and computers (owner.ts). Only one process can take it. Locks are numbered
 * files, of which the highest number counts. To take the lock, a process creates the file with the next number; the
 * file system lets only one process do that. The file with the highest number stays as long as the folder exists, since
 * a slow process could otherwise create the same number again. A release therefore empties the file.
 */
export async function takeLock(folder: string, what: string): Promise<HeldLock> {
  const content = JSON.stringify(await identifyOwner());
  for (;;) {
    const before = await listLockNumbers(folder);
    const highest = before.at(-1) ?? 0;
    const lastFile = join(folder, `lock.${highest}`);
    const owner = highest > 0 ? await readLockOwner(lastFile) : undefined;
    if (owner && (await isOwnerAlive(owner, lastFile))) throw await busyError(what, owner);

    const path = join(folder, `lock.${highest + 1}`);
    if (!(await createFileAtomic(path, content))) continue;
    const after = await listLockNumbers(folder);
    if (after.at(-1) !== highest + 1) {
      await deleteFile(path);
      continue;
    }
    await Promise.all(before.map((number) => deleteFile(join(folder, `lock.${number}`))));
    return holdLock(path, what);
  }
}

/** Returns the process that holds the lock of a folder; undefined if the lock is free, or the folder is missing. */
export async function findLockOwner(folder: string): Promise<Owner | undefined> {
  const numbers = await ignoreMissing(listLockNumbers(folder));
  const file = join(folder, `lock.${numbers?.at(-1) ?? 0}`);
  const owner = numbers?.length ? await readLockOwner(file) : undefined;
  return owner && (await isOwnerAlive(owner, file)) ? owner : undefined;
}

function holdLock(path: string, what: string): HeldLock {
  const heartbeat = startHeartbeat(path);
  return {
    async requireHeld() {
      if ((await ignoreMissing(stat(path))) === undefined) throw lostError(what);
    },
    async [Symbol.asyncDispose]() {
      await heartbeat.stop();
      // ENOENT: the folder was removed together with its machine.
      await truncate(path).catch((error: unknown) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
    },
  };
}

/** Waits until the folder can be locked. Passes the message with the lock's owner to `waiting`. */
export async function waitForLock(
  folder: string,
  what: string,
  how: { readonly signal: AbortSignal; readonly waiting: (message: string) => void },
): Promise<HeldLock> {
  let lastMessage = '';
  for (;;) {
    if (how.signal.aborted) throw canceledError();
    try {
      return await takeLock(folder, what);
    } catch (error) {
      if (!(error instanceof SlipwayError && error.code === 'MACHINE_BUSY')) throw error;
      if (error.message !== lastMessage) how.waiting(error.message);
      lastMessage = error.message;
    }
    await sleep(POLL_MILLISECONDS, undefined, { signal: how.signal }).catch(() => {
      throw canceledError();
    });
  }
}

async function listLockNumbers(folder: string): Promise<readonly number[]> {
  const names = await readdir(folder);
  return names
    .map((name) => /^lock\.(\d+)$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .toSorted((left, right) => left - right);
}

/** Creates a file together with its content. Returns false if another process created it first. */
async function createFileAtomic(path: string, content: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, content, { mode: 0o600, flag: 'wx' });
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw localFileError(path, error);
  } finally {
    await deleteFile(temporary);
  }
}

async function readLockOwner(path: string): Promise<Owner | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  });
  try {
    const owner = JSON.parse(text) as Owner;
    return typeof owner.pid === 'number' ? owner : undefined;
  } catch {
    // An empty file is a released lock. Other text that is not JSON was truncated when the computer crashed, so no
    // process holds that lock.
    return undefined;
  }
}

async function busyError(what: string, owner: Owner): Promise<SlipwayError> {
  const where = await describePlace(owner);
  const killed =
    where === ''
      ? ''
      : `. If it was killed, its lock is free ${owner.place === undefined ? 'after an hour' : 'after a minute'}`;
  return new SlipwayError('MACHINE_BUSY', `${what} is in use by another command (PID ${owner.pid}${where})`, {
    hint: `Wait for it to end, then run the same command again${killed}`,
  });
}

function lostError(what: string): SlipwayError {
  return new SlipwayError('MACHINE_BUSY', `${what} was taken over by another command while this one was stopped`, {
    hint: 'Nothing more was changed. Wait for the other command to end, then run the same command again',
  });
}
