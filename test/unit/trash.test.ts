import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { emptyTrash, moveToTrash } from '../../src/computer/trash.ts';
import { bundleModule, startScript, hasBeenKilled } from '../fakes/script-process.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

async function createFolder(path: string): Promise<string> {
  await mkdir(join(path, 'tls'), { recursive: true });
  await writeFile(join(path, 'machine.json'), '{}');
  await writeFile(join(path, 'tls', 'key.pem'), 'PRIVATE');
  return path;
}

const listFiles = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder, { recursive: true })).map((path) => path.replaceAll('\\', '/')).toSorted();

const FILES = ['machine.json', 'tls', 'tls/key.pem'];

describe('moveToTrash', () => {
  test('renames a folder with its files to a hidden name beside it', async () => {
    await using parent = await createTemporaryFolder();
    await moveToTrash(await createFolder(join(parent.path, 'web')));
    const [trash = '', ...others] = await readdir(parent.path);
    expect(trash).toMatch(/^\.removed-web-[0-9a-f]{12}$/);
    expect(others).toEqual([]);
    expect(await listFiles(join(parent.path, trash))).toEqual(FILES);
  });

  test('uses another name each time, so that a folder can be created and removed again', async () => {
    await using parent = await createTemporaryFolder();
    for (let round = 0; round < 3; round += 1) await moveToTrash(await createFolder(join(parent.path, 'web')));
    expect(await readdir(parent.path)).toHaveLength(3);
  });

  test('does nothing if the folder is missing', async () => {
    await using parent = await createTemporaryFolder();
    await moveToTrash(join(parent.path, 'web'));
    await moveToTrash(join(parent.path, 'missing', 'web'));
    expect(await readdir(parent.path)).toEqual([]);
  });

  test.runIf(isPosix)('throws any other error', async () => {
    await using parent = await createTemporaryFolder();
    await writeFile(join(parent.path, 'file'), '');
    await expect(moveToTrash(join(parent.path, 'file', 'web'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });
});

describe('emptyTrash', () => {
  test('deletes trash of this version and of older ones, and nothing else', async () => {
    await using parent = await createTemporaryFolder();
    for (const name of ['.removed-web-1234', '.removed-0b6f0d2c-1f3a', 'web', 'removed-db', '.locks'])
      await createFolder(join(parent.path, name));
    await moveToTrash(await createFolder(join(parent.path, 'db')));
    await writeFile(join(parent.path, '.removed-file'), '');
    await emptyTrash(parent.path);
    expect((await readdir(parent.path)).toSorted()).toEqual(['.locks', 'removed-db', 'web']);
    expect(await listFiles(join(parent.path, 'web'))).toEqual(FILES);
  });

  test('does nothing if the folder is missing', async () => {
    await using parent = await createTemporaryFolder();
    await emptyTrash(join(parent.path, 'missing'));
    expect(await readdir(parent.path)).toEqual([]);
  });
});

/**
 * Removes a folder in another process, which kills itself before its file operation of this number. The deletion of a
 * folder counts twice, because it can also be killed halfway. Returns whether the process was killed.
 */
async function removeUntilKilled(step: number, folder: string, module: string, scripts: string): Promise<boolean> {
  const script = `
    import fs from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    import { dirname, join } from 'node:path';
    let left = ${step};
    const countDown = () => {
      left -= 1;
      if (left === 0) process.kill(process.pid, 'SIGKILL');
    };
    const { rename, readdir, rm } = fs;
    fs.rename = (...call) => (countDown(), rename(...call));
    fs.readdir = (...call) => (countDown(), readdir(...call));
    fs.rm = async (path, options) => {
      countDown();
      await rm(join(path, 'machine.json'), { force: true });
      countDown();
      await rm(path, options);
    };
    syncBuiltinESMExports();
    const { moveToTrash, emptyTrash } = await import(${JSON.stringify(module)});
    const folder = ${JSON.stringify(folder)};
    await moveToTrash(folder);
    await emptyTrash(dirname(folder));`;
  return hasBeenKilled(await (await startScript(script, scripts)).ended);
}

describe('a removal', () => {
  test('that is killed between any two steps leaves the complete folder or trash, which the next one deletes', async () => {
    await using scripts = await createTemporaryFolder();
    const module = await bundleModule('computer/trash.ts', scripts.path);
    const outcomes: string[] = [];
    for (let step = 1; ; step += 1) {
      await using parent = await createTemporaryFolder();
      const folder = await createFolder(join(parent.path, 'web'));
      const hasBeenKilled = await removeUntilKilled(step, folder, module, scripts.path);
      const entries = await readdir(parent.path);
      if (entries.includes('web')) expect(await listFiles(folder), `killed before step ${step}`).toEqual(FILES);
      outcomes.push(entries.map((entry) => (entry === 'web' ? 'complete' : 'trash')).join() || 'deleted');
      await moveToTrash(folder);
      await emptyTrash(parent.path);
      expect(await readdir(parent.path), `killed before step ${step}`).toEqual([]);
      if (!hasBeenKilled) break;
    }
    expect(outcomes).toEqual(['complete', 'trash', 'trash', 'trash', 'deleted']);
  });

  test('that several processes run at the same time fails in none of them and leaves nothing', async () => {
    await using scripts = await createTemporaryFolder();
    await using parent = await createTemporaryFolder();
    const module = await bundleModule('computer/trash.ts', scripts.path);
    const script = `
      import { mkdir, writeFile } from 'node:fs/promises';
      import { join } from 'node:path';
      import { moveToTrash, emptyTrash } from ${JSON.stringify(module)};
      const parent = ${JSON.stringify(parent.path)};
      for (let round = 0; round < 40; round += 1) {
        // Half of the folders are shared by all processes, and the trash always is.
        const folder = join(parent, round % 2 === 0 ? 'web' : 'web-' + process.pid);
        await mkdir(join(folder, 'tls'), { recursive: true }).catch(() => {});
        await writeFile(join(folder, 'tls', 'key.pem'), 'PRIVATE').catch(() => {});
        await moveToTrash(folder);
        await emptyTrash(parent);
      }`;
    const children = await Promise.all(Array.from({ length: 4 }, () => startScript(script, scripts.path)));
    expect(await Promise.all(children.map(({ ended }) => ended))).toEqual([0, 0, 0, 0]);
    await emptyTrash(parent.path);
    expect(await readdir(parent.path)).toEqual([]);
  });

  test('does not delete a folder that another process has created under the same name since', async () => {
    await using parent = await createTemporaryFolder();
    const folder = await createFolder(join(parent.path, 'web'));
    await moveToTrash(folder);
    await createFolder(folder);
    await emptyTrash(parent.path);
    expect(await readdir(parent.path)).toEqual(['web']);
    expect(await readFile(join(folder, 'tls', 'key.pem'), 'utf8')).toBe('PRIVATE');
  });
});
