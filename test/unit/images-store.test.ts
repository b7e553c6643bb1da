import { mkdir, open, readdir, readFile, rm, stat, symlink, utimes, writeFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { getOrMakeImage, type ImageMakeRequest, type MakeImage } from '../../src/images/get-or-make-image.ts';
import { openImageStore } from '../../src/images/image-store.ts';
import { findImageUsers } from '../../src/images/image-users.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { readMode } from '../fakes/file-modes.ts';
import { bundleModule, startScript, hasBeenKilled } from '../fakes/script-process.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';
import { imageMetadata, addImage, fillStage, sha256 } from '../fakes/fake-images.ts';
import { recordingProgress } from '../fakes/test-world.ts';

const quietCall = { signal: new AbortController().signal, log: () => {} };
/** Overwrites bytes in place, in spite of mode 0400, and keeps size and times. */
async function tamper(path: string): Promise<void> {
  const { atime, mtime } = await stat(path);
  await chmod(path, 0o600);
  const file = await open(path, 'r+');
  await file.write('X', 0);
  await file.close();
  await utimes(path, atime, mtime);
}

test('an image that was added is found, read-only, in a folder with its digest, without other files of the build', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  await using stage = await images.createStagingFolder();
  expect(await readdir(stage.folder)).toEqual([]);
  expect(await readMode(stage.folder, '700')).toBe('700');
  await fillStage(stage.folder);
  await mkdir(join(stage.folder, 'work'));
  await writeFile(join(stage.folder, 'build.log'), 'x');
  const image = await images.add(stage, imageMetadata());

  expect(image.digest).toBe(`sha256:${sha256('disk')}`);
  expect(image.files.vmlinuz).toMatchObject({ sha256: sha256('kernel'), bytes: 6 });
  const { folder, disk, kernel, initrd, record } = images.paths(image);
  expect(folder).toBe(join(home.path, 'images', `debian-13-amd64-${sha256('disk').slice(0, 12)}`));
  expect((await readdir(folder)).toSorted()).toEqual(['disk.qcow2', 'image.json', 'initrd', 'vmlinuz']);
  for (const path of [disk, kernel, initrd, record]) expect(await readMode(path, '400')).toBe('400');
  expect(JSON.parse(await readFile(record, 'utf8'))).toEqual(image);
  expect(await images.find('debian-13', 'amd64')).toEqual(image);
  expect(await images.find('debian-13', 'arm64')).toBeUndefined();
  expect(await images.find('debian-1', 'amd64')).toBeUndefined();
  await images.verify(image, quietCall);
  expect(await images.isUnchanged(image)).toBe(true);
  expect(await images.getDiskUsage(image)).toBeGreaterThan(0);
});

test('a staging folder without an image is deleted, and one that lacks a file is refused', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  {
    await using stage = await images.createStagingFolder();
    await fillStage(stage.folder);
    await rm(join(stage.folder, 'initrd'));
    expect(await catchRejection(images.add(stage, imageMetadata()))).toMatchObject({
      code: 'IMAGE_BUILD',
      message: 'Image "debian-13" was built without its initrd',
    });
    await writeFile(join(stage.folder, 'initrd'), '');
    expect((await catchRejection(images.add(stage, imageMetadata())))?.code).toBe('IMAGE_BUILD');
    await rm(join(stage.folder, 'initrd'));
    await symlink('vmlinuz', join(stage.folder, 'initrd'));
    expect((await catchRejection(images.add(stage, imageMetadata())))?.code).toBe('IMAGE_BUILD');
  }
  expect(await readdir(join(home.path, 'images'))).toEqual([]);
});

