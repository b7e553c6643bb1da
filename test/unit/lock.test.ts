import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { takeLock } from '../../src/computer/lock.ts';
import { catchRejection } from '../fakes/catch-error.ts';
import { bundleModule, startScript } from '../fakes/script-process.ts';
import { isPosix, readMode } from '../fakes/file-modes.ts';
import { createTemporaryFolder } from '../fakes/temporary-folder.ts';

const lockContent = (owner: object): string => JSON.stringify({ host: hostname(), started: '', ...owner });

test('a lock in use names its process, and can be taken again once it is released', async () => {
  await using folder = await createTemporaryFolder();
  {
    await using _lock = await takeLock(folder.path, 'Machine "web"');
    expect(await catchRejection(takeLock(folder.path, 'Machine "web"'))).toMatchObject({
      code: 'MACHINE_BUSY',
      message: `Machine "web" is in use by another command (PID ${process.pid})`,
      hint: 'Wait for it to end, then run the same command again',
    });
    const [file = ''] = await readdir(folder.path);
    expect(await readMode(join(folder.path, file), '600')).toBe('600');
  }
  for (let round = 0; round < 3; round += 1)
    await (await takeLock(folder.path, 'Machine "web"'))[Symbol.asyncDispose]();
  expect(await readdir(folder.path)).toHaveLength(1);
});

test('the lock of a process that has ended is taken over at once', async () => {
  await using folder = await createTemporaryFolder();
  const endedProcess = spawn(process.execPath, ['-e', '']);
  await once(endedProcess, 'close');
  await writeFile(join(folder.path, 'lock.7'), lockContent({ pid: endedProcess.pid }));
  await using _lock = await takeLock(folder.path, 'Machine "web"');
  expect(await readdir(folder.path)).toEqual(['lock.8']);
});

test('the lock of a killed process is taken over at once', async () => {
  await using folder = await createTemporaryFolder();
  await using scripts = await createTemporaryFolder();
  const module = await bundleModule('computer/lock.ts', scripts.path);
  const holder = await startScript(
    `import { takeLock } from ${JSON.stringify(module)};
     await takeLock(${JSON.stringify(folder.path)}, 'web');
     process.stdout.write('mine\\n');
     setInterval(() => {}, 1000);`,
    scripts.path,
  );
  expect(await holder.readLine()).toBe('mine');
  expect((await catchRejection(takeLock(folder.path, 'Machine "web"')))?.message).toContain(
    `PID ${holder.process.pid}`,
  );
  holder.process.kill('SIGKILL');
  await holder.ended;
  await using _lock = await takeLock(folder.path, 'Machine "web"');
});

// Only Linux says when a process started.
test.skipIf(process.platform !== 'linux')('a later process with the same PID does not own the lock', async () => {
  await using folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'lock.1'), lockContent({ pid: process.pid, started: 'another-boot/123' }));
  await using _lock = await takeLock(folder.path, 'Machine "web"');
  const lock = JSON.parse(await readFile(join(folder.path, 'lock.2'), 'utf8')) as { started: string; place: string };
  expect(lock.started).toMatch(/^[0-9a-f-]{36}\/\d+$/);
  expect(lock.place).toMatch(/^[0-9a-f-]{36}\/pid:\[\d+\]$/);
});

test('without a start time, the PID alone identifies the owner', async () => {
  await using folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'lock.1'), lockContent({ pid: process.pid }));
  expect((await catchRejection(takeLock(folder.path, 'Machine "web"')))?.code).toBe('MACHINE_BUSY');
});

const anotherPlace = { pid: process.pid, host: 'elsewhere', place: 'another-boot/pid:[1]' };

test.each([
  ['this version', anotherPlace, 'a minute'],
  ['an earlier version', { pid: process.pid, host: 'elsewhere' }, 'an hour'],
])('the lock of another computer by %s is respected, and the computer is named', async (_by, owner, time) => {
  await using folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'lock.1'), lockContent(owner));
  expect(await catchRejection(takeLock(folder.path, 'Machine "web"'))).toMatchObject({
    message: `Machine "web" is in use by another command (PID ${process.pid} on elsewhere)`,
    hint: `Wait for it to end, then run the same command again. If it was killed, its lock is free after ${time}`,
  });
});

