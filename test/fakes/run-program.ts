import { execFile, spawnSync } from 'node:child_process';

/** Returns whether this program is on this computer. */
export function hasProgram(program: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', program]).status === 0;
}

export type ProgramResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs a program to its end; a non-zero exit status is a result, not an error. */
export function runProgram(
  file: string,
  argv: readonly string[],
  how: {
    readonly env?: NodeJS.ProcessEnv;
    readonly stdin?: string | Buffer;
    readonly cwd?: string;
    /** The user to run it as; only root can name another one. */
    readonly uid?: number;
  } = {},
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const { env = process.env, cwd = process.cwd(), uid } = how;
    const user = uid === undefined ? {} : { uid, gid: uid };
    const child = execFile(file, argv, { env, cwd, ...user, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
    // A program can exit without having read its input.
    child.stdin?.on('error', () => {});
    child.stdin?.end(how.stdin ?? '');
  });
}
