import { spawn } from 'node:child_process';
import { childEnvironment, proxyVariablesIn } from '../computer/child-process.ts';
import { SlipwayError, systemCode } from '../errors.ts';

export type ProgramInvocation = {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Takes the program's output line by line; its input is closed. Without `log`, the program has this terminal. */
  readonly log?: (line: string) => void;
};

/** Runs a program of this computer to its end and returns its exit status: 128 + n after a signal, as shells report it. */
export function runProgram({ program, argv, env, signal, log }: ProgramInvocation): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      // The child gets none of the secrets that this environment may hold, and a proxy's variables to reach packages.
      env: childEnvironment({ env }, proxyVariablesIn(env)),
      stdio: log ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    });
    const stop = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const flushes = log ? [child.stdout, child.stderr].map((stream) => forwardLines(stream, log)) : [];
    child.once('error', reject);
    child.once('close', (code, signalName) => {
      signal.removeEventListener('abort', stop);
      for (const flush of flushes) flush();
      resolve(toExitStatus(code, signalName));
    });
  });
}

/**
 * Runs a program of OpenSSH on this terminal, with the user's whole environment, and returns its exit status: 128 + n after
 * a signal, as shells report it. Throws DRIVER_UNSUPPORTED if the program is not installed.
 */
export function runInTerminal(program: string, argv: readonly string[], signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, { stdio: 'inherit' });
    signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    child.once('error', (error) => {
      if (systemCode(error) !== 'ENOENT') return reject(error);
      reject(
        new SlipwayError('DRIVER_UNSUPPORTED', `The program ${program} is not installed on this computer`, {
          hint: 'Install the OpenSSH client',
          cause: error,
        }),
      );
    });
    child.once('close', (code, signalName) => resolve(toExitStatus(code, signalName)));
  });
}

function toExitStatus(code: number | null, signalName: NodeJS.Signals | null): number {
  return code ?? (signalName === 'SIGINT' ? 130 : 143);
}

/** Passes whole lines to `log`. The returned function passes on the rest that no line break has ended. */
function forwardLines(stream: NodeJS.ReadableStream | null, log: (line: string) => void): () => void {
  let rest = '';
  const forward = (line: string): void => {
    if (line.trim() !== '') log(line.trimEnd());
  };
  stream?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split(/\r?\n|\r/);
    rest = lines.pop() ?? '';
    for (const line of lines) forward(line);
  });
  return () => forward(rest);
}
