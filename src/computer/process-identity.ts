import { readFile } from 'node:fs/promises';
import type { Computer } from './computer.ts';
import { SlipwayError, systemCode } from '../errors.ts';
import type { ProgramAnswer } from './child-process.ts';

/**
 * Identifies a process on this computer until the next boot. The system reuses the numbers of processes that have
 * ended, so `started` distinguishes processes with the same number.
 */
export type ProcessIdentity = {
  readonly pid: number;
  /** The boot's id and the start in clock ticks. '' on systems other than Linux, where only the number is compared. */
  readonly started: string;
};

export async function identifyProcess(pid: number): Promise<ProcessIdentity> {
  return { pid, started: (await readProcessStart(pid)) ?? '' };
}

/** `unknown`: a process with this number runs, and the system does not tell when it started. */
export type ProcessState = 'running' | 'ended' | 'unknown';

/**
 * Returns the state of a process. Neither a later process with the same number counts as running nor a zombie: in a
 * container whose first process does not wait for others, a killed command stays one and would keep its locks.
 */
export async function getProcessState({ pid, started }: ProcessIdentity): Promise<ProcessState> {
  if (!isPidInUse(pid)) return 'ended';
  const current = await readProcessStart(pid);
  if (current === undefined) return 'ended';
  if (current !== '' && started !== '') return current === started ? 'running' : 'ended';
  // It may have ended meanwhile, which leaves no start time either.
  return isPidInUse(pid) ? 'unknown' : 'ended';
}

/** Returns whether the process still runs, as far as the system tells: `unknown` counts as running. */
export async function isProcessAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await getProcessState(identity)) !== 'ended';
}

/**
 * Returns whether a process with this number runs and has these words in its command line, separated by single spaces.
 * For processes that write their own number to a file, so that their start time was not recorded. Throws if a process
 * has the number and the system does not say what it runs: that is no answer.
 */
export async function isProcessRunningCommand(
  pid: number,
  words: readonly string[],
  call: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<boolean> {
  if (!isPidInUse(pid)) return false;
  return `${(await readCommandLine(pid, call)).replaceAll('\0', ' ')} `.includes(` ${words.join(' ')} `);
}

/** A process of another user counts too: the system refuses to signal it, but with another error than ESRCH. */
function isPidInUse(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}

/** Returns '' on systems other than Linux; undefined for a zombie. */
async function readProcessStart(pid: number): Promise<string | undefined> {
  try {
    const [stat, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ]);
    // The second field is the command in parentheses, and can contain spaces and parentheses.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' ? undefined : `${boot.trim()}/${fields[18]}`;
  } catch (error) {
    if (systemCode(error) !== undefined) return '';
    throw error;
  }
}

/** Returns a process's command line; '' if the process does not run. */
async function readCommandLine(
  pid: number,
  call: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<string> {
  const { platform } = call.computer;
  if (platform === 'linux') return await readProcCommandLine(pid);
  if (platform === 'win32') return readWindowsCommandLine(pid, call);
  const answer = await askSystem('ps', ['-ww', '-o', 'command=', '-p', String(pid)], call);
  // With status 1, it says that there is no such process.
  if (answer.outcome === 'not-asked') throw unknownProgramError('This computer', pid, `ps -p ${pid}`, answer);
  return answer.lines.join(' ');
}

/** Returns '' for a process that has ended. The file is empty for a zombie process. */
async function readProcCommandLine(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/cmdline`, 'utf8').catch((error: unknown) => {
    if (['ENOENT', 'ESRCH'].includes(systemCode(error) ?? '')) return '';
    throw error;
  });
}

/** How long a system may take to say what a process runs. PowerShell alone starts in a second or more. */
const ANSWER_SECONDS = 30;

async function askSystem(
  program: string,
  argv: readonly string[],
  call: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<ProgramAnswer> {
  // Imported only when needed: every lock imports this file, and most commands start no programs.
  const { askProgram } = await import('./child-process.ts');
  return await askProgram(program, argv, { ...call, seconds: ANSWER_SECONDS });
}

/**
 * Only PowerShell shows the command lines of other processes. It starts in a second, is refused on some computers, and
 * shows nothing of a process with more rights. It therefore says what it found, and its silence is an error.
 */
async function readWindowsCommandLine(
  pid: number,
  call: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<string> {
  const argv = ['-NoProfile', '-NonInteractive', '-Command', windowsProcessQuery(pid)];
  const answer = await askSystem(powershellPath(call.computer), argv, call);
  const commandLine = answer.lines.find((line) => line.startsWith('command='))?.slice('command='.length);
  if (commandLine) return commandLine;
  if (answer.lines.includes('none')) return '';
  throw unknownProgramError('Windows', pid, `tasklist /v /fi "PID eq ${pid}"`, answer);
}

function unknownProgramError(system: string, pid: number, command: string, answer: ProgramAnswer): SlipwayError {
  const reason = answer.outcome === 'not-asked' ? [answer.reason] : [];
  return new SlipwayError('DRIVER_FAILED', `${system} does not say which program process ${pid} is`, {
    hint: `To see it: ${command}. Then run the same command again, as administrator if it runs as one`,
    detail: [...answer.lines, ...reason],
  });
}

function windowsProcessQuery(pid: number): string {
  return `$p = Get-CimInstance Win32_Process -Filter 'ProcessId=${pid}' -ErrorAction Stop; if ($p) { 'command=' + $p.CommandLine } else { 'none' }`;
}

/** The folder of PowerShell is in every PATH, but a program of this name may also be in the current folder. */
function powershellPath({ env }: Computer): string {
  return `${env.SystemRoot ?? String.raw`C:\Windows`}\\System32\\WindowsPowerShell\\v1.0\\powershell.exe`;
}