test('the lock of another PID namespace is respected, whatever runs here under its number', async () => {
  await using folder = await createTemporaryFolder();
  const endedProcess = spawn(process.execPath, ['-e', '']);
  await once(endedProcess, 'close');
  for (const pid of [process.pid, endedProcess.pid]) {
    await writeFile(join(folder.path, 'lock.1'), lockContent({ pid, place: 'another-boot/pid:[1]' }));
    expect((await catchRejection(takeLock(folder.path, 'Machine "web"')))?.message).toBe(
      `Machine "web" is in use by another command (PID ${pid} in another container)`,
    );
  }
});

test('the lock of an earlier version on another computer is free once it is older than any command', async () => {
  await using folder = await createTemporaryFolder();
  const file = join(folder.path, 'lock.1');
  await writeFile(file, lockContent({ pid: 1, host: 'elsewhere' }));
  const makeOld = async (minutes: number): Promise<void> => {
    const time = new Date(Date.now() - minutes * 60_000);
    await utimes(file, time, time);
  };
  await makeOld(59);
  expect((await catchRejection(takeLock(folder.path, 'Machine "web"')))?.code).toBe('MACHINE_BUSY');
  await makeOld(61);
  await using _lock = await takeLock(folder.path, 'Machine "web"');
});

test('a lock that another process has taken over says so to the first one', async () => {
  await using folder = await createTemporaryFolder();
  await using lock = await takeLock(folder.path, 'Machine "web"');
  await lock.requireHeld();
  await rm(join(folder.path, 'lock.1'));
  await writeFile(join(folder.path, 'lock.2'), lockContent(anotherPlace));
  expect(await catchRejection(lock.requireHeld())).toMatchObject({
    code: 'MACHINE_BUSY',
    message: 'Machine "web" was taken over by another command while this one was stopped',
  });
});

test.each(['', '{"pid":', 'null', '{"pid":"1"}'])('a lock that contains %j has no owner', async (text) => {
  await using folder = await createTemporaryFolder();
  await writeFile(join(folder.path, 'lock.3'), text);
  await using _lock = await takeLock(folder.path, 'Machine "web"');
});

test('a lock can be released after its folder was removed, and a new folder can be locked', async () => {
  await using folder = await createTemporaryFolder();
  const inside = join(folder.path, 'web');
  await mkdir(inside);
  const first = await takeLock(inside, 'Machine "web"');
  await rm(inside, { recursive: true });
  await first[Symbol.asyncDispose]();
  await mkdir(inside);
  await using _lock = await takeLock(inside, 'Machine "web"');
});

test('eight processes that take a lock again and again never have it at the same time', async () => {
  await using folder = await createTemporaryFolder();
  await using scripts = await createTemporaryFolder();
  const module = await bundleModule('computer/lock.ts', scripts.path);
  const script = `
    import { open, rm } from 'node:fs/promises';
    import { setTimeout as pause } from 'node:timers/promises';
    import { takeLock } from ${JSON.stringify(module)};
    const inside = ${JSON.stringify(join(scripts.path, 'inside'))};
    for (let done = 0; done < ${isPosix ? 50 : 10}; ) {
      let lock;
      try {
        lock = await takeLock(${JSON.stringify(folder.path)}, 'web');
      } catch (error) {
        if (error.code !== 'MACHINE_BUSY') throw error;
        await pause(Math.random() * 4);
        continue;
      }
      // Fails if another process is inside.
      await (await open(inside, 'wx')).close();
      await rm(inside);
      await lock[Symbol.asyncDispose]();
      done += 1;
    }`;
  const workers = await Promise.all(Array.from({ length: 8 }, () => startScript(script, scripts.path)));
  expect(await Promise.all(workers.map(({ ended }) => ended))).toEqual(Array.from({ length: 8 }, () => 0));
});