test('the newest image of a name is found, all are listed, and a broken folder is one row', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const oldest = await addImage(images, { made: '2026-01-01T00:00:00.000Z' }, 'old');
  const recent = await addImage(images, { made: '2026-03-01T00:00:00.000Z' }, 'recent');
  const middle = await addImage(images, { made: '2026-02-01T00:00:00.000Z' }, 'middle');
  const other = await addImage(images, { name: 'debian-2' }, 'other');
  expect(await images.find('debian-13', 'amd64')).toEqual(recent);
  const months = ['06', '09', '04', '08', '05', '07'];
  await Promise.all(months.map((month) => addImage(images, { name: 'many', made: `2026-${month}-01` }, month)));
  const many = (await images.list()).flatMap((row) => ('image' in row && row.key.name === 'many' ? [row.image] : []));
  expect(many.map(({ made }) => made.slice(5, 7))).toEqual(['09', '08', '07', '06', '05', '04']);
  for (const image of many) await images.remove(image, []);

  const root = join(home.path, 'images');
  const { record } = images.paths(recent);
  const whole = await readFile(record, 'utf8');
  await writeFile(join(root, 'stray'), '');
  for (const [text, why] of [
    ['', 'its image.json is empty'],
    ['{', 'its image.json is not JSON'],
    ['null', 'its image.json does not describe an image'],
    ['{"version":1}', 'its image.json does not describe an image'],
    ['{"version":2}', 'a newer version of Slipway wrote it'],
    [whole.replace('"name": "debian-13"', '"name": "../../x"'), 'its image.json describes another image'],
    [JSON.stringify(oldest), 'its image.json describes another image'],
    [undefined, 'its image.json is missing'],
  ] as const) {
    await rm(record);
    if (text !== undefined) await writeFile(record, text);
    const rows = await images.list();
    expect(rows.map(({ key }) => key.name)).toEqual(['debian-2', 'debian-13', 'debian-13', 'debian-13']);
    const broken = rows.flatMap((row) => ('broken' in row ? [row.broken] : []));
    expect(broken.map(({ code, message }) => [code, message])).toEqual([
      ['RECORD_BROKEN', `The image in ${images.paths(recent).folder} can't be used: ${why}`],
    ]);
    expect(await images.find('debian-13', 'amd64')).toEqual(middle);
  }
  expect(await images.find('debian-2', 'amd64')).toEqual(other);
});

test.each(['disk.qcow2', 'vmlinuz', 'initrd'] as const)(
  'one changed byte of %s is found, even if its times are the same',
  async (file) => {
    await using home = await createTemporaryFolder();
    const images = openImageStore(home.path);
    const image = await addImage(images);
    const path = join(images.paths(image).folder, file);
    await tamper(path);
    const now = sha256(await readFile(path, 'utf8'));
    expect(await catchRejection(images.verify(image, quietCall))).toMatchObject({
      code: 'IMAGE_CHANGED',
      message: `Image "debian-13" has changed on disk: ${file} does not match what was built (sha256 ${now})`,
      hint: 'Create it again: slipway image build debian-13 --arch amd64 --force. Machines that use it need it unchanged',
    });
    await rm(path);
    expect((await catchRejection(images.verify(image, quietCall)))?.message).toMatch(`${file} is missing`);
  },
);

test('isUnchanged notices another size, another time and a missing file', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const image = await addImage(images);
  const { disk, initrd } = images.paths(image);
  const { atime, mtime } = await stat(disk);
  await utimes(disk, atime, new Date(mtime.getTime() + 5));
  expect(await images.isUnchanged(image)).toBe(false);
  await chmod(initrd, 0o600);
  await writeFile(initrd, 'longer than before');
  expect(await images.isUnchanged(image)).toBe(false);
  await rm(initrd);
  expect(await images.isUnchanged(image)).toBe(false);
});

test('an image that is added twice is stored once; a second one replaces a damaged one', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const first = await addImage(images, { made: '2026-01-01T00:00:00.000Z' });
  const second = await addImage(images, { made: '2026-02-01T00:00:00.000Z' });
  expect(second).toEqual(first);
  expect(await readdir(join(home.path, 'images'))).toHaveLength(1);

  await rm(images.paths(first).kernel);
  const third = await addImage(images, { made: '2026-03-01T00:00:00.000Z' });
  expect(third.made).toBe('2026-03-01T00:00:00.000Z');
  await images.verify(third, quietCall);
});

