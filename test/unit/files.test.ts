import { execFileSync } from 'node:child_process';
import { chown, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  applyFileChanges,
  readFileIfExists,
  readUserFileIfExists,
  retryWhileInUse,
  writeFileAtomic,
} from '../../src/computer/files.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { isPosix, readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

test.runIf(isPosix)('files get their mode and missing folders 0700, whatever the umask', async () => {
  const before = process.umask();
  try {
    for (const umask of [0o000, 0o022, 0o077, 0o027]) {
      await using folder = await createTemporaryFolder();
      process.umask(umask);
      await applyFileChanges([
        { do: 'write', path: join(folder.path, 'a', 'b', 'secret'), content: 'x', mode: 0o600 },
        { do: 'write', path: join(folder.path, 'a', 'open'), content: 'x', mode: 0o644 },
      ]);
      expect(await readMode(join(folder.path, 'a', 'b', 'secret'), '600')).toBe('600');
      expect(await readMode(join(folder.path, 'a', 'open'), '644')).toBe('644');
      expect([
        await readMode(join(folder.path, 'a'), '700'),
        await readMode(join(folder.path, 'a', 'b'), '700'),
      ]).toEqual(['700', '700']);
    }
  } finally {
    process.umask(before);
  }
});

test('changes are applied in order; deleting a missing file does nothing, deleting a folder deletes its content', async () => {
  await using folder = await createTemporaryFolder();
  const path = join(folder.path, 'deep', 'file');
  await applyFileChanges([
    { do: 'delete', path: join(folder.path, 'never') },
    { do: 'write', path, content: 'first', mode: 0o600 },
    { do: 'write', path, content: 'second', mode: 0o640 },
  ]);
  expect([await readFile(path, 'utf8'), await readMode(path, '640')]).toEqual(['second', '640']);
  await applyFileChanges([{ do: 'delete', path: join(folder.path, 'deep') }]);
  expect(await readdir(folder.path)).toEqual([]);
});

test('a failed write leaves the old content and nothing beside it', async () => {
  await using folder = await createTemporaryFolder();
  const folderAtPath = join(folder.path, 'taken');
  await mkdir(folderAtPath);
  await writeFile(join(folderAtPath, 'inside'), 'x');
  await expect(writeFileAtomic(folderAtPath, 'new', 0o600)).rejects.toThrow();
  expect(await readdir(folder.path)).toEqual(['taken']);
  expect(await readFile(join(folderAtPath, 'inside'), 'utf8')).toBe('x');
});

test("the error names the path that can't be written, and the reason", async () => {
  await using folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'file'), '');
  const path = join(folder.path, 'file', 'below');
  expect(await catchRejection(writeFileAtomic(path, 'x', 0o600))).toMatchObject({
    code: 'LOCAL_FILES',
    message: `${path} could not be written: a part of its path is a file`,
  });
});

test('a missing file is read as undefined, any other error is thrown', async () => {
  await using folder = await createTemporaryFolder();
  expect(await readFileIfExists(join(folder.path, 'none'))).toBeUndefined();
  await expect(readFileIfExists(folder.path)).rejects.toThrow(/EISDIR/);
});

test('on Windows, an operation on a file in use is repeated for some seconds; elsewhere its error is final', async () => {
  let calls = 0;
  const failWith = (codes: readonly string[]) => async (): Promise<string> => {
    const code = codes[calls];
    calls += 1;
    if (code !== undefined) throw Object.assign(new Error(code), { code });
    return 'done';
  };
  expect(await retryWhileInUse(failWith(['EPERM', 'EACCES', 'EBUSY', 'ENOTEMPTY']), { system: 'win32' })).toBe('done');
  expect(calls).toBe(5);
  for (const [codes, how] of [
    [['EPERM'], { system: 'linux' }],
    [['ENOENT'], { system: 'win32' }],
  ] as const) {
    calls = 0;
    await expect(retryWhileInUse(failWith(codes), how)).rejects.toThrow(codes[0]);
    expect(calls).toBe(1);
  }
  calls = 0;
  const forever = { system: 'win32', seconds: 0.1 };
  await expect(retryWhileInUse(failWith(Array<string>(1000).fill('EBUSY')), forever)).rejects.toThrow('EBUSY');
  expect(calls).toBeGreaterThan(2);
});

test('a reader sees the old or the new content, even after a kill', async () => {
  await using folder = await createTemporaryFolder();
  const module = await bundleModule('computer/files.ts', folder.path);
  const path = join(folder.path, 'record');
  const script = `
    import { writeFileAtomic } from ${JSON.stringify(module)};
    for (let round = 0; ; round += 1) {
      await writeFileAtomic(${JSON.stringify(path)}, String(round % 10).repeat(300_000), 0o600);
      process.stdout.write('written\\n');
    }`;
  const isComplete = async (): Promise<boolean> => /^(\d)\1{299999}$/.test(await readFile(path, 'utf8'));
  for (let round = 0; round < 4; round += 1) {
    const writer = await startScript(script, folder.path);
    for (let line = 0; line < 3 + round; line += 1) {
      expect(await writer.readLine()).toBe('written');
      expect(await isComplete()).toBe(true);
    }
    writer.process.kill('SIGKILL');
    expect(await writer.ended).toBe('SIGKILL');
    expect(await isComplete()).toBe(true);
  }
});

const UNREADABLE_KINDS = [
  ['a folder', async (path: string): Promise<void> => void (await mkdir(path)), 'it is a folder'],
  ['a FIFO', async (path: string): Promise<void> => void execFileSync('mkfifo', [path]), 'it is not a regular file'],
  [
    'a huge file',
    async (path: string): Promise<void> => {
      await writeFile(path, '');
      await truncate(path, 5 * 2 ** 30);
    },
    `it is too large (${5 * 2 ** 30} bytes)`,
  ],
] as const;

test.each(UNREADABLE_KINDS.filter(([kind]) => isPosix || kind !== 'a FIFO'))(
  "%s in the place of a user's file is a sentence",
  async (_kind, create, why) => {
    await using folder = await createTemporaryFolder();
    const path = join(folder.path, 'config');
    await create(path);
    expect(await catchRejection(readUserFileIfExists(path))).toMatchObject({
      code: 'LOCAL_FILES',
      message: `${path} could not be read: ${why}`,
    });
  },
);

test.runIf(isPosix)('links that form a loop are a sentence, and stay', async () => {
  await using folder = await createTemporaryFolder();
  const path = join(folder.path, 'config');
  await symlink('config', path);
  expect(await catchRejection(writeFileAtomic(path, 'x', 0o600))).toMatchObject({
    code: 'LOCAL_FILES',
    message: `${path} could not be written: its symbolic links form a loop`,
  });
  expect(await readdir(folder.path)).toEqual(['config']);
});

test.runIf(process.getuid?.() === 0)(
  "a file of a user's stays the user's when root writes it, also through a link",
  async () => {
    await using folder = await createTemporaryFolder();
    const [path, link] = [join(folder.path, 'config'), join(folder.path, 'link')];
    await writeFile(path, 'old', { mode: 0o640 });
    await chown(path, 65_534, 65_533);
    await symlink('config', link);
    await writeFileAtomic(link, 'new', 0o640);
    const { uid, gid, mode } = await stat(path);
    expect([uid, gid, mode & 0o777, await readFile(path, 'utf8')]).toEqual([65_534, 65_533, 0o640, 'new']);
  },
);
