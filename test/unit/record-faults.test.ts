/** The record and the values of the engine's variables are two files that change together, or not at all. */
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../src/machine/store.ts';
import type { ReadyMachine } from '../../src/machine/model.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { readyMachine, specNamed } from '../fakes/sample-machine.ts';
import { bundleModule, startScript, hasBeenKilled } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const machineWith = (...env: readonly string[]): ReadyMachine => {
  const spec = specNamed('web');
  return readyMachine('web', { spec: { ...spec, engine: { ...spec.engine, env } } });
};
const BEFORE = machineWith('HTTP_PROXY=http://user:secret@proxy', 'NO_PROXY=a,b');
const AFTER = machineWith('HTTP_PROXY=http://user:other@proxy');

const listFiles = async (store: Store): Promise<readonly string[]> =>
  (await readdir(store.paths('web').folder)).map((file) => file.replace(/[0-9a-f]{12}/, 'X')).toSorted();

/** Turns the store's record into that of an earlier version, which did not name the file of the values. */
async function makeEarlier(store: Store): Promise<void> {
  const { folder, record } = store.paths('web');
  const { engineEnv, ...rest } = JSON.parse(await readFile(record, 'utf8')) as Record<string, string>;
  await writeFile(record, JSON.stringify(rest));
  if (engineEnv !== undefined) await rename(join(folder, engineEnv), join(folder, 'engine-env.json'));
}

/**
 * Writes a machine in another process. Its file operation of this number and all later ones fail, because the disk is
 * full, or it is killed there. Returns false if it made fewer operations.
 */
async function writeWithFault(
  fault: 'full' | 'killed',
  step: number,
  home: string,
  module: string,
  scripts: string,
): Promise<boolean> {
  const script = `
    import fs from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    let count = 0;
    const begin = () => {
      count += 1;
      if (count < ${step}) return;
      if (${fault === 'killed'}) process.kill(process.pid, 'SIGKILL');
      throw Object.assign(new Error('full'), { code: 'ENOSPC', path: 'x', syscall: 'write' });
    };
    const { open, rename, rm, chmod } = fs;
    fs.open = async (path, flags, mode) => {
      if (flags === 'r') return open(path, flags, mode);
      begin();
      const handle = await open(path, flags, mode);
      const { writeFile, sync } = handle;
      handle.writeFile = async (content) => {
        try {
          begin();
        } catch (error) {
          await writeFile.call(handle, content.slice(0, content.length / 2));
          throw error;
        }
        await writeFile.call(handle, content);
      };
      handle.sync = async () => (begin(), sync.call(handle));
      return handle;
    };
    fs.rename = async (...call) => (begin(), rename(...call));
    fs.chmod = async (...call) => (begin(), chmod(...call));
    // A full disk deletes files; only a kill can come before that.
    fs.rm = async (...call) => (${fault === 'killed'} && begin(), rm(...call));
    syncBuiltinESMExports();
    const { openStore } = await import(${JSON.stringify(module)});
    await openStore(${JSON.stringify(home)}).write(${JSON.stringify(AFTER)});`;
  const ended = await (
    await startScript(
      `${script.replace('await openStore', 'try { await openStore')}
    } catch (error) {
      process.exitCode = error.code === 'LOCAL_FILES' ? 9 : 8;
    }`,
      scripts,
    )
  ).ended;
  expect(ended === 0 || ended === 9 || hasBeenKilled(ended)).toBe(true);
  return ended !== 0;
}

const CASES = [
  ['other values', 'full', BEFORE, false],
  ['other values', 'killed', BEFORE, false],
  ['no values', 'full', machineWith(), false],
  ['values of an earlier version', 'full', BEFORE, true],
  ['values of an earlier version', 'killed', BEFORE, true],
] as const;

