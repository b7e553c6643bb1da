import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isMachineName } from '../../src/machine/model.ts';
import { openStore } from '../../src/machine/store.ts';
import { catchError, catchRejection } from '../fakes/catch-error.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';

const readMode = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

describe('a record', () => {
  test('is read as it was written, by its owner only, whatever the umask', async () => {
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
        expect(await readMode(record)).toBe('600');
        for (const path of [folder, join(home.path, 'state', 'machines'), join(home.path, 'state')])
          expect(await readMode(path)).toBe('700');
      }
    } finally {
      process.umask(before);
    }
  });

  test('of a name that is free is not there, and reading it names those that are', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    expect(await store.find('web')).toBeUndefined();
    expect(await catchRejection(store.read('web'))).toMatchObject({
      code: 'MACHINE_NOT_FOUND',
      message: 'Machine "web" does not exist',
      hint: 'To create it: slipway create web',
    });
    await store.write(readyMachine('db'));
    // A create that was stopped before its first record left a folder only.
    await mkdir(join(home.path, 'machines', 'half'));
    expect((await catchRejection(store.read('web')))?.hint).toBe('Existing machines: db');
  });

  test('goes whole: nothing of the machine stays, and the name is free', async () => {
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

describe('a list', () => {
  test('is in the order in which people count', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    for (const name of ['web-10', 'web-2', 'db', 'Web-1', 'a.b']) await store.write(readyMachine(name));
    expect(await store.listNames()).toEqual(['a.b', 'db', 'Web-1', 'web-2', 'web-10']);
  });

  test('of a home that does not exist is empty and makes none', async () => {
    await using home = await createTemporaryFolder();
    expect(await openStore(join(home.path, 'none')).list()).toEqual([]);
    expect(await readdir(home.path)).toEqual([]);
  });

  test('passes over what is no machine', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(readyMachine('web'));
    for (const name of ['.removed-db-1', '.DS_Store', 'half', 'a b']) await mkdir(join(home.path, 'machines', name));
    expect((await store.list()).map(({ name }) => name)).toEqual(['web']);
  });

  test('holds 200 machines', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    const names = Array.from({ length: 200 }, (_, index) => `web-${index}`);
    await Promise.all(names.map((name) => store.write(readyMachine(name))));
    expect((await store.list()).map(({ name }) => name)).toEqual(names);
  });
});

describe('one bad record', () => {
  const whole = JSON.stringify(readyMachine('bad'));
  const bad: readonly (readonly [string, string])[] = [
    ['', 'it is empty'],
    [whole.slice(0, 100), 'it is not JSON'],
    ['null', 'it is not a record'],
    ['[]', 'it is not a record'],
    ['{"version":1}', 'it is not a record'],
    [whole.replace('"version":1', '"version":0'), 'it is not a record'],
    [whole.replace('"version":1', '"version":2'), 'a newer version of Slipway wrote it'],
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

  test.each(bad)('%j says what is wrong, and hides no other', async (text, why) => {
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

  test('that is a folder says so in the same way, and can be removed', async () => {
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

describe('a name', () => {
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
  ])('%j is refused before any path is made of it', async (name) => {
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

  test.each(['a', 'web-1', '0', 'a.b', 'x'.repeat(63), 'Web', 'a-'])('%j is one', (name) => {
    expect(isMachineName(name)).toBe(true);
  });
});

test("a home that can't be one is said in a sentence when a machine is to be made", async () => {
  await using home = await createTemporaryFolder();
  await writeFile(join(home.path, 'file'), '');
  expect(await catchRejection(openStore(join(home.path, 'file')).lock('web'))).toMatchObject({
    code: 'LOCAL_FILES',
    message: expect.stringMatching(/could not be written: a part of its path is a file$/),
  });
});

test("a lock is taken in the machine's folder, which it makes, and a removal under it does no harm", async () => {
  await using home = await createTemporaryFolder();
  const store = openStore(home.path);
  {
    await using _lock = await store.lock('web');
    expect(await readMode(store.paths('web').folder)).toBe('700');
    expect((await catchRejection(store.lock('web')))?.code).toBe('MACHINE_BUSY');
    await store.write(readyMachine('web'));
    await store.remove('web');
  }
  await using _again = await store.lock('web');
  await rm(store.paths('web').folder, { recursive: true });
});
