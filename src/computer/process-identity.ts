import { readFile } from 'node:fs/promises';
import type { Computer } from './computer.ts';
import { systemCode } from '../errors.ts';
import { readFileIfExists } from './files.ts';

/**
 * Identifies a process of this computer for as long as the computer runs. The system gives the number of a process that
 * ended to a later one, so `started` tells the two apart.
 */
export type ProcessIdentity = {
  readonly pid: number;
  /**
   * Clock ticks since boot with the boot's id; '' if unknown (other systems than Linux): the number alone counts then.
   */
  readonly started: string;
};

export async function identifyProcess(pid: number): Promise<ProcessIdentity> {
  return { pid, started: await readProcessStart(pid) };
}

/** Returns whether that process still runs; a later process with the same number does not count. */
export async function isProcessAlive({ pid, started }: ProcessIdentity): Promise<boolean> {
  return isPidInUse(pid) && (started === '' || started === (await readProcessStart(pid)));
}

/**
 * Returns whether a process with this number runs and has these words in its command line, with one blank between them.
 * For a process that outlives the command that started it and writes its number itself: nobody recorded when it
 * started.
 */
export async function isProcessRunningCommand(
  pid: number,
  words: readonly string[],
  call: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<boolean> {
  return `${(await readCommandLine(pid, call)).replaceAll('\0', ' ')} `.includes(` ${words.join(' ')} `);
}

/** A process of another user counts: the system does not allow a signal to it, but knows it. */
function isPidInUse(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}

async function readProcessStart(pid: number): Promise<string> {
  try {
    const [stat, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ]);
    // The second field is the command in parentheses and may hold blanks and parentheses itself.
    return `${boot.trim()}/${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch (error) {
    if (systemCode(error) !== undefined) return '';
    throw error;
  }
}

/** Returns '' if no such process runs. */
async function readCommandLine(
  pid: number,
  { computer, signal }: { readonly computer: Computer; readonly signal: AbortSignal },
): Promise<string> {
  // A zombie has an empty one.
  if (computer.platform === 'linux') return (await readFileIfExists(`/proc/${pid}/cmdline`).catch(() => '')) ?? '';
  const [program, ...argv] =
    computer.platform === 'win32'
      ? (['powershell.exe', '-NoProfile', '-Command', windowsCommandLineQuery(pid)] as const)
      : (['ps', '-ww', '-o', 'command=', '-p', String(pid)] as const);
  // Loaded late: locks need this file, and a command that only reads files starts no program.
  const { runChild } = await import('./child-process.ts');
  const { lines } = await runChild(program, argv, { computer, signal, log: () => {} });
  return lines.join(' ');
}

function windowsCommandLineQuery(pid: number): string {
  return `(Get-CimInstance Win32_Process -Filter 'ProcessId=${pid}').CommandLine`;
}
