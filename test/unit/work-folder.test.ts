import { chown, mkdir, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createWorkFolder, removeAbandonedWork } from '../../src/computer/work-folder.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { isPosix } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const PREFIX = '.new-';

test('the folder of a running process stays, and is deleted at the end of its scope with what is in it', async () => {
  await using parent = await createTemporaryFolder();
  {
    await using work = await createWorkFolder(parent.path, PREFIX);
    expect(await readdir(work.folder)).toEqual([]);
    await writeFile(join(work.folder, 'disk'), 'x');
    await removeAbandonedWork(parent.path, PREFIX);
    expect(await readdir(work.folder)).toEqual(['disk']);
  }
  expect(await readdir(parent.path)).toEqual([]);
});

test('the folder of a killed process is deleted', async () => {
  await using parent = await createTemporaryFolder();
  await using scripts = await createTemporaryFolder();
  const module = await bundleModule('computer/work-folder.ts', scripts.path);
  const worker = await startScript(
    `import { createWorkFolder } from ${JSON.stringify(module)};
     console.log((await createWorkFolder(${JSON.stringify(parent.path)}, '.new-')).folder);
     setInterval(() => {}, 1000);`,
    scripts.path,
  );
  await worker.readLine();
  await removeAbandonedWork(parent.path, PREFIX);
  expect(await readdir(parent.path)).toHaveLength(1);
  worker.process.kill('SIGKILL');
  await worker.ended;
  await removeAbandonedWork(parent.path, PREFIX);
  expect(await readdir(parent.path)).toEqual([]);
});

test.runIf(isPosix)("links and other users' folders stay", async () => {
  await using parent = await createTemporaryFolder();
  await using other = await createTemporaryFolder();
  await writeFile(join(other.path, 'precious'), 'x');
  await symlink(other.path, join(parent.path, '.new-link'));
  await writeFile(join(parent.path, '.new-file'), 'x');
  await mkdir(join(parent.path, '.new-theirs'));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(join(parent.path, '.new-theirs'), 65534, 65534);
  else await rm(join(parent.path, '.new-theirs'), { recursive: true });
  await removeAbandonedWork(parent.path, PREFIX);
  expect((await readdir(parent.path)).toSorted()).toEqual(
    ['.new-file', '.new-link', ...(isRoot ? ['.new-theirs'] : [])].toSorted(),
  );
  expect(await readdir(other.path)).toEqual(['precious']);
});

test('the folder of a process in another container stays as long as that touches its lock', async () => {
  await using parent = await createTemporaryFolder();
  const place = join(parent.path, '.new-0123456789ab');
  await mkdir(place);
  const owner = { pid: 2 ** 22 + 1, started: '', host: hostname(), place: 'another-boot/pid:[1]' };
  await writeFile(join(place, 'lock.1'), JSON.stringify(owner));
  await removeAbandonedWork(parent.path, PREFIX);
  expect(await readdir(parent.path)).toEqual(['.new-0123456789ab']);
});

test('a folder of an earlier version, named after a PID, stays while that process runs or may run elsewhere', async () => {
  await using parent = await createTemporaryFolder();
  const anHourAgo = new Date(Date.now() - 61 * 60_000);
  for (const [name, time] of [
    [`.new-${process.pid}-0123456789ab`, anHourAgo],
    ['.new-4194305-aaaaaaaaaaaa', new Date()],
    ['.new-4194305-bbbbbbbbbbbb', anHourAgo],
    ['other', anHourAgo],
  ] as const) {
    await mkdir(join(parent.path, name));
    await utimes(join(parent.path, name), time, time);
  }
  await removeAbandonedWork(parent.path, PREFIX);
  expect((await readdir(parent.path)).toSorted()).toEqual(
    [`.new-${process.pid}-0123456789ab`, '.new-4194305-aaaaaaaaaaaa', 'other'].toSorted(),
  );
});
