import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  access,
  chmod,
  chown,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import { platform, userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf, SlipwayError, systemCode } from '../errors.ts';

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
  /** Lines with the same effect. If the user has written one of them, `line` is not added. */
  readonly alternatives: readonly string[];
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

async function addIncludeLine(inclusion: IncludeLine): Promise<void> {
  const { path, line } = inclusion;
  const { text, mode } = await readFileContent(path);
  if (hasIncludeLine(text, inclusion)) return;
  // A byte order mark stays the beginning of the file: some programs read it, and none reads one in the middle.
  const mark = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : '';
  const changed = `${mark}${toLatin1(line)}\n${text.slice(mark.length)}`;
  await writeFileAtomic(path, Buffer.from(changed, 'latin1'), mode).catch((error: unknown) => {
    throw isUnwritable(error) ? readOnlyIncludeError(inclusion, error) : error;
  });
}

/** Returns an error if `addIncludeLine` would have to change a file that can't be changed. */
export async function findIncludeConflict(inclusion: IncludeLine): Promise<SlipwayError | undefined> {
  const { path } = inclusion;
  const { text, isMissing } = await readFileContent(path);
  if (isMissing || hasIncludeLine(text, inclusion)) return undefined;
  // The file is replaced by a new one, so its folder is what must be writable.
  const folder = dirname(await resolveLinks(path));
  const error: unknown = await access(folder, constants.W_OK).catch((failure: unknown) => failure);
  return error !== undefined && isUnwritable(error) ? readOnlyIncludeError(inclusion, error) : undefined;
}

function hasIncludeLine(text: string, { line, alternatives }: IncludeLine): boolean {
  const wanted = new Set([line, ...alternatives].map(toLatin1));
  return linesOf(text).some((candidate) => wanted.has(candidate.trim().replace(/\s+/, ' ')));
}

function isUnwritable(error: unknown): boolean {
  const cause = error instanceof SlipwayError ? error.cause : error;
  return ['EROFS', 'EACCES', 'EPERM'].includes(systemCode(cause) ?? '');
}

/** Returns the error for a file that another program manages, such as a link into /nix/store. */
function readOnlyIncludeError({ path, line }: IncludeLine, cause: unknown): SlipwayError {
  return new SlipwayError('LOCAL_FILES', `${path} can't be changed, and a line is missing in it`, {
    hint: `Add this line at its top with the program that manages it, then run the same command again: ${line}`,
    // A SlipwayError, not the system's error: for that one, the programs suggest changes of modes instead.
    cause: cause instanceof SlipwayError ? cause : localFileError(path, cause),
  });
}

async function removeIncludeLine(inclusion: IncludeLine): Promise<void> {
  const { path, line, folder, suffix } = inclusion;
  const isNeeded = async (): Promise<boolean> =>
    (await listFolderIfExists(folder)).some((name) => name.endsWith(suffix));
  if (await isNeeded()) return;
  const { text, mode, isRegularFile } = await readFileContent(path);
  const added = toLatin1(line);
  const lines = text.split('\n');
  const kept = lines.filter((candidate) => withoutMark(candidate).replace(/\r$/, '') !== added);
  if (kept.length === lines.length) return;
  const rest = (text.startsWith(`${BYTE_ORDER_MARK}${added}`) ? BYTE_ORDER_MARK : '') + kept.join('\n');
  try {
    if (rest === '' && isRegularFile) await deleteFile(path);
    else await writeFileAtomic(path, Buffer.from(rest, 'latin1'), mode);
  } catch (error) {
    // The line now includes nothing, so that it can stay in a file that can't be changed.
    if (isUnwritable(error)) return;
    throw error;
  }
  // Another command may just have added a file, and found the line still there.
  if (await isNeeded()) await addIncludeLine(inclusion);
}

/** The byte order mark of UTF-8, read as latin1. */
const BYTE_ORDER_MARK = '\u00EF\u00BB\u00BF';

function withoutMark(text: string): string {
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text;
}

function linesOf(text: string): readonly string[] {
  return withoutMark(text).split(/\r?\n/);
}

/** Returns the text as `readFileContent` returns it: one character for each byte of its UTF-8 encoding. */
function toLatin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

type FileContent = {
  readonly text: string;
  readonly mode: number;
  /** False for a symbolic link. */
  readonly isRegularFile: boolean;
  readonly isMissing: boolean;
};

