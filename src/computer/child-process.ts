import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import type { Computer } from './computer.ts';
import { canceledError, systemCode } from '../errors.ts';

/** How a program of this computer ended, with the last lines that it wrote. */
export type ChildResult = { readonly code: number; readonly lines: readonly string[] };

const MAX_KEPT_LINES = 200;
/** What programs get to take away what they have half made. */
const GRACE_SECONDS = 10;
/** What programs need of our environment. Whatever else stands there may be a secret, and is none of their business. */
const PASSED_VARIABLES =
  /^(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TEMP|TMP|TERM|XDG_\w+|SystemRoot|ComSpec|PATHEXT|APPDATA|LOCALAPPDATA|USERPROFILE|DEBIAN_FRONTEND)$/i;

/** Where the packages come from is often behind one; it may hold a password, so only who fetches is told. */
export function proxyVariablesIn(env: Computer['env']): Readonly<Record<string, string>> {
  const found = Object.entries(env).filter(([name, value]) => value && /^(https?|no)_proxy$/i.test(name));
  return Object.fromEntries(found) as Record<string, string>;
}

export function childEnvironment(
  { env }: Pick<Computer, 'env'>,
  more: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv {
  const passed = Object.entries(env).filter(([name, value]) => value !== undefined && PASSED_VARIABLES.test(name));
  return { ...Object.fromEntries(passed), ...more } as NodeJS.ProcessEnv;
}

/**
 * Runs a program to its end, in a process group of its own: Ctrl-C reaches us alone, and an abort ends the program with all
 * that it started. Its output goes to `log`, line by line. Rejects when it can't be started, and with CANCELED.
 */
export function runChild(
  file: string,
  argv: readonly string[],
  how: {
    readonly computer: Computer;
    readonly env?: Readonly<Record<string, string>>;
    readonly cwd?: string;
    readonly log: (line: string) => void;
    readonly signal: AbortSignal;
  },
): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    if (how.signal.aborted) return reject(canceledError());
    const group = how.computer.platform !== 'win32';
    const child = spawn(file, argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: group,
      env: childEnvironment(how.computer, how.env),
      ...(how.cwd === undefined ? {} : { cwd: how.cwd }),
    });
    const lines: string[] = [];
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        const text = line.trimEnd();
        if (text === '') return;
        lines.push(text);
        if (lines.length > MAX_KEPT_LINES) lines.shift();
        how.log(text);
      });
    }
    let last: NodeJS.Timeout | undefined;
    const stop = (): void => {
      const { pid } = child;
      if (pid === undefined) return;
      // A shell that is just starting a program may miss the first one.
      signalProcess(pid, group, 'SIGTERM');
      last = setTimeout(() => signalProcess(pid, group, 'SIGKILL'), GRACE_SECONDS * 1000);
    };
    const over = (): void => {
      clearTimeout(last);
      how.signal.removeEventListener('abort', stop);
    };
    how.signal.addEventListener('abort', stop, { once: true });
    child.once('error', (error) => {
      over();
      reject(error);
    });
    child.once('close', (code) => {
      over();
      if (how.signal.aborted) reject(canceledError());
      else resolve({ code: code ?? 1, lines });
    });
  });
}

/** Lets a process of ours, with a session of its own, stand behind all else that this computer has to do, as far as the system allows. */
export async function lowerPriority(pid: number): Promise<void> {
  // It may have ended, or has no such number: nothing depends on its priority.
  const refused = (error: unknown): void => {
    if (systemCode(error) === undefined) throw error;
  };
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch (error) {
    refused(error);
  }
  // Linux weighs whole sessions against each other, where it is made to, and each by a number of its own.
  await writeFile(`/proc/${pid}/autogroup`, '19', { flag: 'r+' }).catch(refused);
}

/** SIGTERM lets it take away what it has half made. */
function signalProcess(pid: number, group: boolean, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(group ? -pid : pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
