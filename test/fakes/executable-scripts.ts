import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Computer } from '../../src/computer/computer.ts';

/** A program of the test's own: a shell script that can be run. Its path. */
export async function writeScript(path: string, body: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

/** A computer whose programs are those of this one, and before them those in `bin` of this folder. */
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

/** Whether a process of this number lives: one that has ended, though nobody asked for its status yet, has no command line. */
export async function isProcessAlive(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== '';
}
