import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Computer } from '../../src/computer/computer.ts';
import { isPosix } from './file-modes.ts';

/** Writes an executable shell script and returns its path. */
export async function writeScript(path: string, body: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

/** Returns a computer whose PATH starts with `bin` in this folder and continues with the real PATH. */
export function computerWithPrograms(folder: string, more: Partial<Computer> = {}): Computer {
  return {
    platform: 'linux',
    arch: 'x64',
    env: { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH ?? ''}` },
    home: join(folder, 'home'),
    templates: '',
    ...more,
  };
}

/** Returns whether this process is alive. A zombie has no command line. */
export async function isProcessAlive(pid: number): Promise<boolean> {
  if (!isPosix) return canSignal(pid);
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '';
}

/** Returns whether a process of Windows exists, where no process remains as a zombie. */
function canSignal(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
