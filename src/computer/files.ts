import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { platform } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SlipwayError, systemCode } from '../errors.ts';

/** How long a change of a file waits on Windows for other programs that have it open. */
const IN_USE_SECONDS = 5;
/** What Windows reports for a file in use; ENOTEMPTY for a folder with a deleted file that a program still has open. */
const IN_USE_CODES: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'EBUSY', 'ENOTEMPTY']);

/** A change of a local file, as data: profiles return changes, and `applyFileChanges` applies them. */
export type FileChange =
  | { readonly do: 'write'; readonly path: string; readonly content: string; readonly mode: number }
  /** Deletes a file, or a folder with its contents. */
  | { readonly do: 'delete'; readonly path: string }
  /** Deletes a folder if it is empty. */
  | { readonly do: 'prune'; readonly path: string }
  /** Adds a line at the top of a user's file. The rest of the file stays the same, byte for byte. */
  | ({ readonly do: 'include' } & IncludeLine)
  /** Removes the line, unless a file that it includes still exists. */
  | ({ readonly do: 'exclude' } & IncludeLine);

/** A line that makes a program read the files in `folder` that end in `suffix`. */
export type IncludeLine = {
  readonly path: string;
  readonly line: string;
  readonly folder: string;
  readonly suffix: string;
};

export async function applyFileChanges(changes: readonly FileChange[]): Promise<void> {
  for (const change of changes) {
    if (change.do === 'write') await writeFileAtomic(change.path, change.content, change.mode);
    else if (change.do === 'delete') await deleteFolder(change.path);
    else if (change.do === 'prune') await removeFolderIfEmpty(change.path);
    else if (change.do === 'include') await addIncludeLine(change);
    else await removeIncludeLine(change);
  }
}

async function removeFolderIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: unknown) => {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) throw error;
  });
}

async function addIncludeLine({ path, line }: IncludeLine): Promise<void> {
  const { text, mode } = await readFileContent(path);
  if (text.split(/\r?\n/).includes(line)) return;
  await writeFileAtomic(path, Buffer.from(`${line}\n${text}`, 'latin1'), mode);
}

async function removeIncludeLine(inclusion: IncludeLine): Promise<void> {
  const { path, line, folder, suffix } = inclusion;
  const isNeeded = async (): Promise<boolean> =>
    (await listFolderIfExists(folder)).some((name) => name.endsWith(suffix));
  if (await isNeeded()) return;
  const { text, mode, isRegularFile } = await readFileContent(path);
  const lines = text.split('\n');
  const at = lines.findIndex((candidate) => candidate.replace(/\r$/, '') === line);
  if (at < 0) return;
  const rest = lines.toSpliced(at, 1).join('\n');
  if (rest === '' && isRegularFile) await deleteFile(path);
  else await writeFileAtomic(path, Buffer.from(rest, 'latin1'), mode);
  // Another command may just have added a file, and found the line still there.
  if (await isNeeded()) await addIncludeLine(inclusion);
}

type FileContent = {
  readonly text: string;
  readonly mode: number;
  /** False for a symbolic link. */
  readonly isRegularFile: boolean;
};

/** Reads a file as latin1, which maps each byte to one character. The text of a missing file is ''. */
async function readFileContent(path: string): Promise<FileContent> {
  const none = { text: '', mode: 0o600, isRegularFile: true };
  try {
    const [text, { mode }, link] = await Promise.all([readTextFile(path, 'latin1'), stat(path), lstat(path)]);
    return { text, mode: mode & 0o777, isRegularFile: link.isFile() };
  } catch (error) {
    return fallbackIfMissing(() => none)(error);
  }
}

function fallbackIfMissing<T>(instead: () => T): (error: unknown) => T {
  return (error) => {
    if (systemCode(error) === 'ENOENT') return instead();
    throw error;
  };
}

/**
 * Writes a file completely or not at all: to a temporary file in the same folder, then fsync, rename, and fsync of the
 * folder. After a full disk or a kill, the file has its old content. Creates missing folders with mode 0700.
 */
