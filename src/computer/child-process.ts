import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile, type FileHandle } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Computer } from './computer.ts';
import { guardedCommand, type Purpose } from './guarded-command.ts';
import { canceledError, reasonOf, systemCode } from '../errors.ts';

/** The result of a program on this computer, with the last lines of its output. `signal` is what ended it, if any. */
export type ChildResult = { readonly code: number; readonly lines: readonly string[]; readonly signal?: string };

/**
 * What a program said to a question: it answered, it refused with an exit status, or it could not be asked: it could
 * not be started, did not end in time, or was killed. Nothing follows from the third, so callers refuse what depends on
 * the answer, and keep no record of it.
 */
export type ProgramAnswer = { readonly lines: readonly string[] } & (
  | { readonly outcome: 'answered' }
  | { readonly outcome: 'refused'; readonly code: number }
  | { readonly outcome: 'not-asked'; readonly reason: string }
);

type Environment = Readonly<Record<string, string | undefined>>;

const MAX_KEPT_LINES = 200;
/** How long a program has to clean up after SIGTERM, before it gets SIGKILL. */
const GRACE_SECONDS = 10;
/**
 * The variables that programs need, and after the first line those of Windows, without which its ssh and winget fail.
 * Other variables of the user's environment may be secret and are not passed on.
 */
const PASSED_VARIABLES = [
  /^(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TEMP|TMP|TERM|XDG_\w+|DEBIAN_FRONTEND)$/i,
  /^(System(Root|Drive)|windir|ComSpec|PATHEXT|OS|Processor_\w+|Number_Of_Processors|ChocolateyInstall)$/i,
  /^((Local)?AppData|User(Profile|Name|Domain)|Home(Drive|Path)|ProgramData|AllUsersProfile|Public)$/i,
  /^((Common)?Program(Files(\(x86\))?|W6432)|NoDefaultCurrentDirectoryInExePath)$/i,
];

/**
 * Returns the proxy settings of an environment. Package repositories can often be reached only through a proxy. Its URL
 * may contain a password, so only programs that download something get these variables.
 */
export function proxyVariablesIn(env: Computer['env']): Readonly<Record<string, string>> {
  const variables = Object.entries(env).filter(([name, value]) => value && /^(https?|no)_proxy$/i.test(name));
  return Object.fromEntries(variables) as Record<string, string>;
}

/** Returns the environment for a program: the needed variables of the user's environment, and `more`. */
export function childEnvironment(
  { env }: Pick<Computer, 'env'>,
  more: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv {
  const passed = Object.entries(env).filter(
    ([name, value]) => value !== undefined && PASSED_VARIABLES.some((known) => known.test(name)),
  );
  return { ...Object.fromEntries(passed), ...more } as NodeJS.ProcessEnv;
}

/** A program in its own process group: Ctrl-C in the terminal reaches only Slipway, which then ends the group. */
export type ChildGroup = {
  readonly child: ChildProcess;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Signals the program and its child processes. Does nothing if it has ended or was never started. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
};

/**
 * The options of a child process. `env` adds variables to those that every program gets. With `purpose`, the program is
 * killed when that is gone, even if this process was killed.
 */
type ChildOptions = {
  readonly computer: Computer;
  readonly purpose?: Purpose | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
};

/** Starts a program with closed input and piped output. If it can't be started, `child` emits `error`. */
export function startChildGroup(file: string, argv: readonly string[], how: ChildOptions): ChildGroup {
  // Windows has no process groups to signal.
  const hasGroup = how.computer.platform !== 'win32';
  const { platform } = how.computer;
  const [command, ...rest] = guardedCommand(file, argv, how.purpose ?? {}, platform);
  const child = spawn(command, rest, {
    // Nothing is ever written to this pipe: its end tells a guard that this process is gone.
    stdio: [how.purpose?.maker && hasGroup ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    detached: hasGroup,
    env: childEnvironment(how.computer, how.env),
    windowsHide: true,
    ...(how.cwd === undefined ? {} : { cwd: how.cwd }),
  });
  let isClosed = false;
  child.once('close', () => (isClosed = true));
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error('a child process with pipes has no output');
  return {
    child,
    stdout,
    stderr,
    kill(signal) {
      // Other processes of the group may outlive the program. After all of them have closed their output, the system
      // may reuse the group's number.
      if (child.pid !== undefined && !isClosed) sendSignal(hasGroup ? -child.pid : child.pid, signal);
    },
  };
}

/**
 * Runs a program in its own process group until it ends; an abort ends the whole group. Passes the output to `log`,
 * line by line. Rejects if the program can't be started, and with CANCELED after an abort.
 */
export function runChild(
  file: string,
  argv: readonly string[],
  how: ChildOptions & {
    readonly log: (line: string) => void;
    readonly signal: AbortSignal;
  },
): Promise<ChildResult> {
  return new Promise((resolve, reject) => {
    if (how.signal.aborted) return reject(canceledError());
    const group = startChildGroup(file, argv, how);
    const lines: string[] = [];
    forwardLines([group.stdout, group.stderr], (line) => {
      lines.push(line);
      if (lines.length > MAX_KEPT_LINES) lines.shift();
      how.log(line);
    });
    let killTimer: NodeJS.Timeout | undefined;
    const stop = (): void => {
      group.kill('SIGTERM');
      // A shell that is just starting a program may miss SIGTERM.
      killTimer = setTimeout(() => group.kill('SIGKILL'), GRACE_SECONDS * 1000);
    };
    const cleanUp = (): void => {
      clearTimeout(killTimer);
      how.signal.removeEventListener('abort', stop);
    };
    how.signal.addEventListener('abort', stop, { once: true });
    group.child.once('error', (error) => {
      cleanUp();
      reject(error);
    });
    group.child.once('close', (code, signal) => {
      cleanUp();
      if (how.signal.aborted) reject(canceledError());
      else resolve({ code: code ?? 1, lines, ...(signal === null ? {} : { signal }) });
    });
  });
}

/** From this exit status on, a shell reports that it could not start a program, or which signal ended it. */
const SHELL_STATUS = 126;
const NOT_FOUND_STATUS = 127;

/**
 * Asks a program a question that it answers within `seconds`, and ends it after that time, or when this process ends,
 * even if it is killed. Rejects only with CANCELED.
 */
export async function askProgram(
  file: string,
  argv: readonly string[],
  how: ChildOptions & { readonly signal: AbortSignal; readonly seconds: number },
): Promise<ProgramAnswer> {
  const timeout = AbortSignal.timeout(how.seconds * 1000);
  const lines: string[] = [];
  const notAsked = (reason: string): ProgramAnswer => ({ outcome: 'not-asked', reason, lines });
  try {
    const { code, signal } = await runChild(file, argv, {
      ...how,
      purpose: { maker: true, ...how.purpose },
      signal: AbortSignal.any([how.signal, timeout]),
      log: (line) => lines.push(line),
    });
    if (signal !== undefined) return notAsked(`${signal} ended it`);
    if (code === NOT_FOUND_STATUS) return notAsked('it is not installed');
    if (code >= SHELL_STATUS) return notAsked(lines.at(-1) ?? `it ended with status ${code}`);
    return code === 0 ? { outcome: 'answered', lines } : { outcome: 'refused', code, lines };
  } catch (error) {
    if (how.signal.aborted) throw canceledError();
    if (timeout.aborted) return notAsked(`it did not answer within ${how.seconds} s`);
    if (systemCode(error) === undefined) throw error;
    return notAsked(systemCode(error) === 'ENOENT' ? 'it is not installed' : reasonOf(error));
  }
}

/**
 * Runs a program in Slipway's own process group, so that it can use the terminal and receives Ctrl-C. Returns its exit
 * status, or 128 + n if signal n ended it, as shells do. An abort sends SIGTERM. With `log` the program has no
 * terminal: its input is closed, and its output goes to `log` line by line. Rejects if the program can't be started.
 */
export function runInForeground(
  program: string,
  argv: readonly string[],
  how: {
    /** The complete environment of the program. If undefined, it inherits Slipway's. */
    readonly env?: Environment | undefined;
    readonly signal: AbortSignal;
    readonly log?: ((line: string) => void) | undefined;
  },
): Promise<number> {
  const { env, signal, log } = how;
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      stdio: log ? ['ignore', 'pipe', 'pipe'] : 'inherit',
      ...(env === undefined ? {} : { env }),
    });
    if (log && child.stdout && child.stderr) forwardLines([child.stdout, child.stderr], log);
    const stop = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', (error) => {
      signal.removeEventListener('abort', stop);
      reject(error);
    });
    child.once('close', (code, name) => {
      signal.removeEventListener('abort', stop);
      resolve(code ?? (name === 'SIGINT' ? 130 : 143));
    });
  });
}

