import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isMachineName } from '../../src/machine/model.ts';
import { openStore } from '../../src/machine/store.ts';
import { catchError, catchRejection } from '../fakes/catch-error.ts';
import { readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';

describe('a record', () => {
  test('is read as it was written, and only its owner can read it, whatever the umask', async () => {
    const before = process.umask();
    try {
      for (const umask of [0o000, 0o077]) {
        await using home = await createTemporaryFolder();
        process.umask(umask);
        const store = openStore(join(home.path, 'state'));
        const machine = readyMachine('web');
        await store.write(machine);
        expect(await store.read('web')).toEqual(machine);
        const { record, folder } = store.paths('web');
        expect(await readMode(record, '600')).toBe('600');
        for (const path of [folder, join(home.path, 'state', 'machines'), join(home.path, 'state')])
          expect(await readMode(path, '700')).toBe('700');
      }
    } finally {
      process.umask(before);
    }
  });

  test('of an unknown name is missing, and reading it lists the existing machines', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    expect(await store.find('web')).toBeUndefined();
    expect(await catchRejection(store.read('web'))).toMatchObject({
      code: 'MACHINE_NOT_FOUND',
      message: 'Machine "web" does not exist',
      hint: 'To create it: slipway create web',
    });
    await store.write(readyMachine('db'));
    // A create that was killed before its first record leaves only a folder.
    await mkdir(join(home.path, 'machines', 'half'));
    expect((await catchRejection(store.read('web')))?.hint).toBe('Existing machines: db');
  });

  test('is removed with all files of the machine, and the name is free', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(readyMachine('web'));
    await mkdir(store.paths('web').ca);
    await writeFile(join(store.paths('web').ca, 'ca-key.pem'), 'secret');
    await store.remove('web');
    expect(await store.find('web')).toBeUndefined();
    expect(await readdir(join(home.path, 'machines'))).toEqual([]);
    await store.remove('web');
  });
});

describe('the list of machines', () => {
  test('is in natural order', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    for (const name of ['web-10', 'web-2', 'db', 'Web-1', 'a.b']) await store.write(readyMachine(name));
    expect(await store.listNames()).toEqual(['a.b', 'db', 'Web-1', 'web-2', 'web-10']);
  });

  test('of a missing home folder is empty, and creates no folder', async () => {
    await using home = await createTemporaryFolder();
    expect(await openStore(join(home.path, 'none')).list()).toEqual([]);
    expect(await readdir(home.path)).toEqual([]);
  });

  test('skips what is no machine', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(readyMachine('web'));
    for (const name of ['.removed-db-1', '.DS_Store', 'half', 'a b']) await mkdir(join(home.path, 'machines', name));
    expect((await store.list()).map(({ name }) => name)).toEqual(['web']);
  });

  test('can have 200 machines', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    const names = Array.from({ length: 200 }, (_, index) => `web-${index}`);
    await Promise.all(names.map((name) => store.write(readyMachine(name))));
    expect((await store.list()).map(({ name }) => name)).toEqual(names);
  });
});

describe('a broken record', () => {
  const validRecord = JSON.stringify(readyMachine('bad'));
  const brokenRecords: readonly (readonly [string, string])[] = [
    ['', 'it is empty'],
    [validRecord.slice(0, 100), 'it is not JSON'],
    ['null', 'it is not a record'],
    ['[]', 'it is not a record'],
    ['{"version":1}', 'it is not a record'],
    [validRecord.replace('"version":1', '"version":0'), 'it is not a record'],
    [validRecord.replace('"version":1', '"version":2'), 'a newer version of Slipway wrote it'],
    [JSON.stringify(readyMachine('other')), 'it belongs to a machine named "other"'],
    [
      JSON.stringify({ version: 1, phase: 'ready', spec: specNamed('bad') }),
      'its phase "ready" requires members that are missing',
    ],
    [
      JSON.stringify({ version: 1, phase: 'gone', spec: specNamed('bad') }),
      'its phase "gone" requires members that are missing',
    ],
  ];

  test.each(brokenRecords)('%j is reported with the reason, and others are still listed', async (text, why) => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(readyMachine('web'));
    await store.write(readyMachine('bad'));
    const { record } = store.paths('bad');
    await writeFile(record, text);
    const [first, second] = await store.list();
    expect(second).toMatchObject({ name: 'web', machine: { phase: 'ready' } });
    expect(first).toMatchObject({
      name: 'bad',
      broken: {
        code: 'RECORD_BROKEN',
        message: `The record of "bad" can't be used: ${why} (${record})`,
        hint: 'Fix the file, or remove the record: slipway rm --force bad',
      },
    });
    expect((await catchRejection(store.read('bad')))?.code).toBe('RECORD_BROKEN');
    expect(await readFile(record, 'utf8')).toBe(text);
  });

  test('that is a folder is reported too, and can be removed', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(readyMachine('web'));
    await mkdir(store.paths('bad').record, { recursive: true });
    const [first, second] = await store.list();
    expect(second).toMatchObject({ name: 'web', machine: { phase: 'ready' } });
    expect(first).toMatchObject({ broken: { code: 'RECORD_BROKEN', hint: expect.stringContaining('rm --force bad') } });
    expect((await catchRejection(store.read('bad')))?.code).toBe('RECORD_BROKEN');
    expect((await catchRejection(store.read('none')))?.hint).toBe('Existing machines: bad, web');
    await store.remove('bad');
    expect(await store.listNames()).toEqual(['web']);
  });
});

describe('a machine name', () => {
  test.each([
    '../web',
    'a/b',
    '.',
    '..',
    '',
    '-x',
    '.hidden',
    'a b',
    'a\nb',
    'ä',
    'a_b',
    'x'.repeat(64),
    '$(id)',
    'web\0',
  ])('%j is refused before any file operation', async (name) => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    expect(isMachineName(name)).toBe(false);
    expect(catchError(() => store.paths(name))).toMatchObject({
      code: 'USAGE',
      message: `${JSON.stringify(name)} can't be a machine name`,
    });
    expect((await catchRejection(store.find(name)))?.code).toBe('USAGE');
    expect((await catchRejection(store.lock(name)))?.code).toBe('USAGE');
    expect((await catchRejection(store.remove(name)))?.code).toBe('USAGE');
    expect(await readdir(home.path)).toEqual([]);
  });

  test.each(['a', 'web-1', '0', 'a.b', 'x'.repeat(63), 'Web', 'a-'])('%j is valid', (name) => {
    expect(isMachineName(name)).toBe(true);
  });
});

test('a lock in a home that is a file is refused with the reason', async () => {
  await using home = await createTemporaryFolder();
  await writeFile(join(home.path, 'file'), '');
  expect(await catchRejection(openStore(join(home.path, 'file')).lock('web'))).toMatchObject({
    code: 'LOCAL_FILES',
    message: expect.stringMatching(/could not be written: a part of its path is a file$/),
  });
});

test("a lock creates the machine's folder, which can be removed while it is held", async () => {
  await using home = await createTemporaryFolder();
  const store = openStore(home.path);
  {
    await using _lock = await store.lock('web');
    expect(await readMode(store.paths('web').folder, '700')).toBe('700');
    expect((await catchRejection(store.lock('web')))?.code).toBe('MACHINE_BUSY');
    await store.write(readyMachine('web'));
    await store.remove('web');
  }
  await using _again = await store.lock('web');
  await rm(store.paths('web').folder, { recursive: true });
});
