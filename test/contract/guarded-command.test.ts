import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { releaseChild } from '../../src/computer/child-process.ts';
import { guardedCommand, type Purpose } from '../../src/computer/guarded-command.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { isProcessAlive } from '../fakes/executable-scripts.ts';

/** Starts a guarded script in a folder. The script writes the numbers of its processes into files. */
async function startGuarded(
  folder: string,
  purpose: Purpose,
  script = 'sleep 60 & echo $! >child; echo $$ >pid; wait',
) {
  const [command, ...argv] = guardedCommand('/bin/sh', ['-c', script], purpose, process.platform);
  const guard: ChildProcess = spawn(command, argv, {
    cwd: folder,
    detached: true,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const ended = once(guard, 'exit') as Promise<[number | null, string | null]>;
  const readPid = async (file: string): Promise<number> =>
    Number(await readFile(join(folder, file), 'utf8').catch(() => '0'));
  return {
    guard,
    ended,
    async pids() {
      while ((await readPid('pid')) === 0) await sleep(10);
      return await Promise.all(['pid', 'child'].map(readPid));
    },
    [Symbol.dispose]: () => {
      try {
        process.kill(-(guard.pid ?? 0), 'SIGKILL');
      } catch {
        // It has ended.
      }
    },
  };
}

async function waitForEnd(pids: readonly number[], seconds: number): Promise<void> {
  await expect.poll(() => Promise.all(pids.map(isProcessAlive)), { timeout: seconds * 1000 }).toEqual([false, false]);
}

describe.skipIf(process.platform === 'win32')('guardedCommand', () => {
  test('passes the exit status on, and leaves no process', async () => {
    await using folder = await createTemporaryFolder();
    await writeFile(join(folder.path, 'file'), '');
    using run = await startGuarded(folder.path, { maker: true, files: ['file'] }, 'echo $$ >pid; exit 7');
    expect(await run.ended).toEqual([7, null]);
  });

  test('kills the program and its children when its maker is gone', async () => {
    await using folder = await createTemporaryFolder();
    using run = await startGuarded(folder.path, { maker: true });
    const pids = await run.pids();
    // The system closes the pipe of a process that was killed.
    run.guard.stdin?.destroy();
    await run.ended;
    await waitForEnd(pids, 2);
  });

  test('lets the program clean up', async () => {
    await using folder = await createTemporaryFolder();
    const script = `trap 'echo cleaned >result; exit' TERM; sleep 60 & echo $! >child; echo $$ >pid; wait`;
    using run = await startGuarded(folder.path, { maker: true }, script);
    const pids = await run.pids();
    run.guard.stdin?.destroy();
    await waitForEnd(pids, 3);
    expect(await readFile(join(folder.path, 'result'), 'utf8')).toBe('cleaned\n');
  });

  test('does not kill a program that its maker has released', async () => {
    await using folder = await createTemporaryFolder();
    using run = await startGuarded(folder.path, { maker: true });
    const pids = await run.pids();
    await releaseChild(run.guard);
    run.guard.stdin?.destroy();
    await sleep(500);
    expect(await Promise.all(pids.map(isProcessAlive))).toEqual([true, true]);
  });

  test('kills the program when its files are removed, and not when its folder is moved', async () => {
    await using folder = await createTemporaryFolder();
    const place = join(folder.path, 'vm');
    await mkdir(place);
    for (const file of ['one', 'two']) await writeFile(join(place, file), '');
    using run = await startGuarded(place, { files: ['one', 'two'] });
    const pids = await run.pids();
    await rename(place, `${place}-moved`);
    await rm(join(`${place}-moved`, 'one'));
    await sleep(4000);
    expect(await Promise.all(pids.map(isProcessAlive))).toEqual([true, true]);
    await rm(`${place}-moved`, { recursive: true });
    await waitForEnd(pids, 6);
  });

  test('is the program itself on Windows, and without a purpose', () => {
    expect(guardedCommand('qemu', ['-S'], { maker: true }, 'win32')).toEqual(['qemu', '-S']);
    expect(guardedCommand('qemu', ['-S'], {}, 'linux')).toEqual(['qemu', '-S']);
  });
});