export async function writeFileAtomic(place: string, content: string | Uint8Array, mode: number): Promise<void> {
  // Follows a link: writes the file that it points to, and keeps the link.
  const path = await realpath(place).catch(() => place);
  const folder = dirname(path);
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    // The umask may have removed bits from the mode passed to open.
    await chmod(temporary, mode);
    await renamePath(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    // A temporary file that can't be removed was never created; the first error is the one to report.
    await deleteFile(temporary).catch(() => undefined);
    throw localFileError(path, error);
  }
}

/** Awaits an operation on a path; returns undefined if the path does not exist. Other errors are thrown. */
export async function ignoreMissing<T>(operation: Promise<T>): Promise<T | undefined> {
  return operation.catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  });
}

/** Returns the text of a file. Errors name the path, which Node leaves out if it could open the file, as a folder. */
export async function readTextFile(path: string, encoding: BufferEncoding = 'utf8'): Promise<string> {
  // On Windows, a file that is just being replaced can't be opened for a moment.
  return retryWhileInUse(() => readFile(path, encoding), { seconds: 1 }).catch((error: unknown) => {
    throw error instanceof Error ? Object.assign(error, { path }) : error;
  });
}

/** Returns the text of a file; undefined if the file is missing. */
export async function readFileIfExists(path: string): Promise<string | undefined> {
  return readTextFile(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}

/** Returns the names in a folder, in any order; none if the folder is missing. */
export async function listFolderIfExists(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw localFileError(folder, error, 'read');
  });
}

/** Makes sure that files created, renamed or removed in a folder survive a power cut, as far as the system can. */
export async function syncFolder(folder: string): Promise<void> {
  const isWindows = platform() === 'win32';
  const handle = await open(folder, 'r').catch((error: unknown) => {
    // A folder that its user may write and not list can't be opened.
    if (systemCode(error) === 'EACCES') return undefined;
    if (isWindows && isFolderSyncRefusal(error)) return undefined;
    throw error;
  });
  try {
    await handle?.sync();
  } catch (error) {
    // Windows flushes no folders: its file system logs each rename itself.
    if (!(isWindows && isFolderSyncRefusal(error))) throw error;
  } finally {
    await handle?.close();
  }
}

function isFolderSyncRefusal(error: unknown): boolean {
  return ['EPERM', 'EACCES', 'EISDIR'].includes(systemCode(error) ?? '');
}

/** Renames a file or a folder, and replaces a file of the new name. */
export async function renamePath(from: string, to: string): Promise<void> {
  await retryWhileInUse(() => rename(from, to));
}

/** Deletes a file, or a link and not what it points to. Does nothing if it is missing. */
export async function deleteFile(path: string): Promise<void> {
  await retryWhileInUse(() => rm(path, { force: true }));
}

/** Deletes a folder with its contents, or a file. Does nothing if it is missing. */
export async function deleteFolder(path: string): Promise<void> {
  await retryWhileInUse(() => rm(path, { recursive: true, force: true }));
}

/**
 * Awaits an operation on a file. On Windows, where a file that any program has open can't be replaced, renamed or
 * removed, repeats the operation for these seconds: virus scanners and search indexes open each new file. Elsewhere
 * such an error is final.
 */
export async function retryWhileInUse<T>(
  operation: () => Promise<T>,
  { seconds = IN_USE_SECONDS, system = platform() }: { readonly seconds?: number; readonly system?: string } = {},
): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (let pause = 10; ; pause = Math.min(pause * 2, 200)) {
    try {
      return await operation();
    } catch (error) {
      const isInUse = system === 'win32' && IN_USE_CODES.has(systemCode(error) ?? '');
      if (!isInUse || performance.now() > end) throw error;
      await sleep(pause);
    }
  }
}

/** Returns a LOCAL_FILES error for a problem of the user's disk, and any other error unchanged. */
export function localFileError(path: string, error: unknown, action: 'written' | 'read' = 'written'): unknown {
  const reasons: Record<string, string> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'your disk quota is used up',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of its path is a file',
    EEXIST: 'a part of its path is a file',
    EISDIR: 'it is a folder',
    EBUSY: 'another program uses it',
    ELOOP: 'its symbolic links form a loop',
  };
  const reason = reasons[systemCode(error) ?? ''];
  if (reason === undefined) return error;
  return new SlipwayError('LOCAL_FILES', `${path} could not be ${action}: ${reason}`, {
    hint: 'No data was lost: fix the cause, then run the same command again',
    cause: error,
  });
}
