/** Processes in other PID namespaces and under other host names, as in containers that share a home folder. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { takeLock } from '../../src/computer/lock.ts';
import { createWorkFolder, removeAbandonedWork } from '../../src/computer/work-folder.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { bundleModule } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const NAMESPACES = ['--uts', '--pid', '--fork', '--kill-child', '--mount-proc'];

function canUnshare(): boolean {
  try {
    execFileSync('unshare', [...NAMESPACES, 'hostname', 'other'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Runs a script in new namespaces, under the host name `other`. `lines` are its complete lines of output. */
function startElsewhere(namespaces: readonly string[], script: string) {
  const child = spawn(
    'unshare',
    [
      ...namespaces,
      'sh',
      '-c',
      'hostname other; exec "$@"',
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    readLine: async (): Promise<string | undefined> => (await lines.next()).value as string | undefined,
    async [Symbol.asyncDispose]() {
      const closed = once(child, 'exit');
      if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await closed;
    },
  };
}

const takeScript = (module: string, folder: string, then: string): string => `
  import { takeLock } from ${JSON.stringify(module)};
  try {
    const lock = await takeLock(${JSON.stringify(folder)}, 'web');
    console.log('taken');
    ${then}
  } catch (error) {
    console.log(error.message);
  }`;
const STAY = 'setInterval(() => {}, 1000);';
const take = (folder: string): Promise<unknown> => takeLock(folder, 'web').then((lock) => lock[Symbol.asyncDispose]());

describe.skipIf(!canUnshare())('a folder that containers share', () => {
  test('has one owner, whatever its PID means elsewhere', async () => {
    await using folder = await createTemporaryFolder();
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/lock.ts', scripts.path);
    {
      await using mine = await takeLock(folder.path, 'web');
      void mine;
      await using other = startElsewhere(NAMESPACES, takeScript(module, folder.path, STAY));
      expect(await other.readLine()).toMatch(/^web is in use by another command \(PID \d+ on .+\)$/);
    }
    await using holder = startElsewhere(NAMESPACES, takeScript(module, folder.path, STAY));
    expect(await holder.readLine()).toBe('taken');
    expect((await catchRejection(take(folder.path)))?.message).toMatch(/^web is in use .*\(PID \d+ on other\)$/);
    await using another = startElsewhere(NAMESPACES, takeScript(module, folder.path, STAY));
    // Both have PID 1 or so in their namespaces, and the same host name.
    expect(await another.readLine()).toMatch(/^web is in use .*\(PID \d+ in another container\)$/);
  });

  test('is free at once after a kill where only the host name differs', async () => {
    await using folder = await createTemporaryFolder();
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/lock.ts', scripts.path);
    {
      await using holder = startElsewhere(['--uts'], takeScript(module, folder.path, STAY));
      expect(await holder.readLine()).toBe('taken');
      expect((await catchRejection(take(folder.path)))?.code).toBe('MACHINE_BUSY');
    }
    await take(folder.path);
  });

  test('stays locked while its owner is alive after a suspend, and is free after a kill once its file is old', async () => {
    await using folder = await createTemporaryFolder();
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/lock.ts', scripts.path);
    const makeOld = async (): Promise<void> => utimes(join(folder.path, 'lock.1'), 1000, 1000);
    {
      await using holder = startElsewhere(NAMESPACES, takeScript(module, folder.path, STAY));
      expect(await holder.readLine()).toBe('taken');
      await makeOld();
      expect((await catchRejection(take(folder.path)))?.code).toBe('MACHINE_BUSY');
    }
    // Right after the kill, its owner may be alive.
    expect((await catchRejection(take(folder.path)))?.code).toBe('MACHINE_BUSY');
    await makeOld();
    const startedAt = performance.now();
    await take(folder.path);
    expect(performance.now() - startedAt).toBeGreaterThan(9000);
  });

  test('keeps the half-made folders of containers that run', async () => {
    await using folder = await createTemporaryFolder();
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/work-folder.ts', scripts.path);
    const script = (name: string, then: string): string => `
      import { createWorkFolder, removeAbandonedWork } from ${JSON.stringify(module)};
      await removeAbandonedWork(${JSON.stringify(folder.path)}, '.new-');
      await createWorkFolder(${JSON.stringify(folder.path)}, '.new-');
      console.log(${JSON.stringify(name)});
      ${then}`;
    await using first = startElsewhere(NAMESPACES, script('first', STAY));
    expect(await first.readLine()).toBe('first');
    await using second = startElsewhere(NAMESPACES, script('second', STAY));
    expect(await second.readLine()).toBe('second');
    await using _mine = await createWorkFolder(folder.path, '.new-');
    await removeAbandonedWork(folder.path, '.new-');
    expect(await readdir(folder.path)).toHaveLength(3);
  });
});