test('an image that machines use is not removed, and they are named; another one is removed completely', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const image = await addImage(images);
  expect(await catchRejection(images.remove(image, ['dev', 'web']))).toMatchObject({
    code: 'IMAGE_IN_USE',
    message: 'Image "debian-13" is in use by dev and web',
    hint: 'Their disks are based on it. Remove them first: slipway rm dev web',
  });
  await images.verify(image, quietCall);
  await images.remove(image, []);
  expect(await readdir(join(home.path, 'images'))).toEqual([]);
  await images.remove(image, []);
});

test('machines that use an image are found by its digest or its beginning; a broken record may use any image', async () => {
  await using home = await createTemporaryFolder();
  const digest = `sha256:${sha256('disk')}`;
  expect(await findImageUsers(home.path, { digest })).toEqual([]);
  const writeVmJson = async (id: string, text: string): Promise<void> => {
    await mkdir(join(home.path, 'vms', id), { recursive: true });
    await writeFile(join(home.path, 'vms', id, 'vm.json'), text);
  };
  await writeVmJson('2', JSON.stringify({ name: 'web', image: digest, more: 1 }));
  await writeVmJson('1', JSON.stringify({ name: 'dev', image: digest }));
  await writeVmJson('3', JSON.stringify({ name: 'other', image: `sha256:${sha256('other')}` }));
  await mkdir(join(home.path, 'vms', '4'));
  await writeFile(join(home.path, 'vms', 'stray'), '');
  expect(await findImageUsers(home.path, { digest })).toEqual(['dev', 'web']);
  expect(await findImageUsers(home.path, { digest: digest.slice(0, 19) })).toEqual(['dev', 'web']);
  // A spare that is about to become a VM.
  await writeFile(
    join(home.path, 'vms', '4', 'spare.json'),
    JSON.stringify({ vm: { name: 'spare-1', image: digest } }),
  );
  expect(await findImageUsers(home.path, { digest })).toEqual(['dev', 'spare-1', 'web']);
  await writeVmJson('5', '{');
  expect(await findImageUsers(home.path, { digest: `sha256:${sha256('none')}` })).toEqual([
    join(home.path, 'vms', '5', 'vm.json'),
  ]);
});

test('of two commands that need the same image, one makes it, and the other waits for it with a note', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const request: ImageMakeRequest = { how: 'build', name: 'debian-13', arch: 'amd64' };
  const count = { made: 0 };
  let finish = (): void => {};
  const gate = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const make: MakeImage = async () => {
    count.made += 1;
    await gate;
    return addImage(images);
  };
  const progress = recordingProgress();
  const computer = { platform: 'linux', arch: 'x64', env: {}, templates: '/nowhere', home: home.path } as const;
  const call = { computer, images, progress, signal: quietCall.signal };
  const first = getOrMakeImage(request, { force: false, make }, call);
  while (count.made === 0) await new Promise(setImmediate);
  const second = getOrMakeImage(request, { force: false, make }, call);
  while (progress.notes.length === 0) await new Promise(setImmediate);
  finish();
  expect([(await first).isNew, (await second).isNew, count.made]).toEqual([true, false, 1]);
  expect((await second).image).toEqual((await first).image);
  expect(progress.notes).toEqual([
    `Image "debian-13" is in use by another command (PID ${process.pid}): waiting for it to end`,
  ]);

  await getOrMakeImage(request, { force: true, make }, call);
  expect(count.made).toBe(2);
  const source = { url: 'https://x.example/d', digest: `sha512:${'ab'.repeat(64)}` };
  const baked: MakeImage = () => addImage(images, { source: { kind: 'baked', ...source } }, 'baked');
  expect((await getOrMakeImage({ ...request, how: 'pull', source }, { force: false, make: baked }, call)).isNew).toBe(
    true,
  );
  expect((await getOrMakeImage({ ...request, how: 'pull', source }, { force: false, make: baked }, call)).isNew).toBe(
    false,
  );
});

test('waiting for an image ends on Ctrl-C', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  const stop = new AbortController();
  const note = (): void => stop.abort();
  await using _lock = await images.lock({ name: 'debian-13' }, { signal: stop.signal, note });
  expect((await catchRejection(images.lock({ name: 'debian-13' }, { signal: stop.signal, note })))?.code).toBe(
    'CANCELED',
  );
  await using _other = await images.lock({ name: 'debian-12' }, { signal: quietCall.signal, note });
  await using _foreign = await images.lock({ name: 'debian-13', arch: 'arm64' }, { signal: quietCall.signal, note });
});

