import { stat } from 'node:fs/promises';

/** Windows has no file modes, symbolic links for everybody, FIFOs or POSIX shell. */
export const isPosix = process.platform !== 'win32';

/** Returns text in which paths have slashes, as they have on all systems but Windows. */
export const withSlashes = (text: string): string => (isPosix ? text : text.replaceAll('\\', '/'));

/** Returns the mode of a file in octal digits; on systems without modes, `wanted`. */
export async function readMode(path: string, wanted: string): Promise<string> {
  const { mode } = await stat(path);
  return isPosix ? (mode & 0o777).toString(8) : wanted;
}
