import { execFile } from 'node:child_process';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startHost } from '../bed/host.ts';
import { at, describeOnBed, newUser, ok } from './slipway.ts';

const run = promisify(execFile);

describeOnBed('a full disk on this side', () => {
  test('loses no record, is said in one sentence, and is no trouble once there is room', async () => {
    await using user = await newUser();
    await using host = await startHost({ suite: 'trixie', engine: true });
    const home = join(user.home, '.slipway');
    await mkdir(home);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'tmpfs', home]);
    try {
      await ok(user.slipway('create', 'old', '--none-url', 'unix:///var/run/docker.sock'));
      const before = (await ok(user.slipway('inspect', 'old'))).stdout;
      const filler = join(home, 'filler');
      await writeFile(filler, Buffer.alloc(1024 * 1024)).catch((error: NodeJS.ErrnoException) =>
        expect(error.code).toBe('ENOSPC'),
      );

      const full = await user.slipway('create', 'web', ...at(host));
      expect(full.code).toBe(10);
      expect(full.stderr).toMatch(/✗ \S+ could not be written: the disk is full\n→ Nothing was lost/);
      expect((await user.slipway('provision', 'old')).code).toBe(10);
      expect((await ok(user.slipway('inspect', 'old'))).stdout).toBe(before);
      expect(JSON.parse((await ok(user.slipway('ls', '--json'))).stdout)).toMatchObject([
        { name: 'old', state: 'running' },
      ]);

      await rm(filler);
      await ok(user.slipway('create', 'web', ...at(host)));
      await ok(user.slipway('provision', 'old'));
      expect((await readdir(join(home, 'machines', 'web'))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    } finally {
      await run('umount', ['-l', home]);
    }
  });
});