/** Runs work in a process that kills itself before its file system change of this number. */
async function runUntilKilled(
  step: number,
  work: string,
  home: string,
  module: string,
  scripts: string,
): Promise<boolean> {
  const script = `
    import fs from 'node:fs/promises';
    import { syncBuiltinESMExports } from 'node:module';
    let left = ${step};
    for (const name of ['mkdir', 'rename', 'rm', 'chmod', 'open', 'writeFile', 'link', 'truncate']) {
      const real = fs[name];
      fs[name] = (...call) => {
        left -= 1;
        if (left === 0) process.kill(process.pid, 'SIGKILL');
        return real(...call);
      };
    }
    syncBuiltinESMExports();
    const { openImageStore } = await import(${JSON.stringify(module)});
    const { writeFileSync } = await import('node:fs');
    const images = openImageStore(${JSON.stringify(home)});
    const about = ${JSON.stringify(imageMetadata())};
    ${work}`;
  return hasBeenKilled(await (await startScript(script, scripts)).ended);
}

const ADD_IMAGE_SCRIPT = `
  const stage = await images.createStagingFolder();
  writeFileSync(stage.folder + '/disk.qcow2', 'disk');
  writeFileSync(stage.folder + '/vmlinuz', 'kernel');
  writeFileSync(stage.folder + '/initrd', 'initrd');
  await images.add(stage, about);`;

test('an image whose addition is killed before any step is complete or missing, and the next addition leaves nothing else', async () => {
  await using scripts = await createTemporaryFolder();
  const module = await bundleModule('images/image-store.ts', scripts.path);
  const outcomes = { complete: 0, missing: 0 };
  for (let step = 1; ; step += 1) {
    await using home = await createTemporaryFolder();
    const killed = await runUntilKilled(step, ADD_IMAGE_SCRIPT, home.path, module, scripts.path);
    const images = openImageStore(home.path);
    const rows = await images.list();
    for (const row of rows) {
      if ('broken' in row) throw row.broken;
      await images.verify(row.image, quietCall);
    }
    outcomes[rows.length > 0 ? 'complete' : 'missing'] += 1;
    const image = await addImage(images);
    expect(await readdir(join(home.path, 'images')), `killed before step ${step}`).toEqual([
      `debian-13-amd64-${image.digest.slice(7, 19)}`,
    ]);
    if (!killed) break;
  }
  expect(outcomes.missing).toBeGreaterThan(8);
  expect(outcomes.complete).toBeGreaterThan(1);
});

test('an image whose removal is killed before any step is complete or missing, and the next removal leaves nothing', async () => {
  await using scripts = await createTemporaryFolder();
  const module = await bundleModule('images/image-store.ts', scripts.path);
  const outcomes = { complete: 0, missing: 0 };
  for (let step = 1; ; step += 1) {
    await using home = await createTemporaryFolder();
    const images = openImageStore(home.path);
    const image = await addImage(images);
    const work = `await images.remove(${JSON.stringify(image)}, []);`;
    const killed = await runUntilKilled(step, work, home.path, module, scripts.path);
    const rows = await images.list();
    for (const row of rows) {
      if ('broken' in row) throw row.broken;
      await images.verify(row.image, quietCall);
    }
    outcomes[rows.length > 0 ? 'complete' : 'missing'] += 1;
    await images.remove(image, []);
    expect(await readdir(join(home.path, 'images')), `killed before step ${step}`).toEqual([]);
    if (!killed) break;
  }
  expect(outcomes).toEqual({ complete: 1, missing: 2 });
});

test('the staging folder of a running builder is kept', async () => {
  await using home = await createTemporaryFolder();
  const images = openImageStore(home.path);
  await using mine = await images.createStagingFolder();
  const parents = join(home.path, 'images', `.new-${process.ppid}-ab`);
  await mkdir(parents);
  await using _other = await images.createStagingFolder();
  expect((await stat(mine.folder)).isDirectory()).toBe(true);
  expect((await stat(parents)).isDirectory()).toBe(true);
});
