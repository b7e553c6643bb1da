import { lstat } from 'node:fs/promises';
import { homedir, platform, userInfo } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { SlipwayError, systemCode } from '../errors.ts';
import { quote } from '../ssh/shell.ts';
import { fileReasonOf, localFileError } from '../computer/files.ts';

/** An error of Node's file functions. */
type FileSystemError = Error & { readonly path: string; readonly syscall: string; readonly dest?: string };

/**
 * Turns an error of a file on this computer into a sentence with the file's path and the command that fixes it. Returns
 * any other error unchanged. Both programs call it for every error that ends them, since each file that Slipway uses
 * can be unreadable: `sudo docker`, for example, leaves a `~/.docker` that belongs to root.
 */
export async function explainFileError(error: unknown): Promise<unknown> {
  const system = findFileSystemError(error);
  if (system === undefined) return error;
  const hint = ['EACCES', 'EPERM'].includes(systemCode(system) ?? '') ? await accessHint(system) : undefined;
  if (error instanceof SlipwayError) return hint === undefined ? error : hintedError(error, hint);
  const action = /^(open|read|scandir|l?stat|access)/.test(system.syscall) ? 'read' : 'written';
  const known = localFileError(system.path, system, action);
  const sentence =
    known instanceof SlipwayError
      ? known
      : new SlipwayError('LOCAL_FILES', `${system.path} could not be ${action}: ${fileReasonOf(system)}`, {
          hint: `Check it: ${accessListCommand([system.path])}`,
          cause: error,
        });
  return hint === undefined ? sentence : hintedError(sentence, hint);
}

function findFileSystemError(error: unknown): FileSystemError | undefined {
  if (error instanceof SlipwayError && error.code !== 'LOCAL_FILES') return undefined;
  const system = error instanceof SlipwayError ? error.cause : error;
  if (!(system instanceof Error) || systemCode(system) === undefined) return undefined;
  const { path, syscall } = system as { readonly path?: unknown; readonly syscall?: unknown };
  // A program that could not be started also has a path.
  const isFile = typeof path === 'string' && typeof syscall === 'string' && !syscall.startsWith('spawn');
  return isFile ? (system as FileSystemError) : undefined;
}

function hintedError({ code, message, detail, cause }: SlipwayError, hint: string): SlipwayError {
  return new SlipwayError(code, message, { detail, cause, hint });
}

/** Returns the command that gives the user access, or shows who has it. */
async function accessHint(error: FileSystemError): Promise<string | undefined> {
  const { path } = error;
  const { uid } = userInfo();
  // Windows has no owners and modes.
  if (uid < 0) return `To see who has access: ${accessListCommand([path])}. If a program has it open, close that first`;
  for (const part of pathsBetween(homedir(), path)) {
    // A part that can't be examined is inside one that denies access, which the loop reaches first.
    const found = await lstat(part).catch(() => undefined);
    if (!found) break;
    // What root owns in a user's home was left there by sudo. Another owner may have a reason.
    if (found.uid === 0 && uid !== 0)
      return `It belongs to root. To make it yours: sudo chown -R "$(id -un)" ${quote(part)}`;
    if (found.uid !== uid) break;
    const needed = found.isDirectory() ? 0o700 : 0o600;
    if ((found.mode & needed) !== needed) return `To allow yourself access: chmod u+rwX ${quote(part)}`;
  }
  return systemCode(error) === 'EPERM' && platform() === 'linux'
    ? immutableHint(error)
    : `To see who has access: ${accessListCommand([path, dirname(path)])}`;
}

/**
 * Returns how to find and remove the attribute that makes a file immutable, also for the root user. Linux reports it as
 * EPERM, and a mode that forbids a change as EACCES.
 */
function immutableHint({ path, dest }: FileSystemError): string {
  const file = quote(dest ?? path);
  return `It may be immutable. To see: lsattr -d ${file}. To allow changes: sudo chattr -i ${file}`;
}

/** Returns the command that shows who has access to files. */
function accessListCommand(paths: readonly string[]): string {
  if (platform() !== 'win32') return `ls -ld ${paths.map(quote).join(' ')}`;
  // In double quotes, cmd, PowerShell and a POSIX shell read such a path alike.
  return paths.map((path) => `icacls "${path}"`).join('; ');
}

/** Returns the paths from the first one below `folder` down to `path`; none if `path` is elsewhere. */
function pathsBetween(folder: string, path: string): readonly string[] {
  const names = relative(folder, path).split(sep);
  return names[0] === '..' ? [] : names.map((_, index) => join(folder, ...names.slice(0, index + 1)));
}
