import { spawn } from 'node:child_process';
import { childEnvironment, proxyVariablesIn } from '../computer/child-process.ts';
import type { Cli } from './command.ts';

export type ProgramInvocation = {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Cli['env'];
  readonly signal: AbortSignal;
  /** Takes its output line by line, and its input is closed. Without it, the program has our terminal. */
  readonly log?: (line: string) => void;
};

/** Runs a program of this computer to its end; 128 + n for a death by signal, as shells have it. */
export function runProgram({ program, argv, env, signal, log }: ProgramInvocation): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      // None of the secrets that may stand in ours; a proxy leads to the packages.
      env: childEnvironment({ env }, proxyVariablesIn(env)),
      stdio: log ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    });
    const stop = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const rests = log ? [child.stdout, child.stderr].map((stream) => forwardLines(stream, log)) : [];
    child.once('error', reject);
    child.once('close', (code, name) => {
      signal.removeEventListener('abort', stop);
      for (const rest of rests) rest();
      resolve(code ?? (name === 'SIGINT' ? 130 : 143));
    });
  });
}

/** Gives whole lines to `log`; what it returns gives the rest. */
function forwardLines(stream: NodeJS.ReadableStream | null, log: (line: string) => void): () => void {
  let rest = '';
  const give = (line: string): void => {
    if (line.trim() !== '') log(line.trimEnd());
  };
  stream?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split(/\r?\n|\r/);
    rest = lines.pop() ?? '';
    for (const line of lines) give(line);
  });
  return () => give(rest);
}
