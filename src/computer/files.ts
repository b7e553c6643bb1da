import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, open, readdir, readFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';

/**
 * Changes to local files as data: profiles return them, `applyFileChanges` makes them. Deleting a folder deletes its
 * content.
 */
export type FileChange =
  | { readonly do: 'write'; readonly path: string; readonly content: string; readonly mode: number }
  | { readonly do: 'delete'; readonly path: string }
  /** Deletes a folder if it is empty. */
  | { readonly do: 'prune'; readonly path: string }
  /** Adds a line at the top of a file of the user's; everything else in it stays the same, byte for byte. */
  | ({ readonly do: 'include' } & IncludeLine)
  /** Removes that line, unless a file that it is for still exists. */
  | ({ readonly do: 'exclude' } & IncludeLine);

/** `line` makes a program read the files of `folder` that end in `suffix`. */
export type IncludeLine = {
  readonly path: string;
  readonly line: string;
  readonly folder: string;
  readonly suffix: string;
};

export async function applyFileChanges(changes: readonly FileChange[]): Promise<void> {
  for (const change of changes) {
    if (change.do === 'write') await writeFileAtomic(change.path, change.content, change.mode);
    else if (change.do === 'delete') await rm(change.path, { recursive: true, force: true });
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
  const at = lines.findIndex((one) => one.replace(/\r$/, '') === line);
  if (at < 0) return;
  const rest = lines.toSpliced(at, 1).join('\n');
  if (rest === '' && isRegularFile) await rm(path, { force: true });
  else await writeFileAtomic(path, Buffer.from(rest, 'latin1'), mode);
  // Another command may have added a file just now, and seen the line still there.
  if (await isNeeded()) await addIncludeLine(inclusion);
}

type FileContent = {
  readonly text: string;
  readonly mode: number;
  /** No link to a file elsewhere. */ readonly isRegularFile: boolean;
};

/** Reads a file as latin1, which keeps each byte as one character; returns '' if the file is missing. */
async function readFileContent(path: string): Promise<FileContent> {
  const none = { text: '', mode: 0o600, isRegularFile: true };
  try {
    const [text, { mode }, link] = await Promise.all([readFile(path, 'latin1'), stat(path), lstat(path)]);
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
 * Writes a file completely or not at all: a temporary file beside it, fsync, rename, fsync of the folder. A full disk
 * or a kill leaves the old content. Creates missing folders with mode 0700.
 */
export async function writeFileAtomic(place: string, content: string | Uint8Array, mode: number): Promise<void> {
  // A link stays a link: the file that it points to is written.
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
    // The umask may have taken bits from the mode given to open.
    await chmod(temporary, mode);
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    // If it can't be removed, it was never created, and the first error is the one to report.
    await rm(temporary, { force: true }).catch(() => undefined);
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

/** Returns the text of a file; undefined if the file is missing. */
export async function readFileIfExists(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}

/** Returns the names in a folder, in no order; none if the folder is missing. */
export async function listFolderIfExists(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw localFileError(folder, error, 'read');
  });
}

/** Makes everything that was created, renamed or removed in a folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows can't open a folder; there the rename itself is what the system offers.
  const handle = await open(folder, 'r').catch((error: unknown) => {
    if (['EISDIR', 'EPERM', 'EACCES'].includes(systemCode(error) ?? '')) return undefined;
    throw error;
  });
  await handle?.sync();
  await handle?.close();
}

/** Returns the error to show for what the user's own disk refuses; any other error unchanged. */
export function localFileError(path: string, error: unknown, tried: 'written' | 'read' = 'written'): unknown {
  const reasons: Record<string, string> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'your disk quota is used up',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of its path is a file',
    EEXIST: 'a part of its path is a file',
  };
  const reason = reasons[systemCode(error) ?? ''];
  if (reason === undefined) return error;
  return new SlipwayError('LOCAL_FILES', `${path} could not be ${tried}: ${reason}`, {
    hint: 'Nothing was lost: fix that, then run the same command again',
    cause: error,
  });
}
