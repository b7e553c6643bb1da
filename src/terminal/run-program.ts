import { childEnvironment, proxyVariablesIn, runInForeground } from '../computer/child-process.ts';
import type { Computer } from '../computer/computer.ts';
import { locateProgram } from '../computer/programs.ts';
import { SlipwayError, systemCode } from '../errors.ts';

export type ProgramInvocation = {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Takes the program's output line by line; its input is closed. Without `log`, the program has this terminal. */
  readonly log?: (line: string) => void;
};

/**
 * Runs a program of this computer until it ends and returns its exit status (128 + n if signal n ended it). The program
 * gets none of the secrets that may be in the environment, but the proxy settings: packages may be reachable only
 * through one.
 */
export function runProgram({ program, argv, env, signal, log }: ProgramInvocation): Promise<number> {
  const variables = childEnvironment({ env }, proxyVariablesIn(env));
  return runInForeground(locateProgram(program, env), argv, { env: variables, signal, log });
}

/**
 * Runs a program of OpenSSH on this terminal, with the user's whole environment, and returns its exit status: 128 + n
 * after a signal, as shells report it. Throws DRIVER_UNSUPPORTED if the program is not installed.
 */
export async function runInTerminal(
  program: string,
  argv: readonly string[],
  { computer, signal }: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<number> {
  return runInForeground(locateProgram(program, computer.env), argv, { signal }).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new SlipwayError('DRIVER_UNSUPPORTED', `The program ${program} is not installed on this computer`, {
      hint: 'Install the OpenSSH client',
      cause: error,
    });
  });
}