describe('a record whose engine has variables', () => {
  test.each(CASES)(
    'that replaces %s on a disk or by a process that is %s is old or new as a whole',
    async (_what, fault, before, isEarlier) => {
      await using scripts = await createTemporaryFolder();
      const module = await bundleModule('machine/store.ts', scripts.path);
      const seen = { old: 0, new: 0 };
      for (let step = 1; ; step += 1) {
        await using home = await createTemporaryFolder();
        const store = openStore(home.path);
        await store.write(before);
        if (isEarlier) await makeEarlier(store);
        const failed = await writeWithFault(fault, step, home.path, module, scripts.path);
        const found = await store.read('web');
        const isNew = JSON.stringify(found) === JSON.stringify(AFTER);
        expect(found, `failed at step ${step}`).toEqual(isNew ? AFTER : before);
        seen[isNew ? 'new' : 'old'] += 1;
        await store.write(AFTER);
        expect(await store.read('web')).toEqual(AFTER);
        expect((await listFiles(store)).filter((file) => !file.endsWith('.tmp'))).toEqual([
          'engine-env.X.json',
          'machine.json',
        ]);
        if (!failed) break;
      }
      expect(seen.old).toBeGreaterThan(5);
      expect(seen.new).toBeGreaterThan(0);
    },
  );

  test('of an earlier version is read, and replaced by the next write', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(BEFORE);
    await makeEarlier(store);
    expect(await listFiles(store)).toEqual(['engine-env.json', 'machine.json']);
    expect(await store.read('web')).toEqual(BEFORE);
    await store.write(BEFORE);
    expect(await listFiles(store)).toEqual(['engine-env.X.json', 'machine.json']);
    expect(await store.read('web')).toEqual(BEFORE);
    await store.write(machineWith());
    expect(await listFiles(store)).toEqual(['machine.json']);
  });

  test('contains no value, and its file keeps its name while the values stay the same', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(BEFORE);
    const { folder, record } = store.paths('web');
    expect(await readFile(record, 'utf8')).not.toContain('secret');
    const files = await readdir(folder);
    await store.write({ ...BEFORE, deadline: '2026-12-01T00:00:00.000Z' });
    expect(await readdir(folder)).toEqual(files);
    await store.write(AFTER);
    expect(await readdir(folder)).not.toEqual(files);
  });

  test('is read whole while another command replaces it again and again', async () => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(BEFORE);
    const write = async (): Promise<void> => {
      for (let round = 0; round < 60; round += 1) await store.write(round % 2 === 0 ? AFTER : BEFORE);
    };
    const read = async (): Promise<void> => {
      for (let round = 0; round < 300; round += 1)
        expect([JSON.stringify(BEFORE), JSON.stringify(AFTER)]).toContain(JSON.stringify(await store.read('web')));
    };
    await Promise.all([write(), read(), read()]);
  });

  test.each([
    [undefined, "the file with the values of the engine's variables is missing"],
    ['["A=', "the values of the engine's variables are not JSON"],
    ['{}', "the values of the engine's variables are not a list of NAME=value"],
  ])('and whose file of values is %j says what to write there', async (text, why) => {
    await using home = await createTemporaryFolder();
    const store = openStore(home.path);
    await store.write(BEFORE);
    const { folder, record } = store.paths('web');
    const { engineEnv } = JSON.parse(await readFile(record, 'utf8')) as { engineEnv: string };
    const file = join(folder, engineEnv);
    if (text === undefined) await rename(file, join(dirname(folder), 'gone'));
    else await writeFile(file, text);
    expect(await catchRejection(store.read('web'))).toMatchObject({
      code: 'RECORD_BROKEN',
      message: `The record of "web" can't be used: ${why} (${file})`,
      hint: 'Write the values to that file again: ["HTTP_PROXY=VALUE","NO_PROXY=VALUE"], or remove the record: slipway rm --force web',
    });
  });

  test.each(['../key', '/etc/passwd', 'machine.json'])(
    'that names %s as the file of its values is broken',
    async (name) => {
      await using home = await createTemporaryFolder();
      const store = openStore(home.path);
      await store.write(BEFORE);
      const { record } = store.paths('web');
      const text = await readFile(record, 'utf8');
      await writeFile(record, text.replace(/engine-env\.[0-9a-f]+\.json/, name));
      expect((await catchRejection(store.read('web')))?.message).toContain(
        `it names ${JSON.stringify(name)} as the file`,
      );
    },
  );
});