/** Starts a program that outlives Slipway, with closed input and its output in a file. Does not wait for its end. */
export function startInBackground(
  program: string,
  argv: readonly string[],
  how: {
    readonly env: Environment;
    readonly output: FileHandle;
    readonly cwd?: string | undefined;
    readonly guard?: { readonly purpose: Purpose; readonly platform: NodeJS.Platform };
  },
): ChildProcess {
  const { guard } = how;
  const [command, ...rest] = guard
    ? guardedCommand(program, argv, guard.purpose, guard.platform)
    : ([program, ...argv] as const);
  const hasPipe = guard?.purpose.maker === true && guard.platform !== 'win32';
  const child = spawn(command, rest, {
    detached: true,
    stdio: [hasPipe ? 'pipe' : 'ignore', how.output.fd, how.output.fd],
    env: how.env,
    windowsHide: true,
    ...(how.cwd === undefined ? {} : { cwd: how.cwd }),
  });
  child.unref();
  // The pipe stays open until this process ends, and does not keep it running.
  const pipe = child.stdin as Socket | null;
  pipe?.unref();
  // The guard may have ended with its program.
  pipe?.on('error', () => {});
  return child;
}

/** Lets a program outlive this process that was started in the background with this process as its purpose. */
export async function releaseChild({ stdin }: ChildProcess): Promise<void> {
  if (stdin) await new Promise<void>((resolve) => void stdin.end('\n', () => resolve()));
}

/** Signals a process, or its group if the number is negative. Does nothing if it has ended. */
export function sendSignal(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/**
 * Gives a process the lowest priority that the system allows, so that everything else on this computer goes first. The
 * process must lead its own session.
 */
export async function lowerPriority(pid: number): Promise<void> {
  // Ignores that the process has ended or that the system refuses: nothing depends on the priority.
  const ignoreSystemError = (error: unknown): void => {
    if (systemCode(error) === undefined) throw error;
  };
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch (error) {
    ignoreSystemError(error);
  }
  // With autogroups, Linux schedules each session as a group, and the group has its own priority.
  await writeFile(`/proc/${pid}/autogroup`, '19', { flag: 'r+' }).catch(ignoreSystemError);
}

/** Passes on each line that is not blank, without trailing spaces. */
function forwardLines(streams: readonly Readable[], onLine: (line: string) => void): void {
  for (const stream of streams) {
    createInterface({ input: stream }).on('line', (line) => {
      const text = line.trimEnd();
      if (text !== '') onLine(text);
    });
  }
}