/** Reads a file as latin1, which maps each byte to one character. The text of a missing file is ''. */
async function readFileContent(path: string): Promise<FileContent> {
  const none = { text: '', mode: 0o600, isRegularFile: true, isMissing: true };
  try {
    const [{ text, mode }, link] = await Promise.all([readUserFile(path, 'latin1'), lstat(path)]);
    return { text, mode, isRegularFile: link.isFile(), isMissing: false };
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
 * folder. After a full disk or a kill, the file has its old content. Creates missing folders with mode 0700. Through a
 * symbolic link, it writes the file that the link points to. A file that root writes keeps its owner.
 */
export async function writeFileAtomic(place: string, content: string | Uint8Array, mode: number): Promise<void> {
  const path = await resolveLinks(place);
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
    await keepOwner(path, temporary);
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

/**
 * Returns the path of the file that a path leads to, even if the file at the end of its links does not exist yet.
 * Throws LOCAL_FILES for links that form a loop.
 */
async function resolveLinks(path: string): Promise<string> {
  const real = await realpath(path).catch((error: unknown) => {
    if (systemCode(error) === 'ELOOP') throw localFileError(path, error);
    return undefined;
  });
  if (real !== undefined) return real;
  const target = await readlink(path).catch(() => undefined);
  if (target === undefined) return path;
  const folder = await realpath(dirname(path)).catch(() => dirname(path));
  return await resolveLinks(resolve(folder, target));
}

/** Gives the new version of a file the owner of the present one: with sudo, a user's file must stay the user's. */
async function keepOwner(path: string, newVersion: string): Promise<void> {
  if (!isRoot()) return;
  const present = await ignoreMissing(stat(path));
  if (present !== undefined && present.uid !== 0) await chown(newVersion, present.uid, present.gid);
}

function isRoot(): boolean {
  try {
    return userInfo().uid === 0;
  } catch {
    // A container may run as a user number without a name, which is never root's.
    return false;
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

/** Larger than any configuration that people or programs write. */
const MAX_USER_FILE_BYTES = 16 * 1024 * 1024;

/**
 * Returns the text and the mode of a configuration file of the user's. Throws LOCAL_FILES for what is no file, such as
 * a FIFO, from which a read would wait for ever, and for a huge file. An error of the system names the path.
 */
export async function readUserFile(
  path: string,
  encoding: BufferEncoding = 'utf8',
): Promise<{ readonly text: string; readonly mode: number }> {
  const state = await stat(path);
  const problem = userFileProblem(state);
  if (problem !== undefined) {
    throw new SlipwayError('LOCAL_FILES', `${path} could not be read: ${problem}`, {
      hint: 'No data was lost: move it away, then run the same command again',
    });
  }
  return { text: await readTextFile(path, encoding), mode: state.mode & 0o777 };
}

function userFileProblem(state: Stats): string | undefined {
  if (state.isDirectory()) return 'it is a folder';
  if (!state.isFile()) return 'it is not a regular file';
  return state.size > MAX_USER_FILE_BYTES ? `it is too large (${state.size} bytes)` : undefined;
}

/** Returns the text of a configuration file of the user's as `readUserFile` does; undefined if it is missing. */
export async function readUserFileIfExists(path: string): Promise<string | undefined> {
  return readUserFile(path).then(
    ({ text }) => text,
    fallbackIfMissing(() => undefined),
  );
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

const FILE_REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'your disk quota is used up',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  EBUSY: 'another program uses it, or it is a mount of its own (mount its folder instead)',
  ENOTDIR: 'a part of its path is a file',
  EEXIST: 'a part of its path is a file',
  EISDIR: 'it is a folder',
  ELOOP: 'its symbolic links form a loop',
};

/** Returns why a file can't be used, as the end of a sentence. */
export function fileReasonOf(error: unknown): string {
  const code = systemCode(error) ?? '';
  return code === 'ENOENT' ? 'it does not exist' : (FILE_REASONS[code] ?? reasonOf(error));
}

/** Returns a LOCAL_FILES error for a problem of the user's disk, and any other error unchanged. */
export function localFileError(path: string, error: unknown, action: 'written' | 'read' = 'written'): unknown {
  const reason = FILE_REASONS[systemCode(error) ?? ''];
  if (reason === undefined) return error;
  return new SlipwayError('LOCAL_FILES', `${path} could not be ${action}: ${reason}`, {
    hint: 'No data was lost: fix the cause, then run the same command again',
    cause: error,
  });
}
