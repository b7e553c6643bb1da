import { childEnvironment, proxyVariablesIn, runInForeground } from '../computer/child-process.ts';
import type { Cli } from './command.ts';

export type ProgramInvocation = {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Cli['env'];
  readonly signal: AbortSignal;
  /** Receives the program's output line by line; its input is then closed. Without it, the program has the terminal. */
  readonly log?: (line: string) => void;
};

/**
 * Runs a program of this computer until it ends and returns its exit status (128 + n if signal n ended it). The program gets
 * none of the secrets that may be in the environment, but the proxy settings: packages may be reachable only through one.
 */
export function runProgram({ program, argv, env, signal, log }: ProgramInvocation): Promise<number> {
  return runInForeground(program, argv, { env: childEnvironment({ env }, proxyVariablesIn(env)), signal, log });
}
